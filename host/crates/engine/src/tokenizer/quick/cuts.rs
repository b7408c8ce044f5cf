//! Where a text can be cut so that BPE makes the same tokens of the parts as of the whole.
//!
//! SentencePiece's BPE takes a text, or a long stretch of it, as one word. All that it ever does is to merge two tokens that
//! stand side by side, as its list of merges says. A merge over the place between the characters `x` and `y` merges a
//! token that ends with `x` and one that begins with `y`. Where no merge of the list has such a pair, that place stays
//! the edge of two tokens for ever, and what is merged at one side of it neither needs nor changes anything at the
//! other; among the merges of one side the order is by rank and place, with the other side or without it. So the
//! tokens of the whole are those of the two parts.
//!
//! That holds as long as a token's text is the text that it stands for:
//! - two texts of one id, and affixes that only some tokens have, are refused with the tokenizer;
//! - a character that the vocabulary lacks becomes tokens of its bytes, each character for itself, or an unknown token. Merges
//!   that name such tokens are refused, so those places are edges as well. Where several unknown characters in a row become
//!   one token, there is no cut between two of them;
//! - a character that leaves no token at all is noticed when its part is tokenized, and the text then goes the long way.

use std::collections::HashSet;

use rustc_hash::FxBuildHasher;
use serde_json::Value;
use tokenizers::models::bpe::BPE;

use super::spelling::BLANK;

type Set<T> = HashSet<T, FxBuildHasher>;

/// Places between two characters of a text whose blanks are written `▁`.
pub(super) struct Cuts {
    /// For each ASCII character a bit for those that may be joined to it. `▁` has the place of the blank.
    ascii: [u128; 128],
    pairs: Pairs,
}

struct Pairs {
    /// The last character of a merge's left token and the first of its right one.
    merged: Set<(char, char)>,
    /// What is not unknown, where unknown characters in a row are one token.
    known: Option<Set<char>>,
    /// Every `▁` begins a word for the tokenizer itself.
    split: bool,
}

impl Cuts {
    /// For the BPE `model`, which a `tokenizer.json` describes as `described`; `split` where each `▁` begins a word. `None`
    /// where the tokens of parts could differ.
    pub(super) fn new(described: &Value, model: &BPE, split: bool) -> Option<Self> {
        let affix =
            |affix: &Option<String>| affix.as_deref().is_some_and(|affix| !affix.is_empty());
        if model.ignore_merges
            || affix(&model.continuing_subword_prefix)
            || affix(&model.end_of_word_suffix)
        {
            return None;
        }
        let vocab = described["vocab"].as_object()?;
        let ids = vocab.values().map(Value::as_u64);
        let ids = ids.collect::<Option<Set<u64>>>()?;
        if ids.len() != vocab.len() {
            return None;
        }
        let complete = (0..=u8::MAX).all(|byte| vocab.contains_key(&format!("<{byte:#04X}>")));
        // With some bytes only, a character may take the place of the unknown one before it.
        if model.byte_fallback && !complete {
            return None;
        }
        let mut merged = Set::default();
        for merge in described["merges"].as_array()? {
            let (left, right) = parts(merge)?;
            for part in [left, right] {
                let byte = model.byte_fallback && part.starts_with("<0x") && part.len() == 6;
                if byte || model.unk_token.as_deref() == Some(part) {
                    return None;
                }
            }
            merged.insert((left.chars().next_back()?, right.chars().next()?));
        }
        let fused = !model.byte_fallback && model.fuse_unk && model.unk_token.is_some();
        let known = fused.then(|| {
            let single = vocab.keys().filter_map(|token| {
                let mut characters = token.chars();
                characters.next().filter(|_| characters.next().is_none())
            });
            single.collect()
        });
        let pairs = Pairs {
            merged,
            known,
            split,
        };
        let written = |slot: u8| match slot {
            b' ' => BLANK,
            other => char::from(other),
        };
        let ascii = std::array::from_fn(|left| {
            (0..128).fold(0, |row, right| {
                let joined = pairs.joined(written(left as u8), written(right));
                row | u128::from(joined) << right
            })
        });
        Some(Self { ascii, pairs })
    }

    /// No token can reach from the character `left` to the character `right` behind it.
    pub(super) fn between(&self, left: char, right: char) -> bool {
        match (slot(left), slot(right)) {
            (Some(left), Some(right)) => self.ascii[left] >> right & 1 == 0,
            _ => !self.pairs.joined(left, right),
        }
    }
}

impl Pairs {
    fn joined(&self, left: char, right: char) -> bool {
        if self.split && right == BLANK {
            return false;
        }
        let unknown = |known: &Set<char>| !known.contains(&left) && !known.contains(&right);
        self.merged.contains(&(left, right)) || self.known.as_ref().is_some_and(unknown)
    }
}

fn slot(character: char) -> Option<usize> {
    match character {
        BLANK => Some(usize::from(b' ')),
        other if other.is_ascii() => Some(other as usize),
        _ => None,
    }
}

/// The two tokens of a merge, which older files write with a blank between them.
fn parts(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(both) => both.split_once(' '),
        Value::Array(both) => match &both[..] {
            [left, right] => Some((left.as_str()?, right.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}
