mod pieces;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Tokenizer as Inner, Trainer,
    decoders::wordpiece::WordPiece as WordPieceDecoder,
    models::{
        ModelWrapper, TrainerWrapper,
        bpe::{BPE, BpeTrainer},
        unigram::{Unigram, UnigramTrainer},
        wordpiece::{WordPiece, WordPieceTrainer},
    },
    normalizers::BertNormalizer,
    pre_tokenizers::{
        bert::BertPreTokenizer,
        byte_level::ByteLevel,
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

use crate::{Error, Result};

/// How text is cut before merges are counted: Qwen2's pattern. Words take one leading blank with them, each
/// digit stands alone, and a line break never joins the indentation after it, so that a prompt that ends with a
/// line has the same tokens whether or not the next line is there.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

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
    fn unknown(self) -> Option<&'static str> {
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
    check(documents, training)?;
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
    let (mut tokenizer, mut trainer) = untrained(training, special)?;
    if training.model == TokenizerModel::Bpe {
        let counted = documents.iter().inspect(|text| progress(text.len() as u64));
        tokenizer.train(&mut trainer, counted)?;
        return Ok(tokenizer);
    }
    let words = words(&tokenizer, documents, progress)?;
    let model = match &trainer {
        TrainerWrapper::UnigramTrainer(trainer) => unigram(trainer, words)?.into(),
        _ => word_piece(training, special, words)?,
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

/// The trainer of the library adds floating-point numbers in the order of a hash map, and in as many parts as there are
/// threads. Sorted words on one thread give the same pieces each time.
fn unigram(trainer: &UnigramTrainer, words: BTreeMap<String, u32>) -> tokenizers::Result<Unigram> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let learn = || {
        let mut model = Unigram::default();
        trainer.do_train(words.into_iter().collect(), &mut model)?;
        tokenizers::Result::Ok(model)
    };
    // It panics where a word is so long that its likelihood is no number.
    let model = pool
        .install(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(learn)))
        .unwrap_or_else(|_| {
            Err("the text holds a word that is too long to weigh; break it up".into())
        })?;
    in_order(&model, trainer)
}

/// The trainer gives the characters that it had dropped the lowest scores, a ten-thousandth apart, in the order of a hash
/// set. Here they get the same scores in the order of the characters.
fn in_order(model: &Unigram, trainer: &UnigramTrainer) -> tokenizers::Result<Unigram> {
    let mut vocab: Vec<(String, f64)> = model.iter().cloned().collect();
    let special = trainer.special_tokens.len().min(vocab.len());
    let pieces = &mut vocab[special..];
    let lowest = pieces
        .iter()
        .map(|piece| piece.1)
        .fold(f64::INFINITY, f64::min);
    let mut given = Vec::new();
    let mut penalty = 0.0;
    for _ in 0..=pieces.len() {
        given.push((lowest + penalty).to_bits());
        penalty += 0.0001;
    }
    let given: BTreeSet<u64> = given.into_iter().collect();
    let mut dropped: Vec<&mut (String, f64)> = pieces
        .iter_mut()
        .filter(|(text, score)| text.chars().count() == 1 && given.contains(&score.to_bits()))
        .collect();
    let mut scores: Vec<f64> = dropped.iter().map(|piece| piece.1).collect();
    scores.sort_by(f64::total_cmp);
    dropped.sort_by(|a, b| a.0.cmp(&b.0));
    for (piece, score) in dropped.into_iter().zip(scores) {
        piece.1 = score;
    }
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let unknown = trainer.unk_token.as_ref().and_then(|unknown| {
        trainer
            .special_tokens
            .iter()
            .position(|token| token.content == *unknown)
    });
    Unigram::from(vocab, unknown, false)
}

/// The trainer of the library numbers the pieces `##x` as it meets them in a hash map, and which of two equally frequent
/// pairs is merged hangs on those numbers. So they are given first, in order, in the one list that the trainer keeps to.
fn word_piece(
    training: &TokenizerTraining,
    special: &[String],
    words: BTreeMap<String, u32>,
) -> tokenizers::Result<ModelWrapper> {
    let inside: BTreeSet<char> = words.keys().flat_map(|word| word.chars().skip(1)).collect();
    let mut first = special.to_vec();
    first.extend(inside.into_iter().map(|piece| format!("##{piece}")));
    let (tokenizer, mut trainer) = untrained(training, &first)?;
    let mut model = tokenizer.get_model().clone();
    let each = words
        .iter()
        .flat_map(|(word, &count)| std::iter::repeat_n(word, count as usize));
    trainer.feed(each, |word| Ok(vec![word.to_owned()]))?;
    trainer.train(&mut model)?;
    Ok(model)
}

/// A tokenizer that has learned nothing, with what teaches it.
fn untrained(
    training: &TokenizerTraining,
    special: &[String],
) -> tokenizers::Result<(Inner, TrainerWrapper)> {
    let special = special
        .iter()
        .map(|token| AddedToken::from(token.as_str(), true))
        .collect();
    let unknown = training.model.unknown().unwrap_or_default().to_owned();
    match training.model {
        TokenizerModel::Bpe => {
            let mut tokenizer = Inner::new(BPE::default());
            let split = Split::new(
                SplitPattern::Regex(PATTERN.to_owned()),
                SplitDelimiterBehavior::Isolated,
                false,
            )?;
            let bytes = ByteLevel::new(false, false, false);
            tokenizer
                .with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])))
                .with_post_processor(Some(bytes))
                .with_decoder(Some(bytes));
            let trainer = BpeTrainer::builder()
                .vocab_size(training.vocab_size)
                .min_frequency(training.min_frequency)
                .show_progress(false)
                .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
                .special_tokens(special)
                .build();
            Ok((tokenizer, trainer.into()))
        }
        TokenizerModel::WordPiece => {
            let model = WordPiece::builder().unk_token(unknown).build()?;
            let mut tokenizer = Inner::new(model);
            tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, Some(false), false)))?;
            tokenizer
                .with_pre_tokenizer(Some(BertPreTokenizer))
                .with_decoder(Some(WordPieceDecoder::default()));
            let trainer = WordPieceTrainer::builder()
                .vocab_size(training.vocab_size)
                .min_frequency(training.min_frequency)
                .show_progress(false)
                .special_tokens(special)
                .build();
            Ok((tokenizer, trainer.into()))
        }
        TokenizerModel::SentencePiece => unreachable!("it is trained in `pieces`"),
        TokenizerModel::Unigram => {
            let mut tokenizer = Inner::new(ModelWrapper::Unigram(Unigram::default()));
            let metaspace = Metaspace::new('▁', PrependScheme::Never, true);
            tokenizer
                .with_pre_tokenizer(Some(metaspace.clone()))
                .with_decoder(Some(metaspace));
            let trainer = UnigramTrainer::builder()
                .vocab_size(training.vocab_size as u32)
                .show_progress(false)
                .special_tokens(special)
                .unk_token(Some(unknown))
                .build()?;
            Ok((tokenizer, trainer.into()))
        }
    }
}

fn check(documents: &[String], training: &TokenizerTraining) -> Result<()> {
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

fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    write(path, format!("{value:#}\n"))
}

fn write(path: &Path, text: String) -> Result<()> {
    fs::write(path, text).map_err(Error::io("write", path))
}
