//! Rows of several datasets that are read at the same time.

use std::iter::Peekable;

use serde_json::{Map, Value};

use super::{origin::Row, read};
use crate::Result;

/// Rows of several datasets, each with the place of its dataset: always of the one of which the smallest share was given, by
/// bytes, so that all end at about the same time.
pub(super) struct Interleaved {
    datasets: Vec<Dataset>,
}

struct Dataset {
    at: usize,
    rows: Peekable<read::Rows>,
    /// Bytes of its files.
    size: f64,
    /// Bytes of the rows that were given.
    given: f64,
}

impl Interleaved {
    /// Of datasets whose files have so many bytes.
    pub(super) fn new(datasets: impl Iterator<Item = (read::Rows, u64)>) -> Self {
        let datasets = datasets.enumerate().map(|(at, (rows, size))| Dataset {
            at,
            rows: rows.peekable(),
            size: size.max(1) as f64,
            given: 0.0,
        });
        Self {
            datasets: datasets.collect(),
        }
    }
}

impl Iterator for Interleaved {
    type Item = Result<(usize, Row)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.datasets
            .retain_mut(|dataset| dataset.rows.peek().is_some());
        let share = |dataset: &&mut Dataset| dataset.given / dataset.size;
        let next = self
            .datasets
            .iter_mut()
            .min_by(|a, b| share(a).total_cmp(&share(b)))?;
        let row = next.rows.next()?;
        Some(row.map(|row| {
            next.given += all_bytes(&row.fields) as f64;
            (next.at, row)
        }))
    }
}

/// What a value takes as JSON, roughly.
fn bytes(value: &Value) -> usize {
    2 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(fields) => all_bytes(fields),
        _ => 2,
    }
}

fn all_bytes(fields: &Map<String, Value>) -> usize {
    let each = fields.iter();
    each.map(|(name, value)| 4 + name.len() + bytes(value))
        .sum()
}
