//! A quick way through BPE, with the ids and offsets of the crate `tokenizers`.
//!
//! That crate follows every character of a text through each of its steps, so that any normalizer can be undone, and
//! splits words with a backtracking engine. Nearly every tokenizer of a code model needs neither. [`Quick`] knows two kinds:
//! byte-level BPE, which normalizes nothing and splits by one known kind of pattern, here with an automaton; and
//! SentencePiece's, whose texts are cut where no token can reach over. It remembers the tokens of each word that it
//! has met; words that are new are given to `tokenizers`. A tokenizer or a text for which that could differ goes the
//! crate's own way as a whole.

mod added;
mod cuts;
mod hidden;
mod pieces;
mod spelling;
mod split;
mod words;

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde_json::Value;
use tokenizers::{Tokenizer, models::ModelWrapper};

use self::{
    added::{Added, Part},
    pieces::Pieces,
    split::Splitter,
    words::Words,
};
use super::Offsets;

/// What is prepared once for a tokenizer, and what its threads have learned.
pub(super) struct Quick {
    added: Added,
    kind: Kind,
    /// One for each thread that encodes at the same time.
    idle: Mutex<Vec<Worker>>,
}

enum Kind {
    ByteLevel {
        /// The text must be in Unicode's normal form C, as it is nearly always.
        nfc: bool,
        splitter: Splitter,
    },
    SentencePiece(Box<Pieces>),
}

/// What a thread has learned, by the kind of the tokenizer.
enum Worker {
    ByteLevel { words: Words, split: split::Memory },
    SentencePiece(pieces::Memory),
}

/// Tokens in the order of the text.
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    /// Empty where they were not asked for.
    pub(super) offsets: Vec<Offsets>,
}

impl Quick {
    /// `None` where `tokenizer_json` asks for anything beyond BPE of a known kind.
    pub(super) fn new(tokenizer_json: &Value, tokenizer: &Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return None;
        };
        if model.dropout.is_some_and(|share| share > 0.0) {
            return None;
        }
        let nfc = match tokenizer_json["normalizer"]["type"].as_str() {
            None if tokenizer_json["normalizer"].is_null() => Some(false),
            Some("NFC") => Some(true),
            _ => None,
        };
        let splitter = Splitter::new(&tokenizer_json["pre_tokenizer"]);
        let (added, kind) = match (nfc, splitter) {
            (Some(nfc), Some(splitter)) => {
                (Added::new(tokenizer)?, Kind::ByteLevel { nfc, splitter })
            }
            _ => {
                let pieces = Pieces::new(tokenizer_json, model)?;
                let added = match pieces.normalizes {
                    true => Added::before_blanks(tokenizer, pieces.prepends())?,
                    false => Added::new(tokenizer)?,
                };
                (added, Kind::SentencePiece(Box::new(pieces)))
            }
        };
        Some(Self {
            added,
            kind,
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
        if matches!(self.kind, Kind::ByteLevel { nfc: true, .. })
            && !text.is_ascii()
            && !ComposingNormalizerBorrowed::new_nfc().is_normalized(text)
        {
            return None;
        }
        let taken = self.idle.lock().ok()?.pop();
        let mut worker = taken.unwrap_or_else(|| self.kind.worker());
        let mut tokens = Tokens {
            ids: Vec::with_capacity(text.len() / 3),
            offsets: Vec::with_capacity(if offsets { text.len() / 3 } else { 0 }),
        };
        let done = self
            .added
            .pieces(tokenizer, text, &mut |from, piece, part| match part {
                Part::Token(id) => {
                    tokens.ids.push(id);
                    if offsets {
                        tokens.offsets.push((from, from + piece.len()));
                    }
                    Some(())
                }
                Part::Text { begins } => {
                    let stretch = (from, piece, begins);
                    self.kind
                        .encode(tokenizer, &mut worker, stretch, offsets, &mut tokens)
                }
            });
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(worker);
        }
        done.map(|()| tokens)
    }
}

impl Kind {
    fn worker(&self) -> Worker {
        match self {
            Self::ByteLevel { splitter, .. } => Worker::ByteLevel {
                words: Words::default(),
                split: splitter.memory(),
            },
            Self::SentencePiece(_) => Worker::SentencePiece(pieces::Memory::default()),
        }
    }

    /// The tokens of a stretch between added tokens, which begins at the byte `start` of the text; `begins` as [`Part`] has
    /// it.
    fn encode(
        &self,
        tokenizer: &Tokenizer,
        worker: &mut Worker,
        (start, stretch, begins): (usize, &str, bool),
        offsets: bool,
        tokens: &mut Tokens,
    ) -> Option<()> {
        match (self, worker) {
            (Self::ByteLevel { splitter, .. }, Worker::ByteLevel { words, split }) => {
                for &(from, to) in splitter.split(stretch, split) {
                    let found = words.tokens(tokenizer, &stretch[from..to], spelling::bytes)?;
                    tokens.ids.extend(found.iter().map(|token| token.id));
                    if offsets {
                        let at = start + from;
                        let placed = found
                            .iter()
                            .map(|token| (at + token.from as usize, at + token.to as usize));
                        tokens.offsets.extend(placed);
                    }
                }
                Some(())
            }
            (Self::SentencePiece(pieces), Worker::SentencePiece(memory)) => {
                pieces.encode(tokenizer, memory, (start, stretch, begins), offsets, tokens)
            }
            _ => unreachable!("workers are of their tokenizer's kind"),
        }
    }
}
