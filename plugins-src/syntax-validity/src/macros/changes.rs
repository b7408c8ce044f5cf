//! What is taken out of a text, and what takes its place.

use super::tokens::{Kind, Token};
use super::words::{TYPES, Words, is_loud, is_tag, macro_end};

/// A stretch that is no word of the language.
pub struct Change {
    pub start: usize,
    pub end: usize,
    /// What its first bytes become; the others are spaces.
    pub text: &'static str,
}

/// Words of attributes, wherever they stand, and what they have in parentheses.
#[rustfmt::skip]
const MARKS: [&[u8]; 7] = [
    b"__attribute__", b"__attribute", b"__declspec", b"__extension__", b"__nonnull", b"__THROW",
    b"__restrict",
];
/// What is to be changed, in order.
pub fn changes(code: &[u8], tokens: &[Token]) -> Vec<Change> {
    let words = Words { code, tokens };
    let mut changes: Vec<Change> = Vec::new();
    // The last token that stays.
    let mut before: Option<usize> = None;
    let mut at = 0;
    while at < tokens.len() {
        let last = macro_end(tokens, at);
        if words.is_word(at) {
            let text = words.text(at);
            // `enum : unsigned {`, which the grammar has with a name alone.
            if text == b"enum" && words.kind(at + 1) == Some(Kind::Sign(b':')) {
                let brace = (at + 1..tokens.len().min(at + 8))
                    .find(|brace| tokens[*brace].kind == Kind::Sign(b'{'));
                if let Some(brace) = brace {
                    changes.push(Change {
                        start: tokens[at + 1].start,
                        end: tokens[brace].start,
                        text: "",
                    });
                    before = Some(at);
                    at = brace;
                    continue;
                }
            }
            let end = match () {
                () if MARKS.contains(&text) => Some(last),
                () if is_loud(text) && words.is_mark(before, at, last) => Some(last),
                () if words.is_line(before, at, last) => Some(last),
                () if words.is_one_too_many(before, at) => Some(at),
                () => None,
            };
            if let Some(end) = end {
                changes.push(Change {
                    start: tokens[at].start,
                    end: tokens[end].end,
                    text: words.instead(before, at, end),
                });
                at = end + 1;
                continue;
            }
            if words.is_declaration(before, last) {
                changes.push(Change {
                    start: tokens[at].start,
                    end: tokens[last].end,
                    text: "int x",
                });
                before = Some(last);
                at = last + 1;
                continue;
            }
        }
        let behind = match tokens[at].kind {
            Kind::Sign(b'(' | b',') => words.types(at, &mut changes),
            _ => None,
        };
        before = Some(at);
        at = behind.unwrap_or(at + 1);
    }
    changes
}

impl Words<'_> {
    /// An argument that is a type by its own words becomes a name.
    fn types(&self, open: usize, changes: &mut Vec<Change>) -> Option<usize> {
        let tokens = self.tokens;
        let mut at = open + 1;
        let mut words = Vec::new();
        while tokens.get(at).is_some_and(|token| token.kind == Kind::Word) {
            words.push(at);
            at += 1;
        }
        // A name behind a type is a parameter's, but for `struct a`.
        let is_type = match words.as_slice() {
            [.., before, _] if is_tag(self.text(*before)) => true,
            [.., last] => TYPES.contains(&self.text(*last)),
            [] => false,
        };
        let stars = at;
        while tokens
            .get(at)
            .is_some_and(|token| token.kind == Kind::Sign(b'*'))
        {
            at += 1;
        }
        let is_closed = matches!(
            tokens.get(at).map(|token| token.kind),
            Some(Kind::Sign(b')' | b','))
        );
        // `(void)` alone is a list of parameters, `(int)` a cast.
        let is_alone = tokens[open].kind == Kind::Sign(b'(')
            && tokens
                .get(at)
                .is_some_and(|token| token.kind == Kind::Sign(b')'));
        let is_type = is_type || stars < at && !words.is_empty();
        if !is_type || !is_closed || is_alone {
            return None;
        }
        for (place, word) in words.iter().enumerate() {
            changes.push(Change {
                start: tokens[*word].start,
                end: tokens[*word].end,
                text: if place == 0 { "x" } else { "" },
            });
        }
        for star in &tokens[stars..at] {
            changes.push(Change {
                start: star.start,
                end: star.end,
                text: "",
            });
        }
        Some(at)
    }
}
