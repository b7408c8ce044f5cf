//! A tokenizer of one's own: `settings` says which, `untrained` puts its parts together, and `unigram`, `word_piece` and `pieces`
//! train the kinds whose trainers in the library do not give the same tokenizer each time.

mod pieces;
mod settings;
mod unigram;
mod untrained;
mod word_piece;

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Map, json};
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Tokenizer as Inner, models::TrainerWrapper,
};

use crate::{Error, Result};

pub use settings::{BpeTraining, TokenizerModel, TokenizerTraining, TrainedTokenizer};

/// Trains a byte-level BPE: [`train_tokenizer`] for the kind that code models use, without telling its progress.
///
/// # Errors
/// As [`train_tokenizer`].
pub fn train_bpe(
    documents: &[String],
    training: &BpeTraining,
    output: &Path,
) -> Result<TrainedTokenizer> {
    train_tokenizer(documents, training, output, &|_| {})
}

/// Trains a tokenizer on `documents` and writes `tokenizer.json`, `tokenizer_config.json` and
/// `special_tokens_map.json` into `output`, as Python's `tokenizers` and `transformers` load them.
///
/// `progress` hears the bytes of each document as its words are counted. The same documents in the same order give the
/// same tokenizer.
///
/// # Errors
/// A vocabulary too small for the alphabet and the special tokens, a special token given twice or empty, no text,
/// or a folder that cannot be written.
pub fn train_tokenizer(
    documents: &[String],
    training: &TokenizerTraining,
    output: &Path,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<TrainedTokenizer> {
    settings::check(documents, training)?;
    let mut special = training.special_tokens.clone();
    let unknown = training.model.unknown();
    if let Some(unknown) = unknown
        && !special.iter().any(|token| token == unknown)
    {
        special.push(unknown.to_owned());
    }
    let fault = |error: tokenizers::Error| Error::Input(format!("tokenizer training: {error}"));
    let tokenizer = learned(documents, training, &special, progress).map_err(fault)?;

    fs::create_dir_all(output).map_err(Error::io("create", output))?;
    let text = tokenizer.to_string(true).map_err(fault)?;
    write(&output.join("tokenizer.json"), text)?;
    let end = &special[0];
    let others: Vec<&String> = special
        .iter()
        .skip(1)
        .filter(|token| Some(token.as_str()) != unknown)
        .collect();
    write_json(
        &output.join("tokenizer_config.json"),
        &json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": end,
            "pad_token": end,
            "bos_token": null,
            "unk_token": unknown,
            "additional_special_tokens": others,
            "add_prefix_space": false,
            "clean_up_tokenization_spaces": false,
            "model_max_length": training.model_max_length,
        }),
    )?;
    let mut map = Map::new();
    map.insert("eos_token".to_owned(), json!(end));
    map.insert("pad_token".to_owned(), json!(end));
    if let Some(unknown) = unknown {
        map.insert("unk_token".to_owned(), json!(unknown));
    }
    map.insert("additional_special_tokens".to_owned(), json!(others));
    write_json(&output.join("special_tokens_map.json"), &map.into())?;
    Ok(TrainedTokenizer {
        vocab_size: tokenizer.get_vocab_size(true),
        documents: documents.len(),
        bytes: documents.iter().map(|text| text.len() as u64).sum(),
    })
}

fn learned(
    documents: &[String],
    training: &TokenizerTraining,
    special: &[String],
    progress: &(dyn Fn(u64) + Sync),
) -> tokenizers::Result<Inner> {
    if training.model == TokenizerModel::SentencePiece {
        let unknown = training.model.unknown().unwrap_or_default();
        return pieces::learned(documents, training, special, unknown, progress);
    }
    let (mut tokenizer, mut trainer) = untrained::untrained(training, special)?;
    if training.model == TokenizerModel::Bpe {
        let counted = documents.iter().inspect(|text| progress(text.len() as u64));
        tokenizer.train(&mut trainer, counted)?;
        return Ok(tokenizer);
    }
    let words = words(&tokenizer, documents, progress)?;
    let model = match &trainer {
        TrainerWrapper::UnigramTrainer(trainer) => unigram::learned(trainer, words)?.into(),
        _ => word_piece::learned(training, special, words)?,
    };
    tokenizer.with_model(model);
    tokenizer.add_special_tokens(
        special
            .iter()
            .map(|token| AddedToken::from(token.as_str(), true)),
    )?;
    Ok(tokenizer)
}

/// How often each word comes.
fn words(
    tokenizer: &Inner,
    documents: &[String],
    progress: &(dyn Fn(u64) + Sync),
) -> tokenizers::Result<BTreeMap<String, u32>> {
    let mut all = BTreeMap::new();
    for document in documents {
        let mut normalized = NormalizedString::from(document.as_str());
        if let Some(normalizer) = tokenizer.get_normalizer() {
            normalizer.normalize(&mut normalized)?;
        }
        let mut words = PreTokenizedString::from(normalized);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut words)?;
        }
        for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            if !word.is_empty() {
                *all.entry(word.to_owned()).or_insert(0) += 1;
            }
        }
        progress(document.len() as u64);
    }
    Ok(all)
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    write(path, format!("{value:#}\n"))
}

fn write(path: &Path, text: String) -> Result<()> {
    fs::write(path, text).map_err(Error::io("write", path))
}
