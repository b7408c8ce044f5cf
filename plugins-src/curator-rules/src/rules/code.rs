//! What the code is made of: strings and long words in them, and lines that only declare, import, print or pass.
//!
//! As in OpenCoder's filters (opc_data_filtering, `quality_signals`), over lines of code: comments are taken out and blank
//! lines are none. Where those read a syntax tree, these read words, so that a text that does not parse is judged alike.

use source_text::Language;
use source_words::{Bare, Text, bare};

use super::{Broken, beyond};
use crate::pack::Bounds;

/// Words in a line of a string, or letters in a word of one, from which on it is long.
const LONG: usize = 20;

const STRINGS: [&str; 3] = [
    "max_long_string_lines",
    "max_string_chars",
    "max_long_word_chars",
];
const LINES: [&str; 7] = [
    "max_function_lines",
    "max_simple_functions",
    "max_pass_lines",
    "max_import_lines",
    "max_print_lines",
    "max_preprocessor_lines",
    "max_main_functions",
];

/// Shares of strings.
pub(super) fn strings(text: &str, language: Option<&Language>, bounds: &Bounds) -> Option<Broken> {
    let is_asked = STRINGS.iter().any(|name| bounds.get(name).is_some());
    let language = language.filter(|_| is_asked)?;
    // OpenCoder leaves these out for shell, which is made of strings, and for data.
    if matches!(
        language.name,
        "shell" | "json" | "yaml" | "toml" | "ini" | "xml" | "text" | "markdown"
    ) {
        return None;
    }
    let bare = bare(text, language);
    let strings = || {
        bare.strings
            .iter()
            .filter(|string| !is_documentation(text, string))
    };
    let content = |string: &Text| &text[string.inner..string.inner_end];
    let lines = code_of(&bare).count();
    let characters = text.chars().count().max(1) as f64;
    let long_lines = strings()
        .flat_map(|string| content(string).lines())
        .filter(|line| line.split_whitespace().nth(LONG).is_some())
        .count();
    let in_strings: usize = strings()
        .map(|string| content(string).chars().count())
        .sum();
    let in_long_words: usize = strings()
        .flat_map(|string| content(string).split_whitespace())
        .filter(|word| !word.contains("://"))
        .map(|word| word.chars().count())
        .filter(|length| *length > LONG)
        .sum();
    let values = [
        (
            "long-strings",
            "lines of strings with more than 20 words, over lines of code",
            long_lines as f64 / lines.max(1) as f64,
        ),
        (
            "much-string",
            "fraction in strings",
            in_strings as f64 / characters,
        ),
        (
            "long-string-words",
            "fraction in words of strings with more than 20 letters",
            in_long_words as f64 / characters,
        ),
    ];
    first(STRINGS.iter().zip(values), bounds)
}

/// Shares of lines of a kind.
pub(super) fn code_lines(
    text: &str,
    language: Option<&Language>,
    bounds: &Bounds,
) -> Option<Broken> {
    let is_asked = bounds.variables || LINES.iter().any(|name| bounds.get(name).is_some());
    let language = language.filter(|_| is_asked)?;
    let kinds = kinds(language.name)?;
    let bare = bare(text, language);
    let lines: Vec<&str> = code_of(&bare).collect();
    if lines.is_empty() {
        return None;
    }
    let share = |count: usize| count as f64 / lines.len() as f64;
    let starting = |words: &[&str]| {
        let is_one = |line: &&&str| {
            words
                .iter()
                .any(|word| starts_with(line.trim_start(), word))
        };
        share(lines.iter().filter(is_one).count())
    };
    let is_python = language.name == "python";
    let calls = |line: &&&str| kinds.prints.iter().any(|call| line.contains(call));
    let simple = if is_python {
        simple_functions(&lines)
    } else {
        0
    };
    let mains = if kinds.preprocessor {
        main_functions(&bare.code)
    } else {
        0
    };
    let values = [
        (
            "function-lines",
            "functions, over lines of code",
            starting(kinds.functions),
        ),
        (
            "simple-functions",
            "functions that only return, over lines of code",
            share(simple),
        ),
        (
            "pass-lines",
            "fraction of lines with `pass`",
            if is_python { starting(&["pass"]) } else { 0.0 },
        ),
        (
            "import-lines",
            "fraction of lines that import",
            if is_python {
                starting(kinds.imports)
            } else {
                0.0
            },
        ),
        (
            "print-lines",
            "fraction of lines that print",
            share(lines.iter().filter(calls).count()),
        ),
        (
            "preprocessor-lines",
            "fraction of preprocessor directives",
            if kinds.preprocessor {
                starting(&["#"])
            } else {
                0.0
            },
        ),
        ("main-functions", "main functions", mains as f64),
    ];
    let broken = first(LINES.iter().zip(values), bounds);
    let has_none = bounds.variables && is_python && !lines.iter().any(|line| assigns(line));
    broken.or_else(|| has_none.then(|| ("no-variables", "no variable is set".to_owned())))
}

/// The first of the values that goes over its bound.
fn first<'a>(
    mut pairs: impl Iterator<Item = (&'a &'static str, (&'static str, &'static str, f64))>,
    bounds: &Bounds,
) -> Option<Broken> {
    pairs.find_map(|(name, (code, what, value))| beyond(code, what, value, bounds.get(name), true))
}

/// How a language writes what is counted.
struct Kinds {
    functions: &'static [&'static str],
    imports: &'static [&'static str],
    prints: &'static [&'static str],
    preprocessor: bool,
}

fn kinds(language: &str) -> Option<Kinds> {
    let none = Kinds {
        functions: &[],
        imports: &[],
        prints: &[],
        preprocessor: false,
    };
    Some(match language {
        "python" => Kinds {
            functions: &["def", "async def"],
            imports: &["import", "from"],
            prints: &["print(", "print "],
            ..none
        },
        "javascript" | "jsx" | "typescript" | "tsx" => Kinds {
            functions: &[
                "function",
                "async function",
                "export function",
                "export async function",
            ],
            prints: &["console.log("],
            ..none
        },
        "go" => Kinds {
            functions: &["func"],
            prints: &["fmt.Print"],
            ..none
        },
        "java" => Kinds {
            prints: &["System.out.print"],
            ..none
        },
        "c#" => Kinds {
            prints: &["Console.Write"],
            ..none
        },
        "c" | "c++" => Kinds {
            prints: &["cout", "printf"],
            preprocessor: true,
            ..none
        },
        _ => return None,
    })
}

/// Lines with code on them.
fn code_of(bare: &Bare) -> impl Iterator<Item = &str> {
    bare.code.lines().filter(|line| !line.trim().is_empty())
}

fn starts_with(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.strip_prefix(word)
        .is_some_and(|rest| !word.ends_with(is_word) || !rest.starts_with(is_word))
}

/// A triple quote where a statement starts is documentation, so no string of the code.
fn is_documentation(text: &str, string: &Text) -> bool {
    let line = text[..string.start].rsplit('\n').next().unwrap_or_default();
    string.inner - string.start >= 3 && line.trim().is_empty()
}

/// `def` lines whose whole body is one `return`.
fn simple_functions(lines: &[&str]) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_simple = |at: usize| {
        let [head, body, rest @ ..] = &lines[at..] else {
            return false;
        };
        starts_with(head.trim_start(), "def")
            && head.trim_end().ends_with(':')
            && starts_with(body.trim_start(), "return")
            && rest.first().is_none_or(|next| indent(next) <= indent(head))
    };
    (0..lines.len()).filter(|at| is_simple(*at)).count()
}

/// `main(…) {`.
fn main_functions(code: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mains = code.match_indices("main").filter(|(at, word)| {
        let rest = code[at + word.len()..].trim_start();
        let opens = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        !code[..*at].ends_with(is_word)
            && opens.is_some_and(|(_, after)| after.trim_start().starts_with('{'))
    });
    mains.count()
}

/// Whether a line sets a variable: a `=` outside parentheses that is no comparison.
fn assigns(line: &str) -> bool {
    let bytes = line.as_bytes();
    let mut depth = 0_i32;
    bytes.iter().enumerate().any(|(at, byte)| {
        depth += match byte {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        let before = at.checked_sub(1).map(|at| bytes[at]);
        *byte == b'='
            && depth <= 0
            && bytes.get(at + 1) != Some(&b'=')
            && !matches!(before, Some(b'=' | b'!' | b'<' | b'>'))
    })
}

#[cfg(test)]
mod tests {
    use source_text::by_name;

    use super::*;

    fn opencoder(language: &str, text: &str) -> Option<&'static str> {
        let bounds = Bounds::pack("opencoder").unwrap();
        let language = by_name(language);
        strings(text, language, &bounds)
            .or_else(|| code_lines(text, language, &bounds))
            .map(|(code, _)| code)
    }

    const BODY: &str = "x = read()\nwhile x:\n    x = x - step(x)\n    write(x)\n";

    #[test]
    fn each_rule_drops_what_it_is_for() {
        let words = format!("x = '{}'\n", "one two ".repeat(15));
        let string = format!("x = '{}'\n", "short ".repeat(3));
        let key = format!(
            "x = f(y)\nz = compute(x, y)\nwrite_down(z, '{}', x)\n",
            "a1b2".repeat(10)
        );
        for (language, text, expected) in [
            ("python", words, "long-strings"),
            ("python", string, "much-string"),
            ("python", key, "long-string-words"),
            (
                "python",
                "x = 1\ndef f(a):\n    g(a)\ndef h(a):\n    g(a)\n".to_owned(),
                "function-lines",
            ),
            (
                "python",
                format!("{BODY}{BODY}def f():\n    return 1\ny = f()\n\ndef g():\n    return 2\n"),
                "simple-functions",
            ),
            (
                "python",
                format!("{BODY}class A:\n    pass\n"),
                "pass-lines",
            ),
            (
                "python",
                format!("import a\nfrom b import c\nimport d\n{BODY}"),
                "import-lines",
            ),
            (
                "python",
                "x = 1\nprint(x)\nprint(x)\ny = 2\n".to_owned(),
                "print-lines",
            ),
            (
                "python",
                "read()\nwhile f(x == 1, y=2):\n    write(x)\n".to_owned(),
                "no-variables",
            ),
            (
                "c",
                "#if A\n#define B\n#endif\n#if C\n#endif\nint x;\n".to_owned(),
                "preprocessor-lines",
            ),
            (
                "c++",
                "int main() {\n}\nint main(int n) {\n}\n".to_owned(),
                "main-functions",
            ),
            (
                "c",
                "int f() {\nprintf(x);\nprintf(y);\n}\n".to_owned(),
                "print-lines",
            ),
        ] {
            assert_eq!(opencoder(language, &text), Some(expected), "{text}");
        }
    }

    #[test]
    fn ordinary_code_passes() {
        for (language, text) in [
            ("python", BODY.to_owned()),
            (
                "python",
                format!("\"\"\"{}\"\"\"\n{BODY}", "words ".repeat(40)),
            ),
            (
                "go",
                "package p\n\nfunc f() {\n\tx := 1\n\tg(x)\n\th(x)\n\ti(x)\n}\n".to_owned(),
            ),
            ("shell", format!("x='{}'\n", "one two ".repeat(15))),
            ("haskell", "main = print 1\n".to_owned()),
        ] {
            assert_eq!(opencoder(language, &text), None, "{text}");
        }
    }

    #[test]
    fn no_bound_no_rule() {
        let bounds = Bounds::pack("starcoder2").unwrap();
        let text = "x = 'a b c d'\nprint(x)\nprint(x)\n";
        assert_eq!(strings(text, by_name("python"), &bounds), None);
        assert_eq!(code_lines(text, by_name("python"), &bounds), None);
    }
}
