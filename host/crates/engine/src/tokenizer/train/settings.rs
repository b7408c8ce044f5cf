//! Which tokenizer to train, and what cannot be trained.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The kind of model that splits words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerModel {
    /// Merges of bytes (arXiv 1508.07909): nothing is unknown, and every text comes back as it was. Code models use it.
    #[default]
    Bpe,
    /// BERT's (arXiv 1810.04805): words are cut at blanks and punctuation; blanks and line breaks do not come back.
    WordPiece,
    /// SentencePiece's (arXiv 1804.10959): the likeliest pieces; a blank is written `▁`.
    Unigram,
    /// SentencePiece's BPE, as Gemma has it: merges of characters, a blank written `▁`, bytes for rare characters. Nothing
    /// is unknown, and every text comes back as it was, but for a `▁` of its own.
    SentencePiece,
}

impl TokenizerModel {
    /// The token for what the vocabulary lacks; bytes lack nothing.
    pub(super) fn unknown(self) -> Option<&'static str> {
        match self {
            Self::Bpe => None,
            Self::WordPiece => Some("[UNK]"),
            Self::Unigram | Self::SentencePiece => Some("<unk>"),
        }
    }
}

impl std::str::FromStr for TokenizerModel {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "bpe" => Ok(Self::Bpe),
            "wordpiece" => Ok(Self::WordPiece),
            "unigram" => Ok(Self::Unigram),
            "sentencepiece" => Ok(Self::SentencePiece),
            other => Err(format!(
                "must be bpe, sentencepiece, wordpiece or unigram, not {other:?}"
            )),
        }
    }
}

/// How to train a tokenizer.
#[derive(Debug, Clone)]
pub struct TokenizerTraining {
    /// What splits words.
    pub model: TokenizerModel,
    /// Tokens in all: special ones, single bytes or characters, and what is learned.
    pub vocab_size: usize,
    /// Special tokens; the first ends a document. They get the ids from 0. `[UNK]` (WordPiece) or `<unk>` (Unigram,
    /// SentencePiece) is added where it is not among them.
    pub special_tokens: Vec<String>,
    /// Times that a pair must be seen to become a token; Unigram decides by likelihood instead.
    pub min_frequency: u64,
    /// Longest sequence that the model will take; written into `tokenizer_config.json`.
    pub model_max_length: usize,
}

/// The settings of [`train_bpe`].
pub type BpeTraining = TokenizerTraining;

impl Default for TokenizerTraining {
    fn default() -> Self {
        Self {
            model: TokenizerModel::Bpe,
            vocab_size: 32_000,
            special_tokens: vec!["<|endoftext|>".to_owned()],
            min_frequency: 2,
            model_max_length: 2048,
        }
    }
}

/// What a training made.
#[derive(Debug, Clone, Serialize)]
pub struct TrainedTokenizer {
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Documents that it was trained on.
    pub documents: usize,
    /// Bytes of those documents.
    pub bytes: u64,
}

/// Refuses what no tokenizer can be trained by.
///
/// # Errors
/// As [`super::train_tokenizer`].
pub(super) fn check(documents: &[String], training: &TokenizerTraining) -> Result<()> {
    let special = &training.special_tokens;
    if special.is_empty() || special.iter().any(|token| token.trim().is_empty()) {
        return Err(Error::Input(
            "special tokens: give at least one, none of them empty; the first ends a document"
                .to_owned(),
        ));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = special.iter().find(|token| !seen.insert(*token)) {
        return Err(Error::Input(format!(
            "special tokens: {twice:?} is given twice"
        )));
    }
    let alphabet = match training.model {
        TokenizerModel::Bpe => 256,
        // The characters of the text, which are not known yet.
        TokenizerModel::WordPiece | TokenizerModel::Unigram => 2,
        // Bytes, the unknown token, the blank and one character.
        TokenizerModel::SentencePiece => 259,
    };
    let least = alphabet + special.len();
    if training.vocab_size < least || training.vocab_size > 1_000_000 {
        return Err(Error::Input(format!(
            "vocabulary size: must be between {least} ({alphabet} single bytes or characters and {} special tokens) and 1000000, not {}",
            special.len(),
            training.vocab_size
        )));
    }
    if documents.iter().all(|text| text.trim().is_empty()) {
        return Err(Error::Input(
            "the input holds no text to train a tokenizer on".to_owned(),
        ));
    }
    Ok(())
}
