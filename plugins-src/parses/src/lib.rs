//! The scorer `parses`: does what a model wrote parse?
//!
//! The completion is parsed alone, and behind its prompt where that is better: a model that goes on with code that it was
//! given writes no whole file. Fences of Markdown around the code are taken off.

use codetune_plugin::{About, Completion, Score, Scorer, Settings};
use source_parsers::syntax_errors;
use source_text::fences;

/// The plugin.
pub struct Parses;

impl Scorer for Parses {
    const ABOUT: About = About {
        name: "parses",
        version: env!("CARGO_PKG_VERSION"),
        description: "Whether a completion parses, alone or behind its prompt: Python, JavaScript, TypeScript, Rust, Go, Java, C, C++ and \
                      shell.",
        author: "CodeTune Studio",
        tags: &[
            "scorer",
            "syntax",
            "python",
            "javascript",
            "typescript",
            "rust",
            "go",
            "java",
            "c",
            "shell",
        ],
        config_schema: "{}",
    };

    fn new(_settings: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn score(&self, completion: &Completion) -> Result<Vec<Score>, String> {
        let fences = fences(&completion.text);
        let (fence, code) = fences.first().copied().unwrap_or((None, &completion.text));
        let declared = completion.language.as_deref().or(fence);
        let alone = first_error(code, declared)?;
        let error = match alone {
            Some(error) if !completion.prompt.is_empty() => {
                let whole = format!("{}{code}", completion.prompt);
                first_error(&whole, declared)?.map(|_| error)
            }
            alone => alone,
        };
        let is_empty = code.trim().is_empty();
        let reason = match &error {
            _ if is_empty => "the completion is empty".to_owned(),
            Some(error) => error.clone(),
            None => String::new(),
        };
        Ok(vec![Score {
            name: "parses",
            value: if is_empty || error.is_some() {
                0.0
            } else {
                1.0
            },
            reason,
        }])
    }
}

/// The first syntax error, with its line; none when the code parses.
fn first_error(code: &str, language: Option<&str>) -> Result<Option<String>, String> {
    syntax_errors(code, language).map(|(_, first)| first)
}

codetune_plugin::scorer!(Parses);

#[cfg(test)]
mod tests {
    use super::*;

    fn score(prompt: &str, text: &str, language: Option<&str>) -> f64 {
        let completion = Completion {
            prompt: prompt.to_owned(),
            text: text.to_owned(),
            reference: None,
            language: language.map(str::to_owned),
        };
        Parses.score(&completion).unwrap()[0].value
    }

    #[test]
    fn code_parses_alone_behind_its_prompt_or_not_at_all() {
        assert_eq!(score("", "x = 1\n", Some("python")), 1.0);
        assert_eq!(score("def f(a):\n", "    return a\n", Some("python")), 1.0);
        assert_eq!(score("def f(a):\n", "return )\n", Some("python")), 0.0);
        assert_eq!(score("Write a loop.", "for (;;) {}", Some("js")), 1.0);
        assert_eq!(score("", "fn f( {}", Some("rust")), 0.0);
    }

    #[test]
    fn a_fence_is_taken_off_and_names_the_language() {
        let text = "Here it is:\n```rust\nfn f() {}\n```\nDone.";
        assert_eq!(score("Write f.", text, None), 1.0);
    }

    #[test]
    fn an_example_in_the_documentation_of_code_is_not_the_code() {
        let text = "impl A {\n    /// ```\n    /// A.f();\n    /// ```\n    fn f(&self) {}\n}\n";
        assert_eq!(score("", text, Some("rust")), 1.0);
        assert_eq!(score("", &text.replace("}\n}", "}\n"), Some("rust")), 0.0);
    }

    #[test]
    fn nothing_is_no_code_and_another_language_no_score() {
        assert_eq!(score("", " \n", Some("python")), 0.0);
        let completion = Completion {
            text: "main = x".to_owned(),
            language: Some("haskell".to_owned()),
            ..Completion::default()
        };
        assert!(Parses.score(&completion).unwrap_err().contains("haskell"));
    }
}
