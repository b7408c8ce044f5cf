//! What a run would train on, token by token.

use domain::DataConfig;
use serde::Serialize;

use super::{IGNORED, Sample, TokenizerSource, encode::Encoded, open, pack, report::labelled};
use crate::{Result, tokenizer::Tokenizer};

/// One row as the model will see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewRow {
    /// Its file.
    pub file: String,
    /// Its place in the file: `line 3`; none for a text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Which row of `data.max_seq_length` tokens it is packed into, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed_row: Option<usize>,
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

/// The first `rows` rows of a run's data, with the mask that [`super::load`] gives them; a row that becomes several
/// sequences is shown as several. With `data.packing` they come packed, as far as these rows fill a row of
/// `data.max_seq_length` tokens.
///
/// # Errors
/// As [`super::load`], except that a row without a label is shown instead of refused.
pub fn preview<'a>(
    config: &DataConfig,
    tokenizer: impl Into<TokenizerSource<'a>>,
    rows: usize,
    seed: u64,
) -> Result<Vec<PreviewRow>> {
    let own = tokenizer.into();
    let opened = open(config, own, seed)?;
    let encoder = &opened.encoder;
    let loaded = match encoder.tokenizer() {
        Some(_) => None,
        None => own.tokenizer().ok(),
    };
    let tokenizer = encoder.tokenizer().or(loaded.as_ref());
    let mut shown = Vec::new();
    for row in opened.source.stream().take(rows) {
        let row = row?;
        for Encoded {
            sample,
            full_length,
        } in encoder.encode(&row)?
        {
            shown.push(PreviewRow {
                file: row.origin.file.display().to_string(),
                place: row.origin.place(),
                packed_row: None,
                length: sample.input_ids.len(),
                full_length,
                trained: labelled(&sample),
                tokens: tokens(&sample, tokenizer)?,
            });
        }
    }
    if config.packing {
        let lengths: Vec<usize> = shown.iter().map(|row| row.length).collect();
        let packs = pack(&lengths, encoder.max_seq_length());
        let mut packed = Vec::with_capacity(shown.len());
        let mut shown: Vec<_> = shown.into_iter().map(Some).collect();
        for (number, pack) in packs.into_iter().enumerate() {
            packed.extend(pack.into_iter().filter_map(|at| {
                let mut row = shown[at].take()?;
                row.packed_row = Some(number + 1);
                Some(row)
            }));
        }
        return Ok(packed);
    }
    Ok(shown)
}

fn tokens(sample: &Sample, tokenizer: Option<&Tokenizer>) -> Result<Vec<PreviewToken>> {
    sample
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
        .collect()
}
