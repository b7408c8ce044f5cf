//! What a model learns from: rows of a dataset become token sequences with labels.
//!
//! [`load`] goes through `read` (files to rows; `tree` for source code), `detect` (which format), `format` (a row to
//! pieces of text that are given or learned; one file a format), `encode` (pieces to tokens and labels; `code` and
//! `fim` for code) and `split` (what is held out); `splits` says which files a subset and a split of the hub are. `stream` does the
//! same while training goes on (`interleave` for several datasets), `pack` fills rows with short sequences, and `order` decides which make which step. [`preview`] shows the outcome token by token, [`inspect`] tells what is in a file
//! before anything is trained on it, `mix` makes one dataset of several, [`windows`] cuts documents into sequences for pretraining.

mod code;
mod detect;
mod encode;
mod evaluation;
mod fim;
mod format;
mod import;
mod inspect;
mod interleave;
mod mix;
mod order;
mod origin;
mod pack;
mod pairs;
mod preview;
mod read;
mod report;
mod rows;
mod source;
mod split;
mod splits;
mod stream;
mod tree;
mod windows;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use domain::DataConfig;
use rayon::prelude::*;

use crate::{Error, Result};

pub use evaluation::{Measured, Prompt, measured, prompts};
pub(crate) use fim::fim_tokens;
pub use import::{Imported, import};
pub use inspect::{Inspection, inspect};
pub(crate) use mix::load_pairs;
pub(crate) use order::Order;
use pack::pack;
pub(crate) use pairs::Pair;
pub use preview::{PreviewRow, PreviewToken, preview};
pub(crate) use read::{is_data_file, is_guarded, of_train};
pub use read::{read_documents, read_texts};
pub use report::{DataReport, LengthBin};
pub use rows::{DatasetRows, Fit, curated, rows, test_split_rows};
pub use source::TokenizerSource;
pub(crate) use splits::{CARD, Wanted, card_of, choose, trained, without_slices};
pub(crate) use stream::Stream;
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

/// Leaves out the samples that nothing can be learned from; how many those were.
pub(crate) fn drop_unsupervised(samples: &mut Vec<Sample>) -> usize {
    let before = samples.len();
    samples.retain(|sample| sample.supervised_tokens() > 0);
    before - samples.len()
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

/// Rows that are encoded at a time, on all threads.
const ROWS_AT_ONCE: usize = 2048;

/// Files of a dataset and what turns their rows into samples.
pub(crate) struct Opened {
    path: PathBuf,
    /// With what a `dataset_info.json` says.
    config: DataConfig,
    source: read::Source,
    encoder: encode::Encoder,
}

/// Finds the files of `data.path` and their format, and loads the tokenizer.
pub(crate) fn open(config: &DataConfig, tokens: TokenizerSource<'_>, seed: u64) -> Result<Opened> {
    if config.path.is_none() {
        return Err(domain::FieldErrors::one("data.path", "is required: a file or folder").into());
    }
    let config = read::resolved(config)?;
    let path = PathBuf::from(config.path.as_deref().unwrap_or_default());
    let mut source = read::Source::find(&path, &config)?;
    let first = source.first()?;
    let format = detect::format(&config, &first, &path)?;
    let encoder = encode::Encoder::new(&config, format, tokens, seed)?;
    source.notes.extend(encoder.notes(&first));
    Ok(Opened {
        path,
        config,
        source,
        encoder,
    })
}

/// Reads, encodes, cuts and splits the data of a run, all its datasets.
///
/// `tokens`, a model's folder say, gives the tokenizer, the chat template and the size of the vocabulary; `seed` decides which rows
/// `data.eval_split` holds out and where fill-in-the-middle samples are cut. The same input gives the same data, in
/// the same order.
///
/// # Errors
/// [`Error::Fields`] for a setting that does not fit the data or the model, [`Error::File`] with line and field for a bad row or an
/// empty dataset, and [`Error::NoSupervisedToken`] where nothing could be learned.
pub fn load<'a>(
    config: &DataConfig,
    tokens: impl Into<TokenizerSource<'a>>,
    seed: u64,
) -> Result<Data> {
    let mut data = mix::load(config, tokens.into(), seed)?;
    data.train.shrink_to_fit();
    data.eval.shrink_to_fit();
    data.report.count(&data.train, &data.eval);
    if config.packing {
        data.report
            .count_rows(&data.train, config.max_seq_length as usize);
    }
    Ok(data)
}

/// As [`load`], of one dataset, nothing counted yet.
fn load_one(config: &DataConfig, tokens: TokenizerSource<'_>, seed: u64) -> Result<Data> {
    let opened = open(config, tokens, seed)?;
    let (encoded, mut report) = opened.encode_all()?;
    let (train, eval) = match opened.held_out()? {
        Some((eval, eval_report)) => {
            report.add_held_out_file(&eval_report);
            (encoded, eval)
        }
        None => split::split(encoded, config.eval_split, seed),
    };
    if train.is_empty() || train.iter().all(|sample| sample.supervised_tokens() == 0) {
        return Err(no_supervised_token(&opened.path, &report, &opened.encoder));
    }
    Ok(Data {
        train: mix::drawn(train, opened.config.num_samples, seed),
        eval,
        report,
    })
}

impl Opened {
    /// All samples in the order of the files, and what was found. Rows are in memory only some at a time.
    fn encode_all(&self) -> Result<(Vec<Sample>, DataReport)> {
        encode_all(&self.source, &self.encoder, &self.path)
    }

    /// What `data.eval_path` or `data.test_split` holds, encoded as the data is.
    pub(crate) fn held_out(&self) -> Result<Option<(Vec<Sample>, DataReport)>> {
        let Some(source) = self.held_out_source()? else {
            return Ok(None);
        };
        encode_all(&source, &self.encoder, source.path()).map(Some)
    }

    /// The files of `data.eval_path`, or of `data.test_split`.
    fn held_out_source(&self) -> Result<Option<read::Source>> {
        if self.config.test_split.is_some() {
            return read::of_test_split(&self.path, &self.config, &self.source);
        }
        let config = self.config.for_held_out();
        let path = self.config.eval_path.as_deref().map(Path::new);
        path.map(|path| read::Source::find(path, &config))
            .transpose()
    }
}

fn encode_all(
    source: &read::Source,
    encoder: &encode::Encoder,
    path: &Path,
) -> Result<(Vec<Sample>, DataReport)> {
    let mut report = DataReport::new(encoder.format());
    report.notes = source.notes.clone();
    let mut samples = Vec::new();
    let mut rows = source.stream();
    loop {
        let chunk = rows
            .by_ref()
            .take(ROWS_AT_ONCE)
            .collect::<Result<Vec<_>>>()?;
        if chunk.is_empty() {
            break;
        }
        let rows = chunk.par_iter().map(|row| (encoder, row));
        encode_rows(rows, &mut report, &mut samples)?;
    }
    if report.rows == 0 {
        return Err(read::empty(path));
    }
    if samples.is_empty() {
        return Err(no_supervised_token(path, &report, encoder));
    }
    Ok((samples, report))
}

/// Encodes rows on all threads and appends those that are kept, in their order.
fn encode_rows<'a>(
    rows: impl IndexedParallelIterator<Item = (&'a encode::Encoder, &'a origin::Row)>,
    report: &mut DataReport,
    samples: &mut Vec<Sample>,
) -> Result<()> {
    let encoded = rows
        .map(|(encoder, row)| encoder.encode(row))
        .collect::<Vec<_>>();
    for sequences in encoded {
        let sequences = sequences?;
        report.rows += 1;
        report.split += usize::from(sequences.len() > 1);
        for sequence in sequences {
            if report.keeps(&sequence) {
                samples.push(sequence.sample);
            }
        }
    }
    Ok(())
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
