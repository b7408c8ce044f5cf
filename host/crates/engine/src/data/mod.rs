//! What a model learns from: rows of a dataset become token sequences with labels.
//!
//! [`load`] goes through `read` (files to rows), `detect` (which format), `format` (a row to pieces of text that
//! are given or learned; one file a format), `encode` (pieces to tokens and labels) and `split` (what is held
//! out). [`preview`] shows the outcome token by token, [`inspect`] tells what is in a file before anything is
//! trained on it, [`windows`] cuts documents into sequences for pretraining.

mod detect;
mod encode;
mod evaluation;
mod format;
mod inspect;
mod pairs;
mod preview;
mod read;
mod report;
mod split;
mod windows;

#[cfg(test)]
mod tests;

use std::path::Path;

use domain::{DataConfig, DataFormat, FieldError};
use rayon::prelude::*;

use crate::{Error, Result};

pub use evaluation::{Measured, Prompt, measured, prompts};
pub use inspect::{Inspection, inspect};
pub(crate) use pairs::{Pair, load_pairs};
pub use preview::{PreviewRow, PreviewToken, preview};
pub use read::read_documents;
pub use report::{DataReport, LengthBin};
pub use windows::windows;

/// One sequence: token ids and, for each, the label that it is trained to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// As long as `input_ids` and not shifted: position `t` is predicted from `t - 1`; -100 is not trained on.
    pub labels: Vec<i64>,
}

/// A label that is not trained on.
pub const IGNORED: i64 = -100;

impl Sample {
    /// Tokens that carry a label and have something to be predicted from: the first of a sequence has nothing.
    pub fn supervised_tokens(&self) -> usize {
        self.labels
            .iter()
            .skip(1)
            .filter(|label| **label != IGNORED)
            .count()
    }
}

/// A dataset, ready to train on.
#[derive(Debug, Clone)]
pub struct Data {
    /// What is trained on, in the order of the file.
    pub train: Vec<Sample>,
    /// What is held out; empty where nothing is.
    pub eval: Vec<Sample>,
    /// What was found, cut and dropped.
    pub report: DataReport,
}

/// What this engine cannot do yet, by field, so that a run is refused instead of doing something else.
pub fn unsupported(config: &DataConfig) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(message) = unsupported_format(config.format) {
        errors.push(FieldError::new("data.format", message));
    }
    if config.repo.is_some() {
        errors.push(FieldError::new(
            "data.repo",
            "is not supported yet: download the dataset and give its folder or file as data.path",
        ));
    }
    if config.streaming {
        errors.push(FieldError::new(
            "data.streaming",
            "is not supported yet: set it to false; the data is read before the run starts",
        ));
    }
    if config.packing {
        errors.push(FieldError::new(
            "data.packing",
            "is not supported yet: set it to false",
        ));
    }
    errors
}

pub(crate) fn unsupported_format(format: DataFormat) -> Option<String> {
    let name = format::name(format);
    matches!(
        format,
        DataFormat::Sharegpt | DataFormat::Fim | DataFormat::SourceTree
    )
    .then(|| {
        format!(
            "{name} is not supported yet; supported are auto, {}",
            format::SUPPORTED.join(", ")
        )
    })
}

/// Reads, encodes, cuts and splits the data of a run.
///
/// `model_dir` gives the tokenizer, the chat template and the size of the vocabulary; `seed` decides which rows
/// `data.eval_split` holds out. The same input gives the same data, in the same order.
///
/// # Errors
/// [`Error::Fields`] for what [`unsupported`] names, [`Error::File`] with line and field for a bad row or an
/// empty dataset, and [`Error::NoSupervisedToken`] where nothing could be learned.
pub fn load(config: &DataConfig, model_dir: &Path, seed: u64) -> Result<Data> {
    let path = source(config)?;
    let (rows, encoder) = open(config, model_dir)?;
    let (encoded, mut report) = encode_all(&rows, &encoder, path)?;
    let (mut train, mut eval) = match &config.eval_path {
        Some(eval_path) => {
            let eval_path = Path::new(eval_path);
            let rows = read::rows(eval_path, config.format)?;
            let (eval, eval_report) = encode_all(&rows, &encoder, eval_path)?;
            report.add_held_out_file(&eval_report);
            (encoded, eval)
        }
        None => split::split(encoded, config.eval_split, seed),
    };
    train.shrink_to_fit();
    eval.shrink_to_fit();
    if train.is_empty() || train.iter().all(|sample| sample.supervised_tokens() == 0) {
        return Err(no_supervised_token(path, &report, &encoder));
    }
    report.count(&train, &eval);
    Ok(Data {
        train,
        eval,
        report,
    })
}

fn source(config: &DataConfig) -> Result<&Path> {
    let errors = unsupported(config);
    if !errors.is_empty() {
        return Err(domain::FieldErrors(errors).into());
    }
    config.path.as_deref().map(Path::new).ok_or_else(|| {
        domain::FieldErrors::one("data.path", "is required: a file or folder").into()
    })
}

/// Rows of `data.path` and what turns them into samples.
fn open(config: &DataConfig, model_dir: &Path) -> Result<(Vec<read::Row>, encode::Encoder)> {
    let path = source(config)?;
    let rows = read::rows(path, config.format)?;
    let format = detect::format(config, &rows, path)?;
    let encoder = encode::Encoder::new(config, format, model_dir)?;
    Ok((rows, encoder))
}

fn encode_all(
    rows: &[read::Row],
    encoder: &encode::Encoder,
    path: &Path,
) -> Result<(Vec<Sample>, DataReport)> {
    let encoded = rows
        .par_iter()
        .map(|row| encoder.encode(row))
        .collect::<Vec<_>>();
    let mut report = DataReport::new(encoder.format(), rows.len());
    let mut samples = Vec::with_capacity(rows.len());
    for outcome in encoded {
        let outcome = outcome?;
        if report.keeps(&outcome) {
            samples.push(outcome.sample);
        }
    }
    if samples.is_empty() {
        return Err(no_supervised_token(path, &report, encoder));
    }
    Ok((samples, report))
}

fn no_supervised_token(path: &Path, report: &DataReport, encoder: &encode::Encoder) -> Error {
    let mut message = format!(
        "{}: no token of its {} rows would be trained on ({} empty, {} with a prompt and nothing to learn",
        path.display(),
        report.rows,
        report.dropped_empty,
        report.dropped_unsupervised,
    );
    if report.truncated > 0 {
        message += &format!(
            ", {} cut at data.max_seq_length = {}",
            report.truncated,
            encoder.max_seq_length()
        );
    }
    message += "); check the rows with `codetune mask`, data.train_on and data.max_seq_length";
    Error::NoSupervisedToken(message)
}
