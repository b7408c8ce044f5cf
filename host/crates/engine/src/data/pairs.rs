//! Pairs of a chosen and a rejected completion, for preference tuning.

use std::path::Path;

use domain::{DataConfig, DataFormat, FieldErrors};
use rayon::prelude::*;

use super::{ROWS_AT_ONCE, Sample, encode::Encoder, open, read, split};
use crate::{Error, Result};

/// Two completions of one prompt; their labels are the completions' tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) chosen: Sample,
    pub(crate) rejected: Sample,
}

/// Reads the pairs of a run: what is trained on, and what is held out. Rows of which a completion was cut off whole
/// are left out.
///
/// # Errors
/// As [`super::load`], and where the data is of another format.
pub(crate) fn load_pairs(
    config: &DataConfig,
    model_dir: &Path,
    seed: u64,
) -> Result<(Vec<Pair>, Vec<Pair>)> {
    let opened = open(config, model_dir, seed)?;
    let (encoder, path) = (&opened.encoder, &opened.path);
    if encoder.format() != DataFormat::Preference {
        return Err(FieldErrors::one(
            "data.format",
            "must be preference for this train.method: rows of prompt, chosen and rejected",
        )
        .into());
    }
    let pairs = encode(opened.source.stream(), encoder)?;
    let (train, eval) = match &config.eval_path {
        Some(eval_path) => {
            let source = read::Source::find(Path::new(eval_path), &opened.config)?;
            (pairs, encode(source.stream(), encoder)?)
        }
        None => split::split_pairs(pairs, config.eval_split, seed),
    };
    if train.is_empty() {
        return Err(Error::NoSupervisedToken(format!(
            "{}: no pair has tokens of both completions within data.max_seq_length = {}",
            path.display(),
            config.max_seq_length
        )));
    }
    Ok((train, eval))
}

/// Rows are in memory only some at a time.
fn encode(mut rows: read::Rows, encoder: &Encoder) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    loop {
        let chunk = rows
            .by_ref()
            .take(ROWS_AT_ONCE)
            .collect::<Result<Vec<_>>>()?;
        if chunk.is_empty() {
            return Ok(pairs);
        }
        let encoded = chunk
            .par_iter()
            .map(|row| encoder.encode_pair(row))
            .collect::<Result<Vec<_>>>()?;
        pairs.extend(encoded.into_iter().filter(|pair| {
            pair.chosen.supervised_tokens() > 0 && pair.rejected.supervised_tokens() > 0
        }));
    }
}
