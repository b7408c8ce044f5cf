//! What the model is asked, and what is read out of its answer.

use serde::Serialize;

/// Lines of code that a prompt holds; the host takes 32 KiB in all.
const MOST_BYTES: usize = 24 << 10;

/// One remark of the model about one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// From 1; a line that the file has.
    pub line: usize,
    /// What the model says.
    pub message: String,
    /// What it would write there; the user may accept or reject it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<Suggestion>,
}

/// A line in place of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// From 1.
    pub line: usize,
    /// The new line without its end, as far in as the old one.
    pub replacement: String,
}

/// The question, with the code's lines numbered, so that the answer can name them.
///
/// # Errors
/// One sentence when the code is too long.
pub fn question(code: &str, language: Option<&str>) -> Result<String, String> {
    if code.len() > MOST_BYTES {
        return Err(format!(
            "code has {} bytes; a review takes {MOST_BYTES}",
            code.len()
        ));
    }
    let numbered: String = code
        .lines()
        .enumerate()
        .map(|(index, line)| format!("{}: {line}\n", index + 1))
        .collect();
    Ok(format!(
        "Review this {} code. Name faults only: wrong results, crashes, leaks, security. \
         Write one line for each, as `LINE: what is wrong and what to do`. Where a new line mends it, write that below, \
         as `FIX: the new line`. Write `none` when there is none.\n\n{numbered}",
        language.unwrap_or("source")
    ))
}

/// The remarks of an answer: lines that begin with the number of a line of `code`, each with the line that is to stand there
/// where the model says one. What else it says is no finding.
pub fn findings(answer: &str, code: &str) -> Vec<Finding> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found: Vec<Finding> = Vec::new();
    // Whether a mending would belong to the last finding.
    let mut is_open = false;
    for text in answer.lines() {
        let text = text.trim_start_matches(['-', '*', ' ', '`']);
        if let Some(new) = text.strip_prefix("FIX:") {
            if let Some(finding) = found.last_mut().filter(|_| is_open) {
                finding.suggestion = suggestion(finding.line, &lines, new);
            }
            is_open = false;
            continue;
        }
        let text = text
            .strip_prefix("LINE ")
            .or_else(|| text.strip_prefix("Line "))
            .unwrap_or(text);
        let Some((number, message)) = text.split_once(':') else {
            continue;
        };
        is_open = false;
        let message = message.trim().trim_end_matches('`');
        match number.trim().parse() {
            Ok(line) if (1..=lines.len()).contains(&line) && !message.is_empty() => {
                let is_known = |before: &Finding| before.line == line && before.message == message;
                if !found.iter().any(is_known) {
                    is_open = true;
                    found.push(Finding {
                        line,
                        message: message.to_owned(),
                        suggestion: None,
                    });
                }
            }
            _ => {}
        }
    }
    found
}

/// The new line, if it is one: models say the old one again too.
fn suggestion(line: usize, lines: &[&str], new: &str) -> Option<Suggestion> {
    let old = lines.get(line.checked_sub(1)?)?;
    let new = new.trim().trim_matches('`').trim();
    let indent = &old[..old.len() - old.trim_start().len()];
    (!new.is_empty() && new != old.trim()).then(|| Suggestion {
        line,
        replacement: format!("{indent}{new}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_numbers_the_lines() {
        let asked = question("a = 1\nb = a / 0\n", Some("python")).unwrap();
        assert!(asked.contains("this python code") && asked.ends_with("1: a = 1\n2: b = a / 0\n"));
        assert!(
            question(&"x\n".repeat(20_000), None)
                .unwrap_err()
                .contains("40000 bytes")
        );
    }

    #[test]
    fn only_remarks_about_lines_that_are_there_are_findings() {
        let answer = "Here you go:\n2: divides by zero; test b first\n- Line 1: unused\n9: nonsense\n0: too\n\
                      2: divides by zero; test b first\nnone";
        let finding = |line, message: &str| Finding {
            line,
            message: message.to_owned(),
            suggestion: None,
        };
        assert_eq!(
            findings(answer, "a = 1\nb = a / 0\n"),
            [
                finding(2, "divides by zero; test b first"),
                finding(1, "unused")
            ]
        );
    }

    #[test]
    fn a_mending_belongs_to_the_remark_above_and_stands_as_far_in_as_the_old_line() {
        let code = "def f(a):\n    return a / 0\n";
        let answer = "FIX: x\n2: divides by zero\nFIX: `return a / 1`\nFIX: return a\n\
                      1: no hint\nFIX: def f(a):\n1: no text\n- `FIX: def f(a: float):`\n\
                      7: nowhere\nFIX: pass\n2: divides by zero\nFIX: return 0\n";
        let found = findings(answer, code);
        let suggestions: Vec<Option<&str>> = found
            .iter()
            .map(|finding| Some(finding.suggestion.as_ref()?.replacement.as_str()))
            .collect();
        assert_eq!(
            suggestions,
            [Some("    return a / 1"), None, Some("def f(a: float):")]
        );
        assert!(found.iter().all(|finding| {
            finding
                .suggestion
                .as_ref()
                .is_none_or(|found| found.line == finding.line)
        }));
    }
}
