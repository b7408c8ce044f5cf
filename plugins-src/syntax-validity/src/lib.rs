//! The curator `syntax-validity`: drops samples whose code does not parse.
//!
//! A text is parsed as a whole where the dataset or the text itself says its language; fences of Markdown in it are parsed
//! each in the language that they name, and the words around them are no code. What is learned may go on with what is given:
//! it is parsed alone, and where that fails behind all before it.
//!
//! A grammar of C or C++ expands no macro, and half of all headers have one where it expects none. Such a text is parsed again
//! without them (`macros`), and may then still have errors in a small share of its lines, as long as its brackets close.

mod macros;

use codetune_plugin::{About, Curator, Sample, Settings, Verdict};
use source_parsers::{Severity, analyze, syntax_errors};
use source_text::{by_extension, by_name, detect, fences};

use macros::without_macros;

/// Languages in whose files code stands in fences.
const PROSE: [&str; 3] = ["markdown", "text", "restructuredtext"];

/// The plugin.
pub struct SyntaxValidity {
    max_errors: usize,
    max_error_share: f64,
    drops_unknown: bool,
}

impl Curator for SyntaxValidity {
    const ABOUT: About = About {
        name: "syntax-validity",
        version: env!("CARGO_PKG_VERSION"),
        description: "Drops samples whose code does not parse: Python, JavaScript, TypeScript, Rust, Go, Java, C, C++ and shell.",
        author: "CodeTune Studio",
        tags: &["curator", "syntax", "opencoder"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            max_errors: settings.get("max_errors", 0)?,
            max_error_share: settings.get("max_error_share", 0.02)?,
            drops_unknown: settings.get("unknown_language", String::new())? == "drop",
        })
    }

    fn curate(&self, sample: &Sample) -> Result<Verdict, String> {
        let mut before = String::new();
        let mut errors = 0;
        for part in &sample.parts {
            if part.learned {
                let found = self.part(sample, &part.text, &before);
                let Some((count, first)) = found else {
                    if self.drops_unknown {
                        let message = format!("{}: no parser for its language", part.name);
                        return Ok(scored(Verdict::drop("unknown-language", message), errors));
                    }
                    before.push_str(&part.text);
                    continue;
                };
                errors += count;
                if errors > self.max_errors {
                    let message = format!("{}: {}", part.name, first.unwrap_or_default());
                    return Ok(scored(Verdict::drop("syntax-error", message), errors));
                }
            }
            before.push_str(&part.text);
        }
        Ok(scored(Verdict::keep(), errors))
    }
}

/// How many errors there are, and the first; none where nothing can be parsed.
type Errors = Option<(usize, Option<String>)>;

impl SyntaxValidity {
    fn part(&self, sample: &Sample, text: &str, before: &str) -> Errors {
        let (language, path) = (sample.language.as_deref(), sample.path.as_deref());
        // What a file of code holds in fences is an example in its documentation.
        let is_code = path
            .and_then(by_extension)
            .is_some_and(|language| !PROSE.contains(&language.name));
        let fences = if is_code { Vec::new() } else { fences(text) };
        if !fences.is_empty() {
            return in_fences(&fences, language);
        }
        let language = detect(language, path, text)?.name;
        if language == "shell" && is_zsh(path, text) {
            return None;
        }
        let alone = self.errors(text, language)?;
        if alone.0 <= self.max_errors || before.trim().is_empty() {
            return Some(alone);
        }
        let whole = format!("{before}{text}");
        match self.errors(&whole, language)? {
            behind if behind.0 <= self.max_errors => Some(behind),
            _ => Some(alone),
        }
    }

    /// The errors of a text; of C and C++ those that macros do not explain.
    fn errors(&self, text: &str, language: &str) -> Errors {
        let mut fewest = syntax_errors(text, Some(language)).ok()?;
        let grammars: &[&str] = match language {
            // A header's name does not say which it is.
            "c" => &["c", "c++"],
            "c++" => &["c++"],
            _ => &[],
        };
        for grammar in grammars {
            if fewest.0 <= self.max_errors {
                break;
            }
            let found = self.beside_macros(text, grammar)?;
            if found.0 < fewest.0 {
                fewest = found;
            }
        }
        Some(fewest)
    }

    /// The errors of a text of C or C++ without its macros; none where they are few and its brackets close.
    fn beside_macros(&self, text: &str, grammar: &str) -> Errors {
        let plain = without_macros(text, grammar)?;
        let report = analyze(&plain.text, Some(grammar), None, u32::MAX).ok()?;
        let errors = report.findings.iter();
        let errors: Vec<_> = errors
            .filter(|found| found.severity == Severity::Error)
            .collect();
        let lines = errors.iter().map(|error| {
            let stretch = &plain.text[error.start as usize..error.end as usize];
            1 + stretch.matches('\n').count()
        });
        let share = lines.sum::<usize>() as f64 / plain.text.lines().count().max(1) as f64;
        if plain.is_balanced && share <= self.max_error_share {
            return Some((0, None));
        }
        let first = errors.first();
        let first = first.map(|error| format!("line {}: {}", error.line, error.message));
        Some((errors.len(), first))
    }
}

/// Whether a shell's text is zsh's, which has more than the grammar knows.
fn is_zsh(path: Option<&str>, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    path.is_some_and(|path| path.ends_with(".zsh") || path.ends_with("zshrc"))
        || first.starts_with("#!") && first.contains("zsh")
}

/// The errors of all fences in a language that there is a parser for.
fn in_fences(fences: &[(Option<&str>, &str)], language: Option<&str>) -> Errors {
    let mut all: Errors = None;
    for (tag, code) in fences {
        // A fence that names no language is in that of the text, where somebody says one.
        let Some((count, first)) = tag.or(language).and_then(|one| piece(code, one)) else {
            continue;
        };
        let (sum, earlier) = all.unwrap_or_default();
        all = Some((sum + count, earlier.or(first)));
    }
    all
}

/// The errors of a piece of code, which may be statements alone where a file of its language has none by themselves.
fn piece(code: &str, language: &str) -> Option<(usize, Option<String>)> {
    let whole = syntax_errors(code, Some(language)).ok()?;
    let around: &[(&str, &str)] = match by_name(language).map(|language| language.name) {
        Some("rust") => &[("fn f() {\n", "\n}\n"), ("impl A {\n", "\n}\n")],
        Some("go") => &[("package p\n", "\n"), ("package p\nfunc f() {\n", "\n}\n")],
        Some("java") => &[
            ("class A {\n", "\n}\n"),
            ("class A { void f() {\n", "\n} }\n"),
        ],
        _ => &[],
    };
    let is_whole = whole.0 == 0
        || around.iter().any(|(before, behind)| {
            let text = format!("{before}{code}{behind}");
            syntax_errors(&text, Some(language)).is_ok_and(|(count, _)| count == 0)
        });
    Some(if is_whole { (0, None) } else { whole })
}

fn scored(verdict: Verdict, errors: usize) -> Verdict {
    Verdict {
        scores: vec![("syntax_errors", errors as f64)],
        ..verdict
    }
}

codetune_plugin::curator!(SyntaxValidity);

#[cfg(test)]
mod tests {
    use codetune_plugin::{Decision, Part};

    use super::*;

    fn sample(path: Option<&str>, parts: &[(&str, bool)]) -> Sample {
        let parts = parts.iter().map(|(text, learned)| Part {
            name: if *learned { "completion" } else { "prompt" }.to_owned(),
            text: (*text).to_owned(),
            learned: *learned,
        });
        Sample {
            parts: parts.collect(),
            path: path.map(str::to_owned),
            language: None,
        }
    }

    fn code(max_errors: usize, drops_unknown: bool, sample: &Sample) -> Option<&'static str> {
        let curator = SyntaxValidity {
            max_errors,
            max_error_share: 0.02,
            drops_unknown,
        };
        match curator.curate(sample).unwrap().decision {
            Decision::Drop(reason) => Some(reason.code),
            _ => None,
        }
    }

    #[test]
    fn code_that_does_not_parse_goes_with_its_place() {
        let broken = sample(Some("a.py"), &[("x = 1\ny = (\n", true)]);
        assert_eq!(code(0, false, &broken), Some("syntax-error"));
        assert_eq!(code(9, false, &broken), None);
        let curator = SyntaxValidity {
            max_errors: 0,
            max_error_share: 0.02,
            drops_unknown: false,
        };
        let Decision::Drop(reason) = curator.curate(&broken).unwrap().decision else {
            panic!()
        };
        assert!(
            reason.message.starts_with("completion: line "),
            "{}",
            reason.message
        );
        assert_eq!(
            code(0, false, &sample(Some("a.go"), &[("package p\n", true)])),
            None
        );
    }

    #[test]
    fn a_completion_may_go_on_with_its_prompt() {
        let good = sample(
            Some("a.py"),
            &[("def f(x):\n", false), ("    return x\n", true)],
        );
        assert_eq!(code(0, false, &good), None);
        let bad = sample(
            Some("a.py"),
            &[("def f(x):\n", false), ("return )\n", true)],
        );
        assert_eq!(code(0, false, &bad), Some("syntax-error"));
    }

    #[test]
    fn fences_are_parsed_in_the_language_that_they_name() {
        let answer = |code: &str| format!("Here it is:\n```python\n{code}\n```\nIt isn't (hard.\n");
        let parts = |text: &str| sample(None, &[("Write f.", false), (text, true)]);
        assert_eq!(code(0, false, &parts(&answer("x = 1"))), None);
        assert_eq!(
            code(0, false, &parts(&answer("x = ("))),
            Some("syntax-error")
        );
        let rust = |code: &str| parts(&format!("So:\n```rust\n{code}\n```\n"));
        assert_eq!(code(0, false, &rust("let x = all.iter().sum();")), None);
        assert_eq!(code(0, false, &rust("let x = (;")), Some("syntax-error"));
        let go = parts("So:\n```go\nx := f()\nreturn x\n```\n");
        assert_eq!(code(0, false, &go), None);
        assert_eq!(
            code(0, true, &parts("```klingon\n(\n```\n")),
            Some("unknown-language")
        );
    }

    #[test]
    fn code_with_fences_in_its_documentation_is_parsed_as_a_whole() {
        let rust = |end: &str| {
            format!("impl A {{\n    /// ```rust\n    /// f(\n    /// ```\n    fn f() {{}}\n{end}\n")
        };
        let python =
            |end: &str| format!("\"\"\"Module.\n\n```python\n>>> f()\n```\n\"\"\"\nx = {end}\n");
        for (path, good, bad) in [
            ("a.rs", rust("}"), rust("}}")),
            ("a.py", python("1"), python("(")),
        ] {
            assert_eq!(code(0, false, &sample(Some(path), &[(&good, true)])), None);
            assert_eq!(
                code(0, false, &sample(Some(path), &[(&bad, true)])),
                Some("syntax-error")
            );
        }
        let mut named = sample(None, &[(&rust("}"), true)]);
        named.language = Some("rust".to_owned());
        assert_eq!(code(0, false, &named), None);
    }

    #[test]
    fn macros_of_c_are_no_errors_and_what_is_broken_beside_them_is() {
        let head = "#ifdef __cplusplus\nextern \"C\" {\n#endif\nMY_API int f(const char *end UNUSED) NOTHROW;\n";
        let foot = "#ifdef __cplusplus\n}\n#endif\n";
        let whole = format!("{head}{foot}");
        assert!(syntax_errors(&whole, Some("c")).unwrap().0 > 0);
        assert_eq!(
            code(0, false, &sample(Some("a.h"), &[(&whole, true)])),
            None
        );
        for broken in ["int g( {\n", "int g(;\n", "x = = 1;\n"] {
            let text = format!("{head}{broken}{foot}");
            let found = code(0, false, &sample(Some("a.h"), &[(&text, true)]));
            assert_eq!(found, Some("syntax-error"), "{broken}");
        }
        // A header may be C++'s.
        let class = "class A {\n public:\n  A();\n};\n";
        assert_eq!(code(0, false, &sample(Some("a.h"), &[(class, true)])), None);
    }

    #[test]
    fn a_share_of_lines_may_be_in_error_where_all_brackets_close() {
        let lines = "int x = 1;\n".repeat(99);
        for (line, expected) in [
            ("f(a, .b);\n", None),
            ("f(a, .b;\n", Some("syntax-error")),
            ("f(a, .b);\nf(c, .d);\nf(e, .f);\n", Some("syntax-error")),
        ] {
            let text = format!("{lines}{line}");
            let found = code(0, false, &sample(Some("a.c"), &[(&text, true)]));
            assert_eq!(found, expected, "{line}");
        }
        // Only C and C++ have macros.
        let text = format!("{}x = = 1\n", "x = 1\n".repeat(99));
        let found = code(0, false, &sample(Some("a.py"), &[(&text, true)]));
        assert_eq!(found, Some("syntax-error"));
    }

    #[test]
    fn what_cannot_be_parsed_is_kept_unless_the_user_says_otherwise() {
        for (path, text) in [
            (Some("a.hs"), "main = (\n"),
            (None, "12 34 ("),
            (Some("a.zsh"), "for x (*.c(.)) { print -l ${(f)x} }\n"),
        ] {
            let sample = sample(path, &[(text, true)]);
            assert_eq!(code(0, false, &sample), None);
            assert_eq!(code(0, true, &sample), Some("unknown-language"));
        }
    }
}
