//! The tokens of words that were met before.

use std::collections::HashMap;
use std::ops::Range;

use rustc_hash::FxBuildHasher;
use tokenizers::{Model, Tokenizer};

use super::spelling::Spelled;

/// Words that are remembered; source code of any size repeats far fewer than that. Then all is forgotten.
const MOST: usize = 1 << 17;
/// Bytes of a word that is remembered.
const LONGEST: usize = 48;

/// One token of a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) id: u32,
    /// Bytes of the word, from and to: those of whole characters, also where the token holds a part of one.
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Words by their text, their tokens one after the other.
#[derive(Default)]
pub(super) struct Words {
    found: HashMap<Box<str>, Range<u32>, FxBuildHasher>,
    tokens: Vec<Token>,
    /// Those of the last word that is not remembered.
    last: Vec<Token>,
    spelled: Spelled,
}

impl Words {
    /// The tokens of `word`, which `spell` writes as the model knows it; `None` where `tokenizers` fails.
    pub(super) fn tokens(
        &mut self,
        tokenizer: &Tokenizer,
        word: &str,
        spell: impl Fn(&str, &mut Spelled),
    ) -> Option<&[Token]> {
        if let Some(range) = self.found.get(word) {
            return Some(&self.tokens[range.start as usize..range.end as usize]);
        }
        self.spelled.clear();
        spell(word, &mut self.spelled);
        let made = tokenizer.get_model().tokenize(self.spelled.text()).ok()?;
        // What the vocabulary lacks may leave nothing but a gap, after which all offsets are wrong.
        if made.last()?.offsets.1 != self.spelled.text().len() {
            return None;
        }
        self.last.clear();
        self.last.extend(made.iter().map(|token| {
            let (from, to) = self.spelled.origin(token.offsets);
            Token {
                id: token.id,
                from,
                to,
            }
        }));
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
