//! Whether a piece of code parses.

use crate::analysis::{analyze, language_of};
use crate::report::Severity;

/// How many syntax errors a piece of code has, and the first with its line.
///
/// # Errors
/// One sentence when there is no parser for the language.
pub fn syntax_errors(
    code: &str,
    language: Option<&str>,
) -> Result<(usize, Option<String>), String> {
    let known = language_of(code, language, None)?;
    let report = analyze(code, Some(known), None, u32::MAX)?;
    let errors = report.findings.iter();
    let mut errors = errors.filter(|finding| finding.severity == Severity::Error);
    let first = errors.next();
    let message = first.map(|error| format!("line {}: {}", error.line, error.message));
    Ok((usize::from(first.is_some()) + errors.count(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_and_the_first_is_told() {
        assert_eq!(syntax_errors("x = 1\n", Some("python")), Ok((0, None)));
        let (count, first) = syntax_errors("x = 1\ny = (\n", Some("python")).unwrap();
        assert!(count > 0 && first.unwrap().starts_with("line "));
        assert!(syntax_errors("x", Some("klingon")).is_err());
    }
}
