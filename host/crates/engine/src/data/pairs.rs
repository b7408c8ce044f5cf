//! Pairs of a chosen and a rejected completion, for preference tuning.

use std::path::Path;

use domain::{DataConfig, DataFormat, FieldErrors};
use rayon::prelude::*;

use super::{ROWS_AT_ONCE, Sample, TokenizerSource, encode::Encoder, mix, open, read, split};
use crate::{Error, Result};

/// Two completions of one prompt; their labels are the completions' tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) chosen: Sample,
    pub(crate) rejected: Sample,
}

/// Reads the pairs of one dataset: what is trained on, and what is held out. Rows of which a completion was cut off whole
/// are left out. `tell` hears what was passed over, cut and left out.
///
/// # Errors
/// As [`super::load`], and where the data is of another format.
pub(super) fn load_one(
    config: &DataConfig,
    tokens: TokenizerSource<'_>,
    seed: u64,
    tell: &mut dyn FnMut(String),
) -> Result<(Vec<Pair>, Vec<Pair>)> {
    let opened = open(&as_pairs(config)?, tokens, seed)?;
    let (encoder, path) = (&opened.encoder, &opened.path);
    opened.source.notes.iter().cloned().for_each(&mut *tell);
    if encoder.format() != DataFormat::Preference {
        return Err(FieldErrors::one(
            "data.format",
            "must be preference for this train.method: rows of prompt, chosen and rejected",
        )
        .into());
    }
    let pairs = encode(opened.source.stream(), encoder, tell)?;
    let (train, eval) = match opened.held_out_source()? {
        Some(source) => (pairs, encode(source.stream(), encoder, tell)?),
        None => split::split_pairs(pairs, config.eval_split, seed),
    };
    if train.is_empty() {
        return Err(Error::NoSupervisedToken(format!(
            "{}: no pair has tokens of both completions within data.max_seq_length = {}",
            path.display(),
            config.max_seq_length
        )));
    }
    let wanted = opened.config.num_samples;
    Ok((mix::drawn(train, wanted, seed), eval))
}

/// The settings with the format preference, where rows have a better and a worse answer beside what tells other formats: many sets
/// hold the better one as `messages` too.
fn as_pairs(config: &DataConfig) -> Result<DataConfig> {
    let mut config = read::resolved(config)?;
    if let (DataFormat::Auto, Some(path)) = (config.format, &config.path) {
        let first = read::Source::find(Path::new(path), &config)?.first()?;
        let has = |ours: &str| {
            let theirs = config.columns.get(ours).map_or(ours, String::as_str);
            first.fields.contains_key(theirs)
        };
        if has("chosen") && has("rejected") {
            config.format = DataFormat::Preference;
        }
    }
    Ok(config)
}

/// Rows are in memory only some at a time.
fn encode(
    mut rows: read::Rows,
    encoder: &Encoder,
    tell: &mut dyn FnMut(String),
) -> Result<Vec<Pair>> {
    let (mut pairs, mut read, mut cut) = (Vec::new(), 0, 0);
    loop {
        let chunk = rows
            .by_ref()
            .take(ROWS_AT_ONCE)
            .collect::<Result<Vec<_>>>()?;
        if chunk.is_empty() {
            break;
        }
        let encoded = chunk
            .par_iter()
            .map(|row| encoder.encode_pair(row))
            .collect::<Result<Vec<_>>>()?;
        read += encoded.len();
        cut += encoded.iter().filter(|(_, is_cut)| *is_cut).count();
        let whole = encoded.into_iter().map(|(pair, _)| pair);
        pairs.extend(whole.filter(|pair| {
            pair.chosen.supervised_tokens() > 0 && pair.rejected.supervised_tokens() > 0
        }));
    }
    let left_out = read - pairs.len();
    if cut + left_out > 0 {
        tell(format!(
            "of {read} pairs {cut} were cut at data.max_seq_length = {}; {left_out} were left out, since nothing of one of \
             their answers remained",
            encoder.max_seq_length()
        ));
    }
    Ok(pairs)
}
