//! What was found in a dataset, and what became of it.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use domain::DataFormat;
use serde::Serialize;

use super::{IGNORED, Sample, encode::Encoded};

/// What was found, cut and dropped; lengths are in tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataReport {
    /// The format that the rows were read in.
    pub format: DataFormat,
    /// Rows read, held-out files included.
    pub rows: usize,
    /// Sequences that are trained on.
    pub train_samples: usize,
    /// Sequences that are held out.
    pub eval_samples: usize,
    /// Tokens of the training sequences.
    pub tokens: usize,
    /// Those of them that carry a label.
    pub supervised_tokens: usize,
    /// Tokens of the held-out sequences that carry a label.
    pub eval_supervised_tokens: usize,
    /// Rows that were longer than `data.max_seq_length` and lost their end.
    pub truncated: usize,
    /// Rows that were longer and became several sequences (`data.overflow = "split"`, repositories).
    pub split: usize,
    /// Tokens that were cut off.
    pub truncated_tokens: usize,
    /// Rows without any token.
    pub dropped_empty: usize,
    /// Rows with tokens of which none carries a label, perhaps because it was cut off.
    pub dropped_unsupervised: usize,
    /// Rows that say exactly what an earlier one says; they are kept.
    pub duplicates: usize,
    /// Tokens of the longest row before cutting.
    pub longest: usize,
    /// Sequences by length before cutting.
    pub lengths: Vec<LengthBin>,
    /// Rows of `data.max_seq_length` tokens that the training sequences fill with `data.packing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed_rows: Option<usize>,
    /// Sentences about what was passed over: files of a source tree, other splits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(skip)]
    seen: HashSet<u64>,
}

/// Rows of a range of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LengthBin {
    /// Longest length of the bin; bins double from 16 tokens on.
    pub up_to: usize,
    /// Rows in it.
    pub rows: usize,
}

impl DataReport {
    pub(super) fn new(format: DataFormat) -> Self {
        Self {
            format,
            rows: 0,
            train_samples: 0,
            eval_samples: 0,
            tokens: 0,
            supervised_tokens: 0,
            eval_supervised_tokens: 0,
            truncated: 0,
            split: 0,
            truncated_tokens: 0,
            dropped_empty: 0,
            dropped_unsupervised: 0,
            duplicates: 0,
            longest: 0,
            lengths: Vec::new(),
            packed_rows: None,
            notes: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Forgets the signatures by which duplicates are counted.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Notes a row; `false` when it is dropped.
    pub(super) fn keeps(&mut self, row: &Encoded) -> bool {
        self.note_length(row.full_length);
        let cut = row.full_length - row.sample.input_ids.len();
        self.truncated += usize::from(cut > 0);
        self.truncated_tokens += cut;
        if row.full_length == 0 {
            self.dropped_empty += 1;
            return false;
        }
        if row.sample.supervised_tokens() == 0 {
            self.dropped_unsupervised += 1;
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (&row.sample.input_ids, &row.sample.labels).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            self.duplicates += 1;
        }
        true
    }

    fn note_length(&mut self, length: usize) {
        self.longest = self.longest.max(length);
        self.add_bin(LengthBin {
            up_to: length.max(16).next_power_of_two(),
            rows: 1,
        });
    }

    fn add_bin(&mut self, bin: LengthBin) {
        let place = self
            .lengths
            .binary_search_by_key(&bin.up_to, |known| known.up_to);
        match place {
            Ok(at) => self.lengths[at].rows += bin.rows,
            Err(at) => self.lengths.insert(at, bin),
        }
    }

    /// Adds what was found in a further dataset.
    pub(super) fn add(&mut self, other: &Self) {
        self.add_held_out_file(other);
        self.duplicates += other.duplicates;
        self.longest = self.longest.max(other.longest);
        other.lengths.iter().for_each(|bin| self.add_bin(*bin));
        self.notes.extend(other.notes.iter().cloned());
    }

    pub(super) fn add_held_out_file(&mut self, other: &Self) {
        self.rows += other.rows;
        self.truncated += other.truncated;
        self.truncated_tokens += other.truncated_tokens;
        self.dropped_empty += other.dropped_empty;
        self.dropped_unsupervised += other.dropped_unsupervised;
        self.split += other.split;
    }

    pub(super) fn count_rows(&mut self, train: &[Sample], capacity: usize) {
        let lengths: Vec<usize> = train.iter().map(|sample| sample.input_ids.len()).collect();
        self.packed_rows = Some(super::pack(&lengths, capacity).len());
    }

    pub(super) fn count(&mut self, train: &[Sample], eval: &[Sample]) {
        self.train_samples = train.len();
        self.eval_samples = eval.len();
        self.tokens = train.iter().map(|sample| sample.input_ids.len()).sum();
        self.supervised_tokens = train.iter().map(Sample::supervised_tokens).sum();
        self.eval_supervised_tokens = eval.iter().map(Sample::supervised_tokens).sum();
    }

    /// One sentence for a run's log.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{} rows ({}): {} sequences to train on with {} tokens, {} of them with a label; {} held out",
            self.rows,
            super::format::name(self.format),
            self.train_samples,
            self.tokens,
            self.supervised_tokens,
            self.eval_samples,
        );
        for (count, what) in [
            (self.truncated, "cut at data.max_seq_length"),
            (self.split, "made into several sequences"),
            (self.dropped_empty, "dropped for being empty"),
            (self.dropped_unsupervised, "dropped for having no label"),
            (self.duplicates, "exact duplicates"),
        ] {
            if count > 0 {
                text += &format!("; {count} {what}");
            }
        }
        if let Some(rows) = self.packed_rows {
            text += &format!("; packed into {rows} rows");
        }
        text
    }

    /// Lengths and what was passed over, in sentences for a run's log.
    pub fn details(&self) -> Vec<String> {
        let mut from = 0;
        let bins = self.lengths.iter().map(|bin| {
            let text = format!("{from} to {}: {}", bin.up_to, bin.rows);
            from = bin.up_to + 1;
            text
        });
        let bins = bins.collect::<Vec<_>>().join(", ");
        let lengths = format!(
            "sequences by tokens before cutting: {bins}; the longest has {}",
            self.longest
        );
        [lengths].into_iter().chain(self.notes.clone()).collect()
    }
}

/// Share of the tokens that carry a label, for previews.
pub(super) fn labelled(sample: &Sample) -> usize {
    sample
        .labels
        .iter()
        .filter(|label| **label != IGNORED)
        .count()
}
