//! The numbers.

use serde::Serialize;
use source_text::{comment_characters, detect};

/// Everything about one text. Lengths are in characters.
#[derive(Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Its name, or null when nothing tells.
    pub language: Option<&'static str>,
    /// Length in bytes.
    pub bytes: usize,
    /// Length in characters.
    pub characters: usize,
    /// A last line without a line break counts; an empty text has none.
    pub lines: usize,
    /// Lines with nothing but white space.
    pub blank_lines: usize,
    /// Length of the longest line, without its line break.
    pub longest_line: usize,
    /// Mean length of a line, without line breaks; 0 for an empty text.
    pub mean_line: f64,
    /// Letters and digits of any script, over all characters; 0 for an empty text.
    pub alphanumeric_fraction: f64,
    /// Characters in comments and Python docstrings, over all characters; 0 where the language is not known.
    pub comment_ratio: f64,
}

/// Measures one text.
pub fn measure(code: &str, language: Option<&str>, path: Option<&str>) -> Stats {
    let language = detect(language, path, code);
    let (mut lines, mut blank_lines, mut longest_line, mut in_lines) = (0, 0, 0, 0);
    for line in code.lines() {
        let length = if line.is_ascii() {
            line.len()
        } else {
            line.chars().count()
        };
        lines += 1;
        blank_lines += usize::from(line.trim().is_empty());
        longest_line = longest_line.max(length);
        in_lines += length;
    }
    let (mut characters, mut alphanumeric) = (0, 0);
    if code.is_ascii() {
        characters = code.len();
        alphanumeric = code.bytes().filter(u8::is_ascii_alphanumeric).count();
    } else {
        for character in code.chars() {
            characters += 1;
            alphanumeric += usize::from(character.is_alphanumeric());
        }
    }
    let comments = language.map_or(0, |language| comment_characters(code, &language.comments));
    Stats {
        language: language.map(|language| language.name),
        bytes: code.len(),
        characters,
        lines,
        blank_lines,
        longest_line,
        mean_line: ratio(in_lines, lines),
        alphanumeric_fraction: ratio(alphanumeric, characters),
        comment_ratio: ratio(comments, characters),
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::measure;

    #[test]
    fn an_empty_text_has_zeros_and_no_nan() {
        let stats = measure("", None, None);
        assert_eq!(
            (stats.lines, stats.mean_line, stats.comment_ratio),
            (0, 0.0, 0.0)
        );
        assert_eq!(stats.language, None);
    }

    #[test]
    fn lines_are_measured_in_characters_without_their_breaks() {
        let stats = measure("éé\r\n\nabcd", None, None);
        assert_eq!(
            (stats.lines, stats.blank_lines, stats.longest_line),
            (3, 1, 4)
        );
        assert_eq!(stats.mean_line, 2.0);
        assert_eq!(stats.alphanumeric_fraction, 6.0 / 9.0);
    }

    #[test]
    fn a_python_file_with_comment_and_docstring() {
        let code = "# one\ndef f():\n    \"\"\"two\"\"\"\n    return '# no'\n";
        let stats = measure(code, None, Some("a.py"));
        assert_eq!(stats.language, Some("python"));
        let comments = "# one".len() + "\"\"\"two\"\"\"".len();
        assert_eq!(stats.comment_ratio, comments as f64 / code.len() as f64);
    }
}
