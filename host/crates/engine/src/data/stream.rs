//! Data that is read while training goes on: a set larger than memory, shuffled within a buffer.

use std::collections::VecDeque;

use domain::{DataConfig, FieldErrors};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::interleave::Interleaved;
use super::{
    DataReport, Opened, ROWS_AT_ONCE, Sample, TokenizerSource, encode_rows, no_supervised_token,
    open, pack,
};
use crate::{Error, Result};

/// Rows of a batch, in an order that is a function of the seed and the files alone.
///
/// `data.shuffle_buffer` rows are read, of all datasets in proportion to their sizes, encoded, shuffled (`data.shuffle`) and
/// packed (`data.packing`), given out, and then the next ones. No more of the data is ever in memory.
pub(crate) struct Stream {
    /// The dataset, and those of `data.mix`.
    opened: Vec<Opened>,
    buffer: usize,
    shuffle: bool,
    packing: bool,
    seed: u64,
    epoch: u64,
    rows: Option<Interleaved>,
    random: ChaCha8Rng,
    ready: VecDeque<Vec<Sample>>,
    report: DataReport,
    given: u64,
    /// Batch rows of the pass before.
    per_epoch: Option<u64>,
    /// Bytes of the most that was held at a time.
    largest: u64,
}

impl Stream {
    /// Opens the data and reads the first buffer.
    ///
    /// # Errors
    /// As [`super::load`]; a bad row further on is met when it is read.
    pub(crate) fn open<'a>(
        config: &DataConfig,
        tokens: impl Into<TokenizerSource<'a>>,
        seed: u64,
    ) -> Result<Self> {
        let tokens = tokens.into();
        let mut opened = Vec::new();
        for (name, one) in config.each() {
            let one = open(&one, tokens, seed)?;
            // A dataset_info.json may say it too.
            if one.config.num_samples.is_some() {
                let field = name.map_or_else(
                    || "data.num_samples".to_owned(),
                    |name| format!("data.mix.{name}.num_samples"),
                );
                let message = "needs all data before the run: leave data.streaming out";
                return Err(FieldErrors::one(field, message).into());
            }
            opened.push(one);
        }
        let report = DataReport::new(opened[0].encoder.format());
        let mut stream = Self {
            buffer: config.shuffle_buffer.max(1) as usize,
            shuffle: config.shuffle,
            packing: config.packing,
            seed,
            epoch: 0,
            rows: None,
            random: ChaCha8Rng::seed_from_u64(seed),
            ready: VecDeque::new(),
            report,
            given: 0,
            per_epoch: None,
            largest: 0,
            opened,
        };
        stream.rewind(0);
        if !stream.fill()? {
            return Err(stream.nothing());
        }
        Ok(stream)
    }

    /// Goes to the start of an epoch.
    pub(crate) fn rewind(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.given = 0;
        self.ready.clear();
        self.random = ChaCha8Rng::seed_from_u64(self.seed);
        self.random.set_stream(epoch);
        // Duplicates are not counted: their signatures would grow with the data.
        self.report = DataReport::new(self.opened[0].encoder.format());
        let datasets = self.opened.iter().map(|opened| {
            let files = opened.source.files().iter();
            let sizes = files.map(|file| file.metadata().map_or(0, |file| file.len()));
            (opened.source.stream(), sizes.sum())
        });
        self.rows = Some(Interleaved::new(datasets));
    }

    /// Up to `count` rows of a batch: fewer at the end of an epoch, after which the next one begins. With the epochs
    /// done, as a fraction from the second pass on.
    pub(crate) fn take(&mut self, count: usize) -> Result<(Vec<Vec<Sample>>, f64)> {
        if self.ready.is_empty() && !self.fill()? {
            if self.given == 0 {
                return Err(self.nothing());
            }
            self.per_epoch = Some(self.given);
            self.rewind(self.epoch + 1);
            if !self.fill()? {
                return Err(self.nothing());
            }
        }
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            match self.ready.pop_front() {
                Some(row) => taken.push(row),
                None if self.fill()? => {}
                None => break,
            }
        }
        self.given += taken.len() as u64;
        let part = self
            .per_epoch
            .map_or(0.0, |all| self.given as f64 / all.max(1) as f64);
        Ok((taken, self.epoch as f64 + part))
    }

    /// The pass ends with what was taken last. Where all that was read is given out, the next rows are read to know.
    pub(crate) fn is_at_end(&mut self) -> Result<bool> {
        Ok(self.ready.is_empty() && !self.fill()?)
    }

    /// Reads until there is something to give; false at the end of the epoch.
    fn fill(&mut self) -> Result<bool> {
        while self.ready.is_empty() {
            let mut samples = Vec::new();
            let mut read = 0;
            while read < self.buffer {
                let wanted = ROWS_AT_ONCE.min(self.buffer - read);
                let Some(rows) = &mut self.rows else {
                    break;
                };
                let chunk = rows.by_ref().take(wanted).collect::<Result<Vec<_>>>()?;
                if chunk.is_empty() {
                    break;
                }
                read += chunk.len();
                let rows = chunk.par_iter();
                let rows = rows.map(|(dataset, row)| (&self.opened[*dataset].encoder, row));
                encode_rows(rows, &mut self.report, &mut samples)?;
                self.report.forget();
            }
            if read == 0 {
                self.rows = None;
                return Ok(false);
            }
            let bytes = samples.iter().map(crate::estimate::held).sum();
            self.largest = self.largest.max(bytes);
            self.ready = self.arranged(samples);
        }
        Ok(true)
    }

    fn arranged(&mut self, samples: Vec<Sample>) -> VecDeque<Vec<Sample>> {
        let mut units: Vec<Vec<Sample>> = if self.packing {
            let lengths: Vec<usize> = samples
                .iter()
                .map(|sample| sample.input_ids.len())
                .collect();
            let mut samples: Vec<Option<Sample>> = samples.into_iter().map(Some).collect();
            pack(&lengths, self.opened[0].encoder.max_seq_length())
                .into_iter()
                .map(|row| {
                    row.into_iter()
                        .filter_map(|at| samples[at].take())
                        .collect()
                })
                .collect()
        } else {
            samples.into_iter().map(|sample| vec![sample]).collect()
        };
        if self.shuffle {
            for at in (1..units.len()).rev() {
                units.swap(at, self.random.random_range(0..=at as u64) as usize);
            }
        }
        units.into()
    }

    /// The data that is held out, in memory.
    pub(crate) fn held_out(&self) -> Result<Vec<Sample>> {
        let mut held_out = Vec::new();
        for opened in &self.opened {
            held_out.extend(opened.held_out()?.into_iter().flat_map(|found| found.0));
        }
        Ok(held_out)
    }

    /// Bytes of the largest buffer so far.
    pub(crate) fn largest_buffer(&self) -> u64 {
        self.largest
    }

    /// Sentences about what was passed over.
    pub(crate) fn notes(&self) -> impl Iterator<Item = &String> {
        self.opened.iter().flat_map(|opened| &opened.source.notes)
    }

    /// Stands for the data in a checkpoint: names and sizes of the files and the settings, since the data itself is
    /// not read before it is needed.
    ///
    /// # Errors
    /// A file that cannot be asked for its size.
    pub(crate) fn digest(&self) -> Result<String> {
        let mut hasher = Sha256::new();
        for opened in &self.opened {
            // A folder may be moved between a run and its resume.
            let settings = DataConfig {
                path: None,
                eval_path: None,
                ..opened.config.clone()
            };
            let settings = serde_json::to_string(&settings).expect("settings serialize");
            hasher.update(settings);
            for file in opened.source.files() {
                let size = file.metadata().map_err(Error::io("read", file))?.len();
                hasher.update(file.file_name().unwrap_or_default().as_encoded_bytes());
                hasher.update(size.to_le_bytes());
            }
        }
        Ok(crate::files::hex(&hasher.finalize()))
    }

    fn nothing(&self) -> Error {
        no_supervised_token(&self.opened[0].path, &self.report, &self.opened[0].encoder)
    }
}
