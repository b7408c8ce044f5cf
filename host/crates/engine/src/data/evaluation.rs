//! Data to measure a model on: samples with the bytes that they stand for, and prompts with their references.

use std::path::Path;

use domain::{DataConfig, DataFormat, FieldErrors, FimLoss};
use serde_json::Value;

use super::{IGNORED, Sample, TokenizerSource, encode::Encoder, open, read, windows};
use crate::{Error, Result, tokenizer::Piece, tokenizer::Tokenizer};

/// What a model is measured on.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The samples.
    pub samples: Vec<Sample>,
    /// Bytes of the text whose tokens carry a label; none for token ids without a tokenizer.
    pub bytes: Option<u64>,
}

/// A prompt and what the data says should follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// What the model is given.
    pub prompt: String,
    /// What the data has next; empty where it says nothing.
    pub reference: String,
}

/// Every row of `data.path`, for an evaluation.
///
/// Documents of the format text are measured whole, in windows of `max_seq_length` tokens, so that bits per byte
/// means all of the text; rows of other formats are cut as they are for training.
///
/// # Errors
/// As [`super::load`].
pub fn measured<'a>(
    config: &DataConfig,
    tokens: impl Into<TokenizerSource<'a>>,
) -> Result<Measured> {
    let tokens = tokens.into();
    let opened = open(config, tokens, 0)?;
    let (encoder, path) = (&opened.encoder, &opened.path);
    if encoder.format() == DataFormat::Text {
        let column = opened
            .config
            .columns
            .get("text")
            .map_or("text", String::as_str);
        let documents = opened
            .source
            .stream()
            .map(|row| {
                let row = row?;
                match row.fields.get(column) {
                    Some(Value::String(text)) => Ok(text.clone()),
                    _ => Err(row.origin.error(format!("field {column}: must be text"))),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let tokenizer = tokens.tokenizer()?;
        let samples = windows(&documents, &tokenizer, encoder.max_seq_length(), false)?;
        if samples.is_empty() {
            return Err(Error::NoSupervisedToken(format!(
                "{}: holds no text to measure",
                path.display()
            )));
        }
        let bytes = documents.iter().map(|text| text.len() as u64).sum();
        return Ok(Measured {
            samples,
            bytes: Some(bytes),
        });
    }
    let (samples, _) = opened.encode_all()?;
    let bytes = match encoder.tokenizer() {
        Some(tokenizer) => Some(labelled_bytes(&samples, tokenizer)?),
        None => tokens
            .tokenizer()
            .ok()
            .map(|tokenizer| labelled_bytes(&samples, &tokenizer))
            .transpose()?,
    };
    Ok(Measured { samples, bytes })
}

/// The first `count` prompts of a dataset with prompts: of rows with a text `prompt` whatever else they hold, where the
/// format is not set, and of the formats completion, alpaca and fim. What such rows say should follow (`completion`,
/// `chosen`) is the reference.
///
/// # Errors
/// A format without prompts, and what [`super::load`] refuses.
pub fn prompts<'a>(
    config: &DataConfig,
    tokens: impl Into<TokenizerSource<'a>>,
    count: usize,
) -> Result<Vec<Prompt>> {
    let tokens = tokens.into();
    if config.format == DataFormat::Fim {
        return middles(config, tokens, count);
    }
    if config.format == DataFormat::Auto
        && let Some(found) = asked(config, count)?
    {
        return Ok(found);
    }
    let opened = open(config, tokens, 0)?;
    let encoder = &opened.encoder;
    if !matches!(
        encoder.format(),
        DataFormat::Completion | DataFormat::Alpaca
    ) {
        return Err(FieldErrors::one(
            "data.format",
            "must be completion, alpaca or fim here: other formats have no prompt to go on from",
        )
        .into());
    }
    opened
        .source
        .stream()
        .take(count)
        .map(|row| {
            let row = row?;
            let mut prompt = String::new();
            let mut reference = String::new();
            for Piece { text, trained } in encoder.pieces(&row)? {
                // What a chat template writes behind the answer is no part of the prompt.
                match (trained, reference.is_empty()) {
                    (true, _) => reference += &text,
                    (false, true) => prompt += &text,
                    (false, false) => {}
                }
            }
            Ok(Prompt { prompt, reference })
        })
        .collect()
}

/// Prompts of rows that have a text of that name; `None` where the first row has none.
fn asked(config: &DataConfig, count: usize) -> Result<Option<Vec<Prompt>>> {
    let config = read::resolved(config)?;
    if config.format != DataFormat::Auto {
        return Ok(None);
    }
    let column = |ours: &str| {
        config
            .columns
            .get(ours)
            .map_or(ours, String::as_str)
            .to_owned()
    };
    let (prompt, follows) = (column("prompt"), ["completion", "chosen"].map(column));
    let path = Path::new(config.path.as_deref().unwrap_or_default());
    let source = read::Source::find(path, &config)?;
    if !source
        .first()?
        .fields
        .get(&prompt)
        .is_some_and(Value::is_string)
    {
        return Ok(None);
    }
    let rows = source.stream().take(count).map(|row| {
        let row = row?;
        let text = |column: &String| row.fields.get(column)?.as_str().map(str::to_owned);
        Ok(Prompt {
            prompt: text(&prompt).ok_or_else(|| {
                row.origin
                    .error(format!("field {prompt}: is missing or no text"))
            })?,
            reference: follows.iter().find_map(text).unwrap_or_default(),
        })
    });
    rows.collect::<Result<_>>().map(Some)
}

/// The first `count` documents, each cut as in training: the prompt ends where the middle begins.
fn middles(config: &DataConfig, tokens: TokenizerSource<'_>, count: usize) -> Result<Vec<Prompt>> {
    let every = DataConfig {
        fim_rate: 1.0,
        fim_loss: FimLoss::Middle,
        packing: false,
        ..config.clone()
    };
    let (samples, _) = open(&every, tokens, 0)?.encode_all()?;
    let tokenizer = tokens.tokenizer()?;
    let ends = tokenizer.eos_ids();
    samples
        .iter()
        // A document that holds a sentinel of its own, or that no cut makes short enough, stays whole.
        .filter(|sample| sample.labels.first() == Some(&IGNORED))
        .take(count)
        .map(|sample| {
            let given = sample
                .labels
                .iter()
                .take_while(|label| **label == IGNORED)
                .count();
            let (prompt, middle) = sample.input_ids.split_at(given);
            let middle: Vec<u32> = middle
                .iter()
                .copied()
                .filter(|id| !ends.contains(id))
                .collect();
            Ok(Prompt {
                prompt: tokenizer.decode(prompt, false)?,
                reference: tokenizer.decode(&middle, true)?,
            })
        })
        .collect()
}

fn labelled_bytes(samples: &[Sample], tokenizer: &Tokenizer) -> Result<u64> {
    let mut bytes = 0;
    for sample in samples {
        let ids: Vec<u32> = sample
            .labels
            .iter()
            .skip(1)
            .filter(|label| **label != IGNORED)
            .map(|label| *label as u32)
            .collect();
        bytes += tokenizer.decode(&ids, true)?.len() as u64;
    }
    Ok(bytes)
}

impl Encoder {
    /// The pieces of a row of text.
    fn pieces(&self, row: &super::origin::Row) -> Result<Vec<Piece>> {
        match self.content(row)? {
            super::format::Content::Text { pieces, .. } => Ok(pieces),
            super::format::Content::Tokens(_) => Ok(Vec::new()),
        }
    }
}
