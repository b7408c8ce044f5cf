//! How much of a text is comment: a scan that knows comment marks and strings, no grammar.

use crate::Comments;

/// Characters in comments, marks included, line breaks at the end of a line comment not.
pub fn comment_characters(code: &str, rules: &Comments) -> usize {
    let mut found = 0;
    let mut at = 0;
    // Nothing but white space since the line's or the statement's start: a docstring may begin here.
    let mut fresh = true;
    while at < code.len() {
        let rest = &code[at..];
        let first = rest.as_bytes()[0];
        if rules.docstrings
            && let Some(quote) = ["\"\"\"", "'''"]
                .into_iter()
                .find(|quote| rest.starts_with(quote))
        {
            let length = rest[3..].find(quote).map_or(rest.len(), |end| end + 6);
            if fresh {
                found += rest[..length].chars().count();
            }
            at += length;
            fresh = false;
        } else if let Some((open, close)) =
            rules.block.iter().find(|(open, _)| rest.starts_with(open))
        {
            let length = block_length(rest, open, close, rules.nested);
            found += rest[..length].chars().count();
            at += length;
        } else if rules.line.iter().any(|mark| rest.starts_with(mark)) {
            let length = rest.find(['\n', '\r']).unwrap_or(rest.len());
            found += rest[..length].chars().count();
            at += length;
        } else if first.is_ascii() && rules.quotes.as_bytes().contains(&first) {
            at += string_length(rest.as_bytes());
            fresh = false;
        } else {
            fresh = match first {
                b'\n' | b'\r' => true,
                b' ' | b'\t' => fresh,
                _ => false,
            };
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    found
}

/// Length of the block comment at the start of `rest`; to the end when it is not closed.
fn block_length(rest: &str, open: &str, close: &str, nested: bool) -> usize {
    let mut depth = 1;
    let mut at = open.len();
    while at < rest.len() {
        if rest[at..].starts_with(close) {
            depth -= 1;
            at += close.len();
            if depth == 0 {
                return at;
            }
        } else if nested && rest[at..].starts_with(open) {
            depth += 1;
            at += open.len();
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Length of the string at the start of `rest`, quotes included. One that its line does not close ends with the line,
/// so that an apostrophe in a text cannot swallow the file; backticks go on.
fn string_length(rest: &[u8]) -> usize {
    let quote = rest[0];
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 1,
            b'\n' if quote != b'`' => return at,
            byte if byte == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    // A backslash may have stepped over the end, or into a character.
    rest.len()
}

#[cfg(test)]
mod tests {
    use crate::by_name;

    use super::comment_characters;

    fn count(language: &str, code: &str) -> usize {
        comment_characters(code, &by_name(language).unwrap().comments)
    }

    #[test]
    fn marks_in_strings_are_no_comments() {
        assert_eq!(count("javascript", "a = '// no'; // yes"), "// yes".len());
        assert_eq!(count("javascript", "`\n// no\n`"), 0);
        assert_eq!(
            count("python", "a = \"# no\\\" # no\" # yes\n"),
            "# yes".len()
        );
    }

    #[test]
    fn rust_nests_and_c_does_not() {
        assert_eq!(
            count("rust", "/* a /* b */ c */ d"),
            "/* a /* b */ c */".len()
        );
        assert_eq!(count("c", "/* a /* b */ c */ d"), "/* a /* b */".len());
    }

    #[test]
    fn triple_quotes_are_comments_only_where_a_statement_starts() {
        assert_eq!(count("python", "x = '''no\n# no'''\n"), 0);
        assert_eq!(count("python", "'''yes'''\n"), 9);
    }

    #[test]
    fn nothing_unclosed_and_no_character_of_many_bytes_trips_it() {
        for code in [
            "/* é", "'é", "\"\\", "// é", "`\\é", "é'''é", "\"\"\"é", "'\\é'",
        ] {
            for language in ["c", "python", "javascript", "rust", "html"] {
                count(language, code);
            }
        }
        assert_eq!(count("c", "/* é"), 4);
    }
}
