//! One text against the rules. Each finding that an edit would mend has the edit, and how sure it is.

use source_text::Language;
use source_words::{Bare, bare};

/// One finding.
#[derive(Debug, PartialEq)]
pub struct Finding {
    /// A word to count by.
    pub code: &'static str,
    /// Whether it is probably a fault, or a matter of taste.
    pub is_warning: bool,
    /// First byte and one past the last.
    pub span: (usize, usize),
    /// One sentence.
    pub message: String,
    /// What to put in the span's place, and how sure that is.
    pub instead: Option<(String, f64)>,
}

/// Every code, in the order in which they are counted.
pub const CODES: [&str; 8] = [
    "long-line",
    "trailing-space",
    "mixed-indentation",
    "tabs",
    "line-ends",
    "end-of-file",
    "name",
    "comparison",
];

/// Findings in the order of the text.
pub fn look(text: &str, language: &Language, max_line_length: Option<usize>) -> Vec<Finding> {
    let bare = bare(text, language);
    let mut found = Vec::new();
    let bound = max_line_length.or_else(|| usual_length(language.name));
    lines(text, &bare, language, bound, &mut found);
    end(text, &mut found);
    names(&bare, language, &mut found);
    if language.name == "python" {
        comparisons(&bare, &mut found);
    }
    found.sort_by_key(|finding| finding.span);
    found
}

/// What the usual formatters of a language bound lines by.
fn usual_length(language: &str) -> Option<usize> {
    match language {
        "python" => Some(88),
        "rust" | "java" => Some(100),
        "javascript" | "jsx" | "typescript" | "tsx" | "c" | "c++" => Some(80),
        "go" | "markdown" => None,
        _ => Some(120),
    }
}

fn lines(
    text: &str,
    bare: &Bare,
    language: &Language,
    bound: Option<usize>,
    found: &mut Vec<Finding>,
) {
    let indents = |first: char| text.lines().filter(|line| line.starts_with(first)).count();
    let (tabs, spaces) = (indents('\t'), indents(' '));
    let is_tabbed = tabs > spaces;
    let breaks = text.matches('\n').count();
    let windows = text.matches("\r\n").count();
    let is_windows = 2 * windows > breaks;
    let mut strings = bare.strings.iter().peekable();
    let mut is_said = false;
    let mut at = 0;
    for whole in text.split_inclusive('\n') {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let ends_windows = line.ends_with('\r');
        let line = line.strip_suffix('\r').unwrap_or(line);
        let end = at + line.len();
        let has_break = whole.len() > line.len();
        while strings.next_if(|string| string.end <= at).is_some() {}
        // White space in a string of several lines belongs to its value.
        let is_in_string = |place: usize| {
            strings
                .clone()
                .take_while(|string| string.start < place)
                .any(|string| string.inner <= place && place <= string.inner_end)
        };
        let kept = line.trim_end_matches([' ', '\t']).len();
        // Two spaces break a line in Markdown.
        let is_break = language.name == "markdown" && line.len() - kept == 2 && kept > 0;
        if kept < line.len() && !is_break {
            let within = is_in_string(end);
            found.push(Finding {
                code: "trailing-space",
                is_warning: false,
                span: (at + kept, end),
                message: "white space at the end of the line".to_owned(),
                instead: Some((String::new(), if within { 0.3 } else { 1.0 })),
            });
        }
        if has_break && ends_windows != is_windows && windows > 0 {
            found.push(Finding {
                code: "line-ends",
                is_warning: true,
                span: (end, at + whole.len()),
                message: "the line ends in another way than most of the file".to_owned(),
                instead: Some((if is_windows { "\r\n" } else { "\n" }.to_owned(), 0.9)),
            });
        }
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let (head, other) = (&line[..indent], if is_tabbed { ' ' } else { '\t' });
        let is_blank = indent == line.len();
        if tabs > 0 && spaces > 0 && head.contains(other) && !is_blank && !is_in_string(at) {
            // One space behind tabs continues a comment: ` * text`.
            let is_comment = is_tabbed && head.trim_start_matches('\t') == " ";
            if !is_comment {
                found.push(Finding {
                    code: "mixed-indentation",
                    is_warning: language.name == "python",
                    span: (at, at + indent),
                    message: format!(
                        "the line is indented by {}, unlike most of the file",
                        if is_tabbed { "spaces" } else { "tabs" }
                    ),
                    instead: (!is_tabbed).then(|| (head.replace('\t', "    "), 0.5)),
                });
            }
        } else if is_tabbed
            && !is_said
            && head.starts_with('\t')
            && matches!(language.name, "python" | "rust" | "yaml")
        {
            is_said = true;
            found.push(Finding {
                code: "tabs",
                is_warning: language.name == "yaml",
                span: (at, at + indent),
                message: format!("{} is indented by spaces", language.name),
                instead: None,
            });
        }
        if let Some(bound) = bound
            && line.len() > bound
        {
            long_line(line, at, bound, found);
        }
        at += whole.len();
    }
}

fn long_line(line: &str, at: usize, bound: usize, found: &mut Vec<Finding>) {
    let length = line.chars().count();
    let Some((cut, _)) = line.char_indices().nth(bound) else {
        return;
    };
    // An address or a path that cannot be broken is nobody's fault.
    let last = line.trim_end().rfind([' ', '\t']).map_or(0, |at| at + 1);
    let is_one_piece =
        last <= cut && line[last..].contains("://") || line.trim().split(' ').count() == 1;
    if is_one_piece {
        return;
    }
    found.push(Finding {
        code: "long-line",
        is_warning: false,
        span: (at + cut, at + line.len()),
        message: format!("the line has {length} characters, at most {bound}"),
        instead: None,
    });
}

fn end(text: &str, found: &mut Vec<Finding>) {
    let kept = text.trim_end_matches(['\n', '\r']).len();
    let breaks = text[kept..].matches('\n').count();
    if kept == 0 || breaks == 1 {
        return;
    }
    let is_windows = text.contains("\r\n");
    let (message, span) = match breaks {
        0 => ("the last line has no line break", (text.len(), text.len())),
        _ => ("blank lines at the end of the file", (kept, text.len())),
    };
    found.push(Finding {
        code: "end-of-file",
        is_warning: false,
        span,
        message: message.to_owned(),
        instead: Some((if is_windows { "\r\n" } else { "\n" }.to_owned(), 1.0)),
    });
}

/// Names that unittest and setuptools ask for.
const FIXED: [&str; 9] = [
    "setUp",
    "tearDown",
    "setUpClass",
    "tearDownClass",
    "setUpModule",
    "tearDownModule",
    "asyncSetUp",
    "asyncTearDown",
    "setUpTestData",
];

/// Definitions whose names are written in another way than their language's guide says: PEP 8, Rust's RFC 430, and for
/// JavaScript what Airbnb's guide and Google's agree on. A definition is no place for an edit: its uses are elsewhere.
fn names(bare: &Bare, language: &Language, found: &mut Vec<Finding>) {
    let is_rust = language.name == "rust";
    let words: &[(&str, Case)] = match language.name {
        "python" => &[("def", Case::Snake), ("class", Case::Camel)],
        "rust" if bare.code.contains("allow(non_") => return,
        "rust" => &[
            ("fn", Case::Snake),
            ("struct", Case::Camel),
            ("enum", Case::Camel),
            ("trait", Case::Camel),
        ],
        "javascript" | "jsx" | "typescript" | "tsx" => {
            &[("class", Case::Camel), ("function", Case::NoScore)]
        }
        _ => return,
    };
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '#');
    let mut at = 0;
    for line in bare.code.split_inclusive('\n') {
        // Those that begin a line, whatever modifiers stand before.
        for (word, case) in words {
            let mut places = line.match_indices(word);
            let Some((place, _)) = places.find(|(place, _)| {
                let before = &line[..*place];
                let after = &line[place + word.len()..];
                after.starts_with([' ', '\t'])
                    && (before.is_empty() || before.ends_with([' ', '\t']))
                    && before.split_ascii_whitespace().all(|word| {
                        word.chars()
                            .all(|c| is_word(c) || matches!(c, '(' | ')' | '"'))
                    })
            }) else {
                continue;
            };
            let rest = &line[place + word.len()..];
            let start = place + word.len() + (rest.len() - rest.trim_start().len());
            let name = &line[start..];
            let name = &name[..name.find(|c| !is_word(c)).unwrap_or(name.len())];
            if name.is_empty() || case.fits(name) || FIXED.contains(&name) || name.contains('$') {
                continue;
            }
            // `extern "C"` names are another language's.
            if is_rust && line[..place].contains("extern") {
                continue;
            }
            found.push(Finding {
                code: "name",
                is_warning: false,
                span: (at + start, at + start + name.len()),
                message: format!(
                    "`{name}` is written {} here: `{}`",
                    case.word(),
                    case.of(name)
                ),
                instead: None,
            });
        }
        at += line.len();
    }
}

/// How names are written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Snake,
    Camel,
    /// `camelCase` or `PascalCase`, so long as no `_` is between words.
    NoScore,
}

impl Case {
    fn fits(self, name: &str) -> bool {
        let name = name.trim_matches('_');
        match self {
            Self::Snake => !name.chars().any(char::is_uppercase),
            Self::Camel => !name.contains('_') && !name.starts_with(char::is_lowercase),
            Self::NoScore => !name.contains('_'),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Snake => "in snake_case",
            Self::Camel => "in CamelCase",
            Self::NoScore => "in camelCase",
        }
    }

    /// The name as it should be.
    fn of(self, name: &str) -> String {
        let mut made = String::new();
        let mut is_new = self == Self::Camel;
        let mut before = '_';
        for character in name.chars() {
            match self {
                Self::Snake => {
                    if character.is_uppercase() && (before.is_lowercase() || before.is_numeric()) {
                        made.push('_');
                    }
                    made.extend(character.to_lowercase());
                }
                _ if character == '_' && !made.trim_matches('_').is_empty() => is_new = true,
                _ if is_new && character != '_' => {
                    made.extend(character.to_uppercase());
                    is_new = false;
                }
                _ => made.push(character),
            }
            before = character;
        }
        made
    }
}

/// `== None` and `!= None`, which PEP 8 has as `is None` and `is not None`.
fn comparisons(bare: &Bare, found: &mut Vec<Finding>) {
    for (sign, word) in [("==", "is"), ("!=", "is not")] {
        for (at, _) in bare.code.match_indices(sign) {
            let rest = bare.code[at + 2..].trim_start_matches(' ');
            let is_none = rest.strip_prefix("None").is_some_and(|rest| {
                !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '('))
            });
            if !is_none {
                continue;
            }
            let space = if bare.code[..at].ends_with(' ') {
                ""
            } else {
                " "
            };
            let is_apart = bare.code[at + 2..].starts_with(' ');
            found.push(Finding {
                code: "comparison",
                is_warning: true,
                span: (at, at + 2),
                message: format!("a comparison with None is written `{word} None`"),
                instead: Some((
                    format!("{space}{word}{}", if is_apart { "" } else { " " }),
                    0.8,
                )),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use source_text::by_name;

    use super::*;

    fn found(language: &str, text: &str) -> Vec<Finding> {
        look(text, by_name(language).unwrap(), None)
    }

    fn codes(language: &str, text: &str) -> Vec<&'static str> {
        found(language, text)
            .iter()
            .map(|finding| finding.code)
            .collect()
    }

    /// The text after all edits.
    fn mended(language: &str, text: &str) -> String {
        let mut text = text.to_owned();
        for finding in found(language, &text).iter().rev() {
            if let Some((replacement, _)) = &finding.instead {
                text.replace_range(finding.span.0..finding.span.1, replacement);
            }
        }
        text
    }

    #[test]
    fn ordinary_code_has_no_findings() {
        for (language, text) in [
            (
                "python",
                "class Name:\n    def setUp(self):\n        return _x is None\n\n\ndef __init__(x): pass\n",
            ),
            (
                "rust",
                "pub struct A2;\n\nimpl A2 {\n    pub(crate) async fn do_it() {}\n}\n",
            ),
            (
                "js",
                "export default class A {}\nexport async function Part() {}\nfunction two() {}\n",
            ),
            ("go", "func a() {\n\treturn\n}\n"),
            ("python", ""),
        ] {
            assert_eq!(found(language, text), [], "{text}");
        }
    }

    #[test]
    fn edits_mend_what_was_found() {
        for (language, text, expected) in [
            ("python", "x = 1  \ny = 2", "x = 1\ny = 2\n"),
            ("python", "x = 1\n\n\n", "x = 1\n"),
            (
                "python",
                "if x:\n    a\n    b\nif y:\n\tc\n",
                "if x:\n    a\n    b\nif y:\n    c\n",
            ),
            ("js", "a\r\nb\r\nc\n", "a\r\nb\r\nc\r\n"),
            (
                "python",
                "a = x==None or y != None\n",
                "a = x is None or y is not None\n",
            ),
        ] {
            assert_eq!(mended(language, text), expected, "{text:?}");
            assert_eq!(codes(language, expected), [""; 0], "{text:?}");
        }
    }

    #[test]
    fn an_edit_in_a_string_is_less_sure() {
        let found = found("python", "x = '''a \nb'''\n");
        assert_eq!(found[0].instead, Some((String::new(), 0.3)));
    }

    #[test]
    fn names_are_held_to_their_languages_guide() {
        for (language, text, name) in [
            ("python", "def doIt(x): pass\n", "`do_it`"),
            ("python", "class my_name: pass\n", "`MyName`"),
            ("rust", "pub fn DoIt() {}\n", "`do_it`"),
            ("ts", "export function do_it() {}\n", "`doIt`"),
        ] {
            let found = found(language, text);
            assert_eq!((found.len(), found[0].code), (1, "name"), "{text}");
            assert!(found[0].message.ends_with(name), "{}", found[0].message);
        }
        let text = "\"\"\"\nclass my_name is no class\n\"\"\"\n# def doIt(): x\n";
        assert_eq!(codes("python", text), [""; 0]);
    }

    #[test]
    fn long_lines_are_those_that_could_be_broken() {
        let long = format!("x = [{}]\n", "value, ".repeat(20));
        assert_eq!(codes("python", &long), ["long-line"]);
        assert_eq!(found("python", &long)[0].span.0, 88);
        assert_eq!(codes("go", &long), [""; 0]);
        let address = format!("# see https://host/{}\n", "a".repeat(100));
        assert_eq!(codes("python", &address), [""; 0]);
        assert_eq!(look("abc def\n", by_name("go").unwrap(), Some(4)).len(), 1);
    }

    #[test]
    fn no_text_trips_it() {
        for text in [
            "é", "\té \n", "def", "def é", "class \n", "==None", "\r", "\r\n\r", "'é",
        ] {
            for language in ["python", "rust", "js", "markdown"] {
                mended(language, text);
            }
        }
    }
}
