//! Words of a text without its comments and strings, so that what stands in them is no code; no grammar.

mod heredoc;

use source_text::Language;

use heredoc::{Heredoc, heredoc};

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
    /// Whether values are put into it: an f-string, a template, a here-document in Ruby.
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

/// Takes comments and strings out. A quote that nothing closes ends with its line, but for triple quotes, backticks, and in Rust
/// and PHP, whose strings go over lines. Of a page with PHP in it, what stands outside of `<?` and `?>` is no code.
pub fn bare(text: &str, language: &Language) -> Bare {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut strings = Vec::new();
    let rules = &language.comments;
    let mut at = 0;
    let mut page = language.name == "php" && find(bytes, b"<?").is_some();
    // Here-documents whose text begins on the next line.
    let mut waiting: Vec<Heredoc> = Vec::new();
    while at < bytes.len() {
        let rest = &bytes[at..];
        if page {
            let length = find(rest, b"<?").map_or(rest.len(), |start| start + 2);
            blank(&mut code[at..at + length]);
            at += length;
            page = false;
            continue;
        }
        if rest[0] == b'\n' && !waiting.is_empty() {
            at += 1;
            for document in waiting.drain(..) {
                let string = document.text(bytes, at);
                blank(&mut code[string.inner..string.inner_end]);
                strings.push(string);
                at = string.end;
            }
            continue;
        }
        if language.name == "php" && rest.starts_with(b"?>") {
            page = true;
            continue;
        }
        if let Some((document, length)) = heredoc(bytes, at, language) {
            waiting.push(document);
            at += length;
            continue;
        }
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
            // A page goes on behind a line's comment.
            let length = match language.name {
                "php" => find(&rest[..length], b"?>").unwrap_or(length),
                _ => length,
            };
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
    let is_free = at == 0 || bytes[at - 1].is_ascii_whitespace() || bytes[at - 1] == b';';
    is_mark
        && match language.name {
            // `$#` and `a#b` are no comments.
            "shell" => is_free,
            // `#{x}` in what is no string for us: a regular expression, a list of words.
            "ruby" => is_free || bytes.get(at + 1) != Some(&b'{'),
            _ => true,
        }
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
        // What stands in them is given to a shell.
        b'`' if matches!(language.name, "ruby" | "php") => true,
        b'"' | b'`' => language.comments.quotes.as_bytes().contains(&quote),
        // In Rust it starts a lifetime as often as a character.
        b'\'' => language.comments.quotes.contains('\''),
        _ => false,
    };
    if !is_quote {
        return None;
    }
    if language.name == "rust" {
        // `'"'` is a character.
        let before = bytes[..at].strip_suffix(b"\\").unwrap_or(&bytes[..at]);
        if before.ends_with(b"'") && bytes.get(at + 1) == Some(&b'\'') {
            return None;
        }
        if let Some(string) = raw(bytes, at) {
            return Some(string);
        }
    }
    let triple = [quote; 3];
    let is_triple = has_triple_quotes(language.name, quote) && bytes[open..].starts_with(&triple);
    let close: &[u8] = if is_triple { &triple } else { &triple[..1] };
    let inner = open + close.len();
    let is_raw = quote == b'`' && language.name == "go";
    // One that a regular expression of Ruby holds must not swallow the file.
    let is_long = is_triple
        || quote == b'`' && language.name != "ruby"
        || matches!(language.name, "rust" | "php");
    let mut end = inner;
    while end < bytes.len() && !bytes[end..].starts_with(close) {
        match bytes[end] {
            b'\\' if !is_raw => end += 1,
            b'\n' if !is_long => break,
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

/// Whether three quotes open a text of several lines.
fn has_triple_quotes(language: &str, quote: u8) -> bool {
    match language {
        "python" | "dart" => true,
        "java" | "kotlin" | "scala" | "swift" | "c#" | "julia" | "elixir" => quote == b'"',
        _ => false,
    }
}

/// The string of Rust whose quote at `at` has `r` and any number of `#` before it.
fn raw(bytes: &[u8], at: usize) -> Option<Text> {
    let hashes = bytes[..at].iter().rev();
    let hashes = hashes.take_while(|byte| **byte == b'#').count();
    let start = at - hashes;
    let is_raw = bytes[..start].ends_with(b"r");
    if !is_raw {
        return None;
    }
    let close = [b"\"", "#".repeat(hashes).as_bytes()].concat();
    let inner = at + 1;
    let length = find(&bytes[inner..], &close);
    let inner_end = length.map_or(bytes.len(), |length| inner + length);
    Some(Text {
        start: at,
        inner,
        inner_end,
        end: (inner_end + close.len()).min(bytes.len()),
        is_template: false,
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
    fn strings_of_several_lines_end_where_their_language_says() {
        for (language, text, expected) in [
            (
                "java",
                "f(\"\"\"\n  a \"b\"\n\"\"\"); g",
                "f(\"\"\"\n       \n\"\"\"); g",
            ),
            ("c", "f(\"\"\"a\"); g", "f(\"\"\" \"); g"),
            ("rust", "f(\"a\nb\"); g", "f(\" \n \"); g"),
            (
                "rust",
                "f('\"', b'\\\"'); g(\"h\")",
                "f('\"', b'\\\"'); g(\" \")",
            ),
            ("rust", "f(r#\"a\"b\\\"#); g", "f(r#\"    \"#); g"),
            ("js", "f('a\ng()", "f(' \ng()"),
            ("php", "f('it', \"a\nb\") // c", "f('  ', \" \n \")     "),
            (
                "php",
                "it's <?php f('a') // b ?> it's <?= g",
                "       php f(' ')                = g",
            ),
        ] {
            assert_eq!(code(language, text), expected, "{text}");
        }
    }

    #[test]
    fn a_here_document_is_a_string_that_begins_on_the_next_line() {
        for (language, text, expected, is_template) in [
            (
                "ruby",
                "f(<<~SQL, x)\n  it's\n  SQL\ng",
                "f(<<~SQL, x)\n      \n  SQL\ng",
                true,
            ),
            (
                "ruby",
                "f(<<~'SQL')\na\nSQL\ng",
                "f(<<~'SQL')\n \nSQL\ng",
                false,
            ),
            (
                "php",
                "$x = <<<EOT\na\nEOT;\ng",
                "$x = <<<EOT\n \nEOT;\ng",
                true,
            ),
            (
                "php",
                "$x = <<<'EOT'\na\nEOT;\ng",
                "$x = <<<'EOT'\n \nEOT;\ng",
                false,
            ),
            (
                "shell",
                "cat <<EOF\nit's\nEOF\ng",
                "cat <<EOF\n    \nEOF\ng",
                true,
            ),
        ] {
            let bare = bare(text, by_name(language).unwrap());
            assert_eq!(bare.code, expected, "{text}");
            assert_eq!(bare.strings[0].is_template, is_template, "{text}");
        }
        // No mark that ends it.
        assert_eq!(code("ruby", "a <<B\n'c'\n"), "a <<B\n' '\n");
        assert_eq!(code("shell", "x=$((1<<N))\n'c'\n"), "x=$((1<<N))\n' '\n");
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
        for text in [
            "'é",
            "\"\\",
            "/* é",
            "`\\é",
            "f'é",
            "\"\"\"é",
            "'\\é",
            "é'",
            "r#\"é",
            "<?é",
            "?>é",
            "<<é",
            "<<~É\né",
        ] {
            for language in [
                "python", "js", "c", "rust", "shell", "go", "php", "ruby", "java",
            ] {
                assert_eq!(code(language, text).len(), text.len());
            }
        }
    }
}
