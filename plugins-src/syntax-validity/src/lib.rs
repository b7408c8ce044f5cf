//! The curator `syntax-validity`: drops samples whose code does not parse.
//!
//! A text is parsed as a whole where the dataset or the text itself says its language; fences of Markdown in it are parsed
//! each in the language that they name, and the words around them are no code. What is learned may go on with what is given:
//! it is parsed alone, and where that fails behind all before it.

use codetune_plugin::{About, Curator, Sample, Settings, Verdict};
use source_parsers::syntax_errors;
use source_text::{by_extension, by_name, detect, fences};

/// Languages in whose files code stands in fences.
const PROSE: [&str; 3] = ["markdown", "text", "restructuredtext"];

/// The plugin.
pub struct SyntaxValidity {
    max_errors: usize,
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
        let alone = syntax_errors(text, Some(language)).ok()?;
        if alone.0 <= self.max_errors || before.trim().is_empty() {
            return Some(alone);
        }
        let whole = format!("{before}{text}");
        match syntax_errors(&whole, Some(language)).ok()? {
            behind if behind.0 <= self.max_errors => Some(behind),
            _ => Some(alone),
        }
    }
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
    fn what_cannot_be_parsed_is_kept_unless_the_user_says_otherwise() {
        for (path, text) in [(Some("a.hs"), "main = (\n"), (None, "12 34 (")] {
            let sample = sample(path, &[(text, true)]);
            assert_eq!(code(0, false, &sample), None);
            assert_eq!(code(0, true, &sample), Some("unknown-language"));
        }
    }
}
