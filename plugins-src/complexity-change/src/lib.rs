//! The scorer `complexity-change`: how much more complex what a model wrote is than its reference.
//!
//! The cyclomatic complexity of all functions, as `code-analyzer` counts it: 1 when the completion has no more of it than the
//! reference, else the reference's over the completion's. Both are read alone, and behind the prompt where they need it to
//! parse; what the prompt has is then in both.

use codetune_plugin::{About, Completion, Score, Scorer, Settings};
use source_parsers::{Severity, analyze, language_of};
use source_text::fences;

/// The plugin.
pub struct ComplexityChange;

impl Scorer for ComplexityChange {
    const ABOUT: About = About {
        name: "complexity-change",
        version: env!("CARGO_PKG_VERSION"),
        description: "Whether a completion is more complex than its reference, by cyclomatic complexity.",
        author: "CodeTune Studio",
        tags: &["scorer", "complexity"],
        config_schema: "{}",
    };

    fn new(_settings: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn score(&self, completion: &Completion) -> Result<Vec<Score>, String> {
        let reference = completion
            .reference
            .as_deref()
            .ok_or("there is no reference to compare with")?;
        let (fence, text) = code(&completion.text);
        let (_, reference) = code(reference);
        let declared = completion.language.as_deref().or(fence);
        let language = language_of(reference, declared, None)?;
        let score = |value, reason| Score {
            name: "complexity_change",
            value,
            reason,
        };
        if text.trim().is_empty() {
            return Ok(vec![score(0.0, "the completion is empty".to_owned())]);
        }
        let expected = complexity(reference, &completion.prompt, language)?
            .ok_or("the reference does not parse")?;
        let Some(found) = complexity(text, &completion.prompt, language)? else {
            return Ok(vec![score(0.0, "the completion does not parse".to_owned())]);
        };
        if found <= expected {
            return Ok(vec![score(1.0, String::new())]);
        }
        let reason = format!("a complexity of {found}, the reference has {expected}");
        Ok(vec![score(
            f64::from(expected.max(1)) / f64::from(found),
            reason,
        )])
    }
}

/// The complexity of a text, behind the prompt where it does not parse alone; none where it parses neither way.
fn complexity(text: &str, prompt: &str, language: &str) -> Result<Option<u32>, String> {
    let parsed = |code: &str| -> Result<Option<u32>, String> {
        let report = analyze(code, Some(language), None, u32::MAX)?;
        let has_error = |error: &source_parsers::Finding| error.severity == Severity::Error;
        Ok((!report.findings.iter().any(has_error)).then_some(report.complexity))
    };
    match parsed(text)? {
        None if !prompt.is_empty() => parsed(&format!("{prompt}{text}")),
        alone => Ok(alone),
    }
}

/// The first fence, or the whole text.
fn code(text: &str) -> (Option<&str>, &str) {
    fences(text).first().copied().unwrap_or((None, text))
}

codetune_plugin::scorer!(ComplexityChange);

#[cfg(test)]
mod tests {
    use super::*;

    fn score(prompt: &str, text: &str, reference: &str) -> Score {
        let completion = Completion {
            prompt: prompt.to_owned(),
            text: text.to_owned(),
            reference: Some(reference.to_owned()),
            language: Some("python".to_owned()),
        };
        ComplexityChange.score(&completion).unwrap().remove(0)
    }

    const PLAIN: &str = "def f(x):\n    return x\n";
    const BRANCHED: &str =
        "def f(x):\n    if x:\n        if y:\n            return x\n    return 0\n";

    #[test]
    fn no_more_complex_is_one_and_more_complex_the_share() {
        assert_eq!(score("", PLAIN, BRANCHED).value, 1.0);
        assert_eq!(score("", PLAIN, PLAIN).value, 1.0);
        let found = score("", BRANCHED, PLAIN);
        assert!((found.value - 1.0 / 3.0).abs() < 1e-9, "{found:?}");
        assert_eq!(found.reason, "a complexity of 3, the reference has 1");
    }

    #[test]
    fn what_goes_on_with_the_prompt_is_read_behind_it() {
        let found = score(
            "def f(x):\n",
            "    if x: pass\n    return x\n",
            "    return x\n",
        );
        assert_eq!(found.value, 0.5);
    }

    #[test]
    fn what_does_not_parse_or_is_empty_scores_zero() {
        assert_eq!(score("", "def f(:\n", PLAIN).value, 0.0);
        assert_eq!(score("", " ", PLAIN).value, 0.0);
    }

    #[test]
    fn without_a_reference_that_parses_there_is_no_score() {
        let none = Completion {
            text: PLAIN.to_owned(),
            language: Some("python".to_owned()),
            ..Completion::default()
        };
        assert!(
            ComplexityChange
                .score(&none)
                .unwrap_err()
                .contains("reference")
        );
        let broken = Completion {
            reference: Some("def f(:\n".to_owned()),
            ..none
        };
        assert!(
            ComplexityChange
                .score(&broken)
                .unwrap_err()
                .contains("does not parse")
        );
    }
}
