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
         Write one line for each, as `LINE: what is wrong and what to do`. Write `none` when there is none.\n\n{numbered}",
        language.unwrap_or("source")
    ))
}

/// The remarks of an answer: lines that begin with the number of a line that is there. What else the model says is
/// no finding.
pub fn findings(answer: &str, lines: usize) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for text in answer.lines() {
        let text = text.trim_start_matches(['-', '*', ' ', '`']);
        let text = text
            .strip_prefix("LINE ")
            .or_else(|| text.strip_prefix("Line "))
            .unwrap_or(text);
        let Some((number, message)) = text.split_once(':') else {
            continue;
        };
        let message = message.trim().trim_end_matches('`');
        match number.trim().parse() {
            Ok(line) if (1..=lines).contains(&line) && !message.is_empty() => {
                let finding = Finding {
                    line,
                    message: message.to_owned(),
                };
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
            _ => {}
        }
    }
    found
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
        };
        assert_eq!(
            findings(answer, 2),
            [
                finding(2, "divides by zero; test b first"),
                finding(1, "unused")
            ]
        );
    }
}
