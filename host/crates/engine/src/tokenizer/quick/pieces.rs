//! SentencePiece's way to BPE: blanks are written `▁`, one is put before a text, and there need be no words.

use serde_json::Value;
use tokenizers::{Tokenizer, models::bpe::BPE};

use super::{Offsets, Tokens, cuts::Cuts, spelling, spelling::BLANK, words::Words};

/// What is prepared once for a tokenizer of that kind.
pub(super) struct Pieces {
    cuts: Cuts,
    prefix: Prefix,
    /// The text in which some added tokens are looked for is not the one that was given.
    pub(super) normalizes: bool,
}

/// Pieces that were met before.
#[derive(Default)]
pub(super) struct Memory {
    words: Words,
    /// Those with a `▁` put before them.
    prefixed: Words,
}

/// Before which stretches between added tokens a `▁` is put.
#[derive(Clone, Copy, PartialEq)]
enum Prefix {
    Never,
    /// All of them, but for what follows a token that was found in normalized text.
    Each,
    /// Those that do not begin with one.
    Missing,
    /// That too, and only where a text begins.
    MissingFirst,
}

impl Pieces {
    /// `None` where `tokenizer_json` asks for anything else.
    pub(super) fn new(tokenizer_json: &Value, model: &BPE) -> Option<Self> {
        let (mut prefix, mut replaces, mut split) = (Prefix::Never, false, false);
        let normalizer = &tokenizer_json["normalizer"];
        let steps = match &normalizer["type"] {
            Value::Null => &[][..],
            Value::String(kind) if kind == "Sequence" => &normalizer["normalizers"].as_array()?[..],
            _ => std::slice::from_ref(normalizer),
        };
        for step in steps {
            match step["type"].as_str()? {
                "Prepend" if prefix == Prefix::Never && step["prepend"] == "▁" => {
                    prefix = Prefix::Each;
                }
                "Replace" if is_blank(&step["pattern"]) && step["content"] == "▁" => {
                    replaces = true;
                }
                _ => return None,
            }
        }
        let pre_tokenizer = &tokenizer_json["pre_tokenizer"];
        match pre_tokenizer["type"].as_str() {
            None if pre_tokenizer.is_null() => {}
            Some("Metaspace") if pre_tokenizer["replacement"] == "▁" => {
                replaces = true;
                split = pre_tokenizer["split"].as_bool().unwrap_or(true);
                let scheme = pre_tokenizer["prepend_scheme"].as_str();
                prefix = match (prefix, scheme.unwrap_or("always")) {
                    (prefix, "never") => prefix,
                    (Prefix::Never, "always") => Prefix::Missing,
                    (Prefix::Never, "first") => Prefix::MissingFirst,
                    _ => return None,
                };
            }
            // Gemma's: it finds nothing, for there are no blanks any more.
            Some("Split")
                if replaces
                    && is_blank(&pre_tokenizer["pattern"])
                    && pre_tokenizer["invert"] == false => {}
            _ => return None,
        }
        if !replaces {
            return None;
        }
        Some(Self {
            cuts: Cuts::new(&tokenizer_json["model"], model, split)?,
            prefix,
            normalizes: !steps.is_empty(),
        })
    }

    /// A normalizer puts a `▁` before a text.
    pub(super) fn prepends(&self) -> bool {
        self.prefix == Prefix::Each
    }

    /// The tokens of `text`, a stretch between added tokens that begins at the byte `start`, and where its text `begins` ([`super::added::Part`]);
    /// `None` where `tokenizers` fails.
    pub(super) fn encode(
        &self,
        tokenizer: &Tokenizer,
        memory: &mut Memory,
        (start, text, begins): (usize, &str, bool),
        offsets: bool,
        tokens: &mut Tokens,
    ) -> Option<()> {
        let mut prefixed = match self.prefix {
            Prefix::Never => false,
            Prefix::Each => begins,
            Prefix::Missing => !text.starts_with([' ', BLANK]),
            Prefix::MissingFirst => start == 0 && !text.starts_with([' ', BLANK]),
        };
        let first = text.chars().next().map_or(0, char::len_utf8);
        let mut piece = |from: usize, to: usize, prefixed: bool| {
            let word = &text[from..to];
            let found = match prefixed {
                true => memory
                    .prefixed
                    .tokens(tokenizer, word, spelling::blanks_after_one),
                false => memory.words.tokens(tokenizer, word, spelling::blanks),
            }?;
            tokens.ids.extend(found.iter().map(|token| token.id));
            if offsets {
                let at = start + from;
                let placed = found.iter().map(|token| -> Offsets {
                    // The `▁` alone counts as the character after it, as it does within a piece.
                    let to = if word.is_empty() {
                        first
                    } else {
                        token.to as usize
                    };
                    (at + token.from as usize, at + to)
                });
                tokens.offsets.extend(placed);
            }
            Some(())
        };
        let mut before = prefixed.then_some(BLANK);
        let mut begun = 0;
        for (at, character) in text.char_indices() {
            let character = if character == ' ' { BLANK } else { character };
            if before.is_some_and(|before| self.cuts.between(before, character)) {
                piece(begun, at, prefixed)?;
                begun = at;
                prefixed = false;
            }
            before = Some(character);
        }
        piece(begun, text.len(), prefixed)
    }
}

/// `{"String": " "}`.
fn is_blank(pattern: &Value) -> bool {
    pattern["String"] == " "
}
