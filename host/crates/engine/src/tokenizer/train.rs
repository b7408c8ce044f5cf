use std::{collections::BTreeSet, fs, path::Path};

use serde::Serialize;
use serde_json::json;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, TokenizerBuilder,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use crate::{Error, Result};

/// How text is cut before merges are counted: Qwen2's pattern. Words take one leading blank with them, each
/// digit stands alone, and a line break never joins the indentation after it, so that a prompt that ends with a
/// line has the same tokens whether or not the next line is there.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How to train a byte-level BPE.
#[derive(Debug, Clone)]
pub struct BpeTraining {
    /// Tokens in all: special ones, the 256 bytes and the merges.
    pub vocab_size: usize,
    /// Special tokens; the first ends a document. They get the ids from 0.
    pub special_tokens: Vec<String>,
    /// Times that a pair must be seen to become a token.
    pub min_frequency: u64,
    /// Longest sequence that the model will take; written into `tokenizer_config.json`.
    pub model_max_length: usize,
}

impl Default for BpeTraining {
    fn default() -> Self {
        Self {
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

/// Trains a byte-level BPE on `documents` and writes `tokenizer.json`, `tokenizer_config.json` and
/// `special_tokens_map.json` into `output`, as Python's `tokenizers` and `transformers` load them.
///
/// The same documents in the same order give the same tokenizer.
///
/// # Errors
/// A vocabulary too small for the bytes and the special tokens, a special token given twice or empty, no text,
/// or a folder that cannot be written.
pub fn train_bpe(
    documents: &[String],
    training: &BpeTraining,
    output: &Path,
) -> Result<TrainedTokenizer> {
    check(documents, training)?;
    let fault = |error: tokenizers::Error| Error::Input(format!("tokenizer training: {error}"));
    let split = Split::new(
        SplitPattern::Regex(PATTERN.to_owned()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(fault)?;
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::default()
    .with_model(BPE::default())
    .with_normalizer(None)
    .with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()]).into()))
    .with_post_processor(Some(bytes.into()))
    .with_decoder(Some(bytes.into()))
    .build()
    .map_err(fault)?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(training.vocab_size)
        .min_frequency(training.min_frequency)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(
            training
                .special_tokens
                .iter()
                .map(|token| AddedToken::from(token.as_str(), true))
                .collect(),
        )
        .build();
    tokenizer
        .train(&mut trainer, documents.iter())
        .map_err(fault)?;

    fs::create_dir_all(output).map_err(Error::io("create", output))?;
    let text = tokenizer.to_string(true).map_err(fault)?;
    write(&output.join("tokenizer.json"), text)?;
    let end = &training.special_tokens[0];
    let others: Vec<&String> = training.special_tokens.iter().skip(1).collect();
    write_json(
        &output.join("tokenizer_config.json"),
        &json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": end,
            "pad_token": end,
            "bos_token": null,
            "unk_token": null,
            "additional_special_tokens": others,
            "add_prefix_space": false,
            "clean_up_tokenization_spaces": false,
            "model_max_length": training.model_max_length,
        }),
    )?;
    write_json(
        &output.join("special_tokens_map.json"),
        &json!({ "eos_token": end, "pad_token": end, "additional_special_tokens": others }),
    )?;
    Ok(TrainedTokenizer {
        vocab_size: tokenizer.get_vocab_size(true),
        documents: documents.len(),
        bytes: documents.iter().map(|text| text.len() as u64).sum(),
    })
}

fn check(documents: &[String], training: &BpeTraining) -> Result<()> {
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
    let least = 256 + special.len();
    if training.vocab_size < least || training.vocab_size > 1_000_000 {
        return Err(Error::Input(format!(
            "vocabulary size: must be between {least} (256 bytes and {} special tokens) and 1000000, not {}",
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

fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    write(path, format!("{value:#}\n"))
}

fn write(path: &Path, text: String) -> Result<()> {
    fs::write(path, text).map_err(Error::io("write", path))
}
