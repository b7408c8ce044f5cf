//! The tokens of words that were met before.

use std::ops::Range;
use std::{collections::HashMap, sync::LazyLock};

use rustc_hash::FxBuildHasher;
use tokenizers::{Model, Tokenizer};

/// Words that are remembered; source code of any size repeats far fewer than that. Then all is forgotten.
const MOST: usize = 1 << 17;
/// Bytes of a word that is remembered.
const LONGEST: usize = 48;

/// One token of a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) id: u32,
    /// Bytes of the text that it stands for.
    pub(super) bytes: u32,
}

/// Words by their text, their tokens one after the other.
#[derive(Default)]
pub(super) struct Words {
    found: HashMap<Box<str>, Range<u32>, FxBuildHasher>,
    tokens: Vec<Token>,
    /// Those of the last word that is not remembered.
    last: Vec<Token>,
    /// The word in the alphabet of byte-level BPE.
    spelled: String,
}

impl Words {
    /// The tokens of `word`; `None` where `tokenizers` fails.
    pub(super) fn tokens(&mut self, tokenizer: &Tokenizer, word: &str) -> Option<&[Token]> {
        if let Some(range) = self.found.get(word) {
            return Some(&self.tokens[range.start as usize..range.end as usize]);
        }
        self.spelled.clear();
        self.spelled
            .extend(word.bytes().map(|byte| ALPHABET[byte as usize]));
        let made = tokenizer.get_model().tokenize(&self.spelled).ok()?;
        self.last.clear();
        self.last.extend(made.iter().map(|token| {
            Token {
                id: token.id,
                bytes: self.spelled[token.offsets.0..token.offsets.1]
                    .chars()
                    .count() as u32,
            }
        }));
        // A byte that the vocabulary lacks leaves a gap in the offsets.
        let bytes: usize = self.last.iter().map(|token| token.bytes as usize).sum();
        if bytes != word.len() {
            return None;
        }
        if word.len() > LONGEST {
            return Some(&self.last);
        }
        if self.found.len() == MOST {
            self.found.clear();
            self.tokens.clear();
        }
        let start = self.tokens.len();
        self.tokens.extend_from_slice(&self.last);
        self.found
            .insert(word.into(), start as u32..self.tokens.len() as u32);
        Some(&self.tokens[start..])
    }
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
