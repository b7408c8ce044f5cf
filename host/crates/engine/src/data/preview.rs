//! What a run would train on, token by token.

use std::path::Path;

use domain::DataConfig;
use serde::Serialize;

use super::{IGNORED, open, report::labelled};
use crate::{Result, tokenizer::Tokenizer};

/// One row as the model will see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewRow {
    /// Its file.
    pub file: String,
    /// Its place in the file: `line 3`; none for a text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Tokens after cutting.
    pub length: usize,
    /// Tokens before cutting.
    pub full_length: usize,
    /// Tokens that carry a label.
    pub trained: usize,
    /// In order.
    pub tokens: Vec<PreviewToken>,
}

/// One token of a preview.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewToken {
    /// Its id.
    pub id: u32,
    /// Its text; empty where the data brings ids and the model folder no tokenizer. A token that is only a part
    /// of a character shows U+FFFD.
    pub text: String,
    /// It carries a label.
    pub trained: bool,
}

/// The first `rows` rows of a run's data, with the mask that [`super::load`] gives them.
///
/// # Errors
/// As [`super::load`], except that a row without a label is shown instead of refused.
pub fn preview(config: &DataConfig, model_dir: &Path, rows: usize) -> Result<Vec<PreviewRow>> {
    let (all, encoder) = open(config, model_dir)?;
    let loaded = match encoder.tokenizer() {
        Some(_) => None,
        None => Tokenizer::load(model_dir).ok(),
    };
    let tokenizer = encoder.tokenizer().or(loaded.as_ref());
    all.iter()
        .take(rows)
        .map(|row| {
            let encoded = encoder.encode(row)?;
            let sample = encoded.sample;
            let tokens = sample
                .input_ids
                .iter()
                .zip(&sample.labels)
                .map(|(id, label)| {
                    Ok(PreviewToken {
                        id: *id,
                        text: match tokenizer {
                            Some(tokenizer) => tokenizer.decode(&[*id], false)?,
                            None => String::new(),
                        },
                        trained: *label != IGNORED,
                    })
                })
                .collect::<Result<_>>()?;
            Ok(PreviewRow {
                file: row.origin.file.display().to_string(),
                place: row.origin.place(),
                length: sample.input_ids.len(),
                full_length: encoded.full_length,
                trained: labelled(&sample),
                tokens,
            })
        })
        .collect()
}
