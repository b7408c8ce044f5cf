//! Which rows of which files are read: whole files, or a part of what a split holds.

use std::ops::Range;
use std::path::{Path, PathBuf};

use domain::{FieldErrors, SplitPart};

use super::{Rows, files, once, read_file, table, until_error};
use crate::Result;

/// Rows of files that are read one behind another.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The split that they are of, where one is named.
    split: Option<String>,
    files: Vec<PathBuf>,
    /// Which of their rows, numbered through from 0.
    rows: Range<u64>,
}

impl Part {
    /// All rows.
    pub(super) fn whole(files: Vec<PathBuf>) -> Self {
        Self {
            split: None,
            files,
            rows: 0..u64::MAX,
        }
    }

    /// A split, or the part of it that is meant; its rows are counted where that hangs on how many there are.
    ///
    /// # Errors
    /// A row that is counted and cannot be read, or too few rows for the way of rounding.
    pub(super) fn of_split(split: &SplitPart, files: Vec<PathBuf>) -> Result<Self> {
        let rows = match split.rows_of_any() {
            Some(rows) => rows,
            None => {
                let counts = files.iter().map(|file| count(file));
                let all = counts.sum::<Result<u64>>()?;
                let wrong = |message| FieldErrors::one("data.split", message);
                split.rows_of(all).map_err(wrong)?
            }
        };
        Ok(Self {
            split: Some(split.name.clone()),
            files,
            rows,
        })
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The rows, in their order.
    pub(super) fn stream(&self) -> Rows {
        let files = self.files.clone().into_iter();
        let all = files.flat_map(|file| read_file(&file).unwrap_or_else(|error| once(error)));
        let Range { start, end } = self.rows;
        if start == 0 && end == u64::MAX {
            return Box::new(all);
        }
        // What is passed over is read too, and may be damaged.
        let numbered = (0..end).zip(until_error(all));
        Box::new(numbered.filter_map(move |(at, row)| (at >= start || row.is_err()).then_some(row)))
    }

    /// Rows are in both.
    pub(super) fn shares_rows(&self, other: &Self) -> bool {
        let start = self.rows.start.max(other.rows.start);
        self.split == other.split && start < self.rows.end.min(other.rows.end)
    }
}

/// Rows of a file: Parquet says how many it has, others are read for it.
fn count(file: &Path) -> Result<u64> {
    if files::kind(file) == files::Kind::Parquet {
        return table::parquet_rows(file);
    }
    let mut count = 0;
    for row in read_file(file)? {
        row?;
        count += 1;
    }
    Ok(count)
}
