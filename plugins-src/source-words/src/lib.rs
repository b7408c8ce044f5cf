//! Words of a text without its comments and strings, so that what stands in them is no code; no grammar.

use source_text::Language;

/// One string of a text, prefix and quotes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// First byte, that of the prefix where there is one.
    pub start: usize,
    /// Where its content begins.
    pub inner: usize,
    /// One past the content.
    pub inner_end: usize,
    /// One past the closing quote.
    pub end: usize,
    /// Whether values are put into it: an f-string, a template.
    pub is_template: bool,
}

/// Code alone, and the strings.
#[derive(Debug)]
pub struct Bare {
    /// As long as the text: comments and what stands between quotes are spaces, line breaks stay.
    pub code: String,
    /// In the order of the text.
    pub strings: Vec<Text>,
}

/// Takes comments and strings out. A quote that nothing closes ends with its line, but for triple quotes and backticks.
pub fn bare(text: &str, language: &Language) -> Bare {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut strings = Vec::new();
    let rules = &language.comments;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let block = rules
            .block
            .iter()
            .find(|(open, _)| rest.starts_with(open.as_bytes()));
        if let Some((open, close)) = block {
            let length = find(&rest[open.len()..], close.as_bytes())
                .map_or(rest.len(), |end| open.len() + end + close.len());
            blank(&mut code[at..at + length]);
            at += length;
        } else if is_line_comment(bytes, at, language) {
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b'\n' | b'\r'))
                .unwrap_or(rest.len());
            blank(&mut code[at..at + length]);
            at += length;
        } else if let Some(string) = string(bytes, at, language) {
            blank(&mut code[string.inner..string.inner_end]);
            strings.push(string);
            at = string.end;
        } else {
            at += 1;
        }
    }
    // Comments and strings begin and end between characters, so that what is left is text.
    let code = String::from_utf8(code)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Bare { code, strings }
}

fn is_line_comment(bytes: &[u8], at: usize, language: &Language) -> bool {
    let marks = language.comments.line;
    let is_mark = marks
        .iter()
        .any(|mark| bytes[at..].starts_with(mark.as_bytes()));
    // In a shell, `$#` and `a#b` are no comments.
    let is_free = at == 0 || bytes[at - 1].is_ascii_whitespace() || bytes[at - 1] == b';';
    is_mark && (language.name != "shell" || is_free)
}

/// The string that begins at `at`, if one does.
fn string(bytes: &[u8], at: usize, language: &Language) -> Option<Text> {
    let is_python = language.name == "python";
    let letters = bytes[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .take(3)
        .count();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let prefix = match letters {
        1 | 2 if is_python && (at == 0 || !is_word(bytes[at - 1])) => &bytes[at..at + letters],
        _ => &[][..],
    };
    let has = |letter: u8| {
        prefix
            .iter()
            .any(|byte| byte.to_ascii_lowercase() == letter)
    };
    let is_prefix = prefix
        .iter()
        .all(|byte| b"rbuft".contains(&byte.to_ascii_lowercase()));
    let open = if is_prefix { at + prefix.len() } else { at };
    let quote = *bytes.get(open)?;
    let is_quote = match quote {
        b'"' | b'`' => language.comments.quotes.as_bytes().contains(&quote),
        // In Rust it starts a lifetime as often as a character.
        b'\'' => language.comments.quotes.contains('\''),
        _ => false,
    };
    if !is_quote {
        return None;
    }
    let triple = [quote; 3];
    let is_triple = is_python && bytes[open..].starts_with(&triple);
    let close: &[u8] = if is_triple { &triple } else { &triple[..1] };
    let inner = open + close.len();
    let is_raw = quote == b'`' && language.name == "go";
    let mut end = inner;
    while end < bytes.len() && !bytes[end..].starts_with(close) {
        match bytes[end] {
            b'\\' if !is_raw => end += 1,
            b'\n' if !is_triple && quote != b'`' => break,
            _ => {}
        }
        end += 1;
    }
    let inner_end = end.min(bytes.len());
    let is_closed = bytes[inner_end..].starts_with(close);
    Some(Text {
        start: at,
        inner,
        inner_end,
        end: if is_closed {
            inner_end + close.len()
        } else {
            inner_end
        },
        is_template: has(b'f') || has(b't') || quote == b'`' && !is_raw,
    })
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' && *byte != b'\r' {
            *byte = b' ';
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|found| found == what)
}

#[cfg(test)]
mod tests {
    use source_text::by_name;

    use super::*;

    fn code(language: &str, text: &str) -> String {
        bare(text, by_name(language).unwrap()).code
    }

    #[test]
    fn comments_and_strings_become_spaces_of_the_same_length() {
        assert_eq!(code("python", "a('b') # c\nd"), "a(' ')    \nd");
        assert_eq!(
            code("python", "f\"\"\"x\n'y'\"\"\"z"),
            "f\"\"\" \n   \"\"\"z"
        );
        assert_eq!(code("js", "`a${b}` /* c\nd */ e"), "`     `     \n     e");
        assert_eq!(code("python", "'it\\'s' x"), "'     ' x");
        assert_eq!(code("shell", "echo $# # no"), "echo $#     ");
        assert_eq!(
            code("rust", "fn f<'a>() { g(\"h\") }"),
            "fn f<'a>() { g(\" \") }"
        );
    }

    #[test]
    fn templates_are_told_from_plain_strings() {
        let strings = |language, text| bare(text, by_name(language).unwrap()).strings;
        assert!(strings("python", "rF'{x}'")[0].is_template);
        assert!(!strings("python", "self'{x}'")[0].is_template);
        assert!(strings("js", "`x`")[0].is_template);
        assert!(!strings("go", "`x`")[0].is_template);
    }

    #[test]
    fn nothing_unclosed_and_no_character_of_many_bytes_trips_it() {
        for text in ["'é", "\"\\", "/* é", "`\\é", "f'é", "\"\"\"é", "'\\é", "é'"] {
            for language in ["python", "js", "c", "rust", "shell", "go"] {
                assert_eq!(code(language, text).len(), text.len());
            }
        }
    }
}
