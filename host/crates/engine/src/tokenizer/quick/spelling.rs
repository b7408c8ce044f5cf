//! Words as a model knows them, and where each byte of them came from.

use std::sync::LazyLock;

/// How SentencePiece writes a blank.
pub(super) const BLANK: char = '▁';

/// A word in the alphabet of a model.
#[derive(Default)]
pub(super) struct Spelled {
    text: String,
    /// For each byte of `text` the character of the word that it stands for: bytes from and to.
    origin: Vec<(u32, u32)>,
}

impl Spelled {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.origin.clear();
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Bytes of the word for those of its spelling, from and to; there is one at least.
    pub(super) fn origin(&self, (from, to): (usize, usize)) -> (u32, u32) {
        (self.origin[from].0, self.origin[to - 1].1)
    }

    fn push(&mut self, character: char, from: usize, to: usize) {
        self.text.push(character);
        self.origin
            .resize(self.text.len(), (from as u32, to as u32));
    }
}

/// As byte-level BPE writes it: a character for each byte.
pub(super) fn bytes(word: &str, spelled: &mut Spelled) {
    for (from, character) in word.char_indices() {
        let to = from + character.len_utf8();
        for &byte in &word.as_bytes()[from..to] {
            spelled.push(ALPHABET[byte as usize], from, to);
        }
    }
}

/// As SentencePiece writes it: `▁` for each blank.
pub(super) fn blanks(word: &str, spelled: &mut Spelled) {
    for (from, character) in word.char_indices() {
        let written = if character == ' ' { BLANK } else { character };
        spelled.push(written, from, from + character.len_utf8());
    }
}

/// The same behind one `▁` more, which counts as the first character of the word: so does the crate `tokenizers`.
pub(super) fn blanks_after_one(word: &str, spelled: &mut Spelled) {
    let first = word.chars().next().map_or(0, char::len_utf8);
    spelled.push(BLANK, 0, first);
    blanks(word, spelled);
}

/// The character for each byte: printable Latin-1 stands for itself, the others follow from U+0100 on (`bytes_to_unicode`
/// of GPT-2's encoder).
static ALPHABET: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 256;
    std::array::from_fn(|byte| match byte as u8 {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte as u8),
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("below the surrogates")
        }
    })
});
