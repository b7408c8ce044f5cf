//! A quick way through byte-level BPE, with the ids and offsets of the crate `tokenizers`.
//!
//! That crate follows every character of a text through each of its steps, so that any normalizer can be undone, and
//! splits words with a backtracking engine. Nearly every tokenizer of a code model needs neither: it normalizes
//! nothing, splits by one known kind of pattern and works on bytes. [`Quick`] splits such text with an automaton and
//! remembers the tokens of each word that it has met; words that are new are given to `tokenizers`. A tokenizer or a
//! text for which that could differ goes the crate's own way as a whole.

mod added;
mod split;
mod words;

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde_json::Value;
use tokenizers::{Tokenizer, models::ModelWrapper};

use self::{added::Added, split::Splitter, words::Words};
use super::Offsets;

/// What is prepared once for a tokenizer, and what its threads have learned.
pub(super) struct Quick {
    added: Added,
    /// The text must be in Unicode's normal form C, as it is nearly always.
    nfc: bool,
    splitter: Splitter,
    /// One for each thread that encodes at the same time.
    idle: Mutex<Vec<Worker>>,
}

struct Worker {
    words: Words,
    split: split::Memory,
}

/// Tokens in the order of the text.
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    /// Empty where they were not asked for.
    pub(super) offsets: Vec<Offsets>,
}

impl Quick {
    /// `None` where `tokenizer_json` asks for anything beyond byte-level BPE with a known kind of splitting.
    pub(super) fn new(tokenizer_json: &Value, tokenizer: &Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return None;
        };
        if model.dropout.is_some_and(|share| share > 0.0) {
            return None;
        }
        let nfc = match tokenizer_json["normalizer"]["type"].as_str() {
            None if tokenizer_json["normalizer"].is_null() => false,
            Some("NFC") => true,
            _ => return None,
        };
        Some(Self {
            added: Added::new(tokenizer)?,
            nfc,
            splitter: Splitter::new(&tokenizer_json["pre_tokenizer"])?,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// The tokens of `text`; `None` where this text has to go the long way.
    pub(super) fn encode(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        offsets: bool,
    ) -> Option<Tokens> {
        if self.nfc
            && !text.is_ascii()
            && !ComposingNormalizerBorrowed::new_nfc().is_normalized(text)
        {
            return None;
        }
        let taken = self.idle.lock().ok()?.pop();
        let mut worker = taken.unwrap_or_else(|| Worker {
            words: Words::default(),
            split: self.splitter.memory(),
        });
        let mut tokens = Tokens {
            ids: Vec::with_capacity(text.len() / 3),
            offsets: Vec::with_capacity(if offsets { text.len() / 3 } else { 0 }),
        };
        let done = self.added.pieces(text, &mut |from, piece, id| match id {
            Some(id) => {
                tokens.ids.push(id);
                if offsets {
                    tokens.offsets.push((from, from + piece.len()));
                }
                Some(())
            }
            None => self.piece(
                tokenizer,
                &mut worker,
                (text, from, piece),
                offsets,
                &mut tokens,
            ),
        });
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(worker);
        }
        done.map(|()| tokens)
    }

    fn piece(
        &self,
        tokenizer: &Tokenizer,
        worker: &mut Worker,
        (text, start, piece): (&str, usize, &str),
        offsets: bool,
        tokens: &mut Tokens,
    ) -> Option<()> {
        let Worker { words, split } = worker;
        for &(from, to) in self.splitter.split(piece, split) {
            let found = words.tokens(tokenizer, &piece[from..to])?;
            tokens.ids.extend(found.iter().map(|token| token.id));
            if offsets {
                let mut at = start + from;
                for token in found {
                    let end = at + token.bytes as usize;
                    tokens.offsets.push(whole_characters(text, at, end));
                    at = end;
                }
            }
        }
        Some(())
    }
}

/// A token may hold some bytes of a character; its offsets are then those of the whole character.
fn whole_characters(text: &str, from: usize, to: usize) -> Offsets {
    (text.floor_char_boundary(from), text.ceil_char_boundary(to))
}
