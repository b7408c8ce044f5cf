//! Here-documents: the text of a string that begins on the line behind the one that names it.

use source_text::Language;

use crate::Text;

/// One that was named on a line.
pub struct Heredoc {
    /// The word that ends it, alone on its line.
    word: String,
    /// Whether values are put into it.
    is_template: bool,
    /// Whether code may stand behind the word.
    is_open: bool,
}

/// The here-document that is named at `at`, and how long its name is.
pub fn heredoc(bytes: &[u8], at: usize, language: &Language) -> Option<(Heredoc, usize)> {
    let open: &[u8] = match language.name {
        "php" => b"<<<",
        "ruby" | "shell" | "perl" => b"<<",
        _ => return None,
    };
    let mut rest = bytes[at..].strip_prefix(open)?;
    // A shell's `<<<` is a string.
    let is_indented = matches!(rest.first(), Some(b'~' | b'-'));
    if is_indented {
        rest = &rest[1..];
    }
    if matches!(language.name, "shell" | "php") {
        rest = rest.trim_ascii_start();
    }
    let quote = rest.first().filter(|byte| matches!(byte, b'\'' | b'"'));
    let is_plain = quote == Some(&b'\'');
    if quote.is_some() {
        rest = &rest[1..];
    }
    let length = rest.iter().take_while(|byte| is_word(byte)).count();
    let word = std::str::from_utf8(&rest[..length]).ok()?;
    // Without a mark of its own it may be a shift or an append.
    let is_loud = word.bytes().all(|byte| !byte.is_ascii_lowercase());
    let is_name = word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !is_name || !(is_loud || is_indented || quote.is_some() || language.name == "php") {
        return None;
    }
    let document = Heredoc {
        word: word.to_owned(),
        is_template: !is_plain,
        is_open: language.name == "php",
    };
    let behind = bytes.len() - rest.len() + length + usize::from(quote.is_some());
    let behind = behind.min(bytes.len());
    let line = bytes[behind..].iter().position(|byte| *byte == b'\n')?;
    document.end(bytes, behind + line + 1)?;
    Some((document, behind - at))
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

impl Heredoc {
    /// Its text, which begins at `start`.
    pub fn text(&self, bytes: &[u8], start: usize) -> Text {
        // Two on a line: the first one ends where the second begins.
        let end = self.end(bytes, start).unwrap_or(start);
        Text {
            start,
            inner: start,
            inner_end: end,
            end,
            is_template: self.is_template,
        }
    }

    /// Where the line begins that ends it.
    fn end(&self, bytes: &[u8], start: usize) -> Option<usize> {
        let mut at = start;
        bytes[start..]
            .split_inclusive(|byte| *byte == b'\n')
            .find_map(|line| {
                let begin = at;
                at += line.len();
                let rest = line.trim_ascii_start().strip_prefix(self.word.as_bytes())?;
                let is_end = match self.is_open {
                    true => !rest.first().is_some_and(is_word),
                    false => rest.trim_ascii().is_empty(),
                };
                is_end.then_some(begin)
            })
    }
}
