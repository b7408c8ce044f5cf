//! What a plugin says reaches terminals and pages: no control characters, no escape sequences.

use std::borrow::Cow;

use serde_json::Value;

/// Removes ANSI escape sequences and control characters; tab and line breaks stay.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if is_clean(text) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                // A control sequence ends with its first byte from @ to ~.
                characters.next();
                for character in characters.by_ref() {
                    if ('@'..='~').contains(&character) {
                        break;
                    }
                }
            }
            character if is_forbidden(character) => {}
            character => clean.push(character),
        }
    }
    Cow::Owned(clean)
}

/// Nearly every text is, and nearly every one can be told by its bytes: no branches, so that it runs on vectors.
fn is_clean(text: &str) -> bool {
    let suspect = |byte: u8| {
        let is_low = byte < 0x20 && byte != b'\t' && byte != b'\n' && byte != b'\r';
        // The control characters from U+0080 on begin with 0xC2, as others do.
        is_low | (byte == 0x7f) | (byte == 0xc2)
    };
    let is_suspect = text
        .bytes()
        .fold(false, |found, byte| found | suspect(byte));
    !is_suspect || !text.chars().any(is_forbidden)
}

/// The same, in place.
pub(crate) fn string(string: &mut String) {
    if let Cow::Owned(clean) = text(string) {
        *string = clean;
    }
}

/// The same for every string of a JSON value; keys are fixed by the plugin's schema, or refused by it.
pub(crate) fn value(value: &mut Value) {
    match value {
        Value::String(text) => string(text),
        Value::Array(items) => items.iter_mut().for_each(self::value),
        Value::Object(fields) => fields.values_mut().for_each(self::value),
        _ => {}
    }
}

fn is_forbidden(character: char) -> bool {
    character.is_control() && !matches!(character, '\t' | '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    #[test]
    fn escape_sequences_go_and_text_stays() {
        assert_eq!(
            super::text("a\u{1b}[31;1mred\u{1b}[0m\u{7}\u{9b}b"),
            "aredb"
        );
        assert!(matches!(super::text("täb\t\n"), Cow::Borrowed(_)));
        assert!(matches!(super::text("\u{a0}£"), Cow::Borrowed(_)));
        for forbidden in ["\u{0}", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}"] {
            assert_eq!(super::text(&format!("a{forbidden}b")), "ab");
        }
        assert_eq!(super::text("\u{1b}["), "");
    }
}
