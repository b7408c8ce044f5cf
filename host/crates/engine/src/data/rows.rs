//! A dataset as plain rows, for whoever decides about rows before anybody encodes them.

use std::collections::BTreeMap;
use std::path::Path;

use domain::{DataConfig, DataFormat};
use serde_json::{Map, Value};

use super::{detect, format, read};
use crate::Result;

/// The rows of a dataset, read as they are asked for.
pub struct DatasetRows {
    /// Files that are read.
    pub files: usize,
    /// Bytes of these files, where they are not packed: about the bytes of their rows.
    pub bytes: Option<u64>,
    /// What was passed over.
    pub notes: Vec<String>,
    rows: read::Rows,
}

/// Opens `data.path`.
///
/// # Errors
/// A path that does not exist or cannot be read.
pub fn rows(config: &DataConfig) -> Result<DatasetRows> {
    let config = read::resolved(config)?;
    let path = Path::new(config.path.as_deref().unwrap_or_default());
    Ok(of_source(read::Source::find(path, &config)?))
}

/// Opens what `data.test_split` holds out; `None` where it is not set.
///
/// # Errors
/// As [`rows`], and a split that would be trained on.
pub fn test_split_rows(config: &DataConfig) -> Result<Option<DatasetRows>> {
    let config = read::resolved(config)?;
    let path = Path::new(config.path.as_deref().unwrap_or_default());
    let source = read::Source::find(path, &config)?;
    Ok(read::of_test_split(path, &config, &source)?.map(of_source))
}

fn of_source(source: read::Source) -> DatasetRows {
    let is_packed = |file: &Path| {
        let extension = file.extension().unwrap_or_default().to_ascii_lowercase();
        ["gz", "zst", "parquet", "arrow", "feather"]
            .iter()
            .any(|packed| extension == *packed)
    };
    let bytes = source
        .files()
        .iter()
        .map(|file| {
            (!is_packed(file)).then(|| std::fs::metadata(file).map_or(0, |file| file.len()))
        })
        .sum();
    DatasetRows {
        files: source.files().len(),
        bytes,
        rows: source.stream(),
        notes: source.notes,
    }
}

/// Tells which rows are not of the format that somebody set, by the columns that it needs and what they hold.
pub struct Fit {
    format: DataFormat,
    needed: &'static [&'static str],
    /// Their names by ours.
    columns: BTreeMap<String, String>,
}

impl Fit {
    /// For the format of `config`, with `columns` beside those that it names; none where no format is set, or one whose rows
    /// are made of files.
    ///
    /// # Errors
    /// As [`rows`].
    pub fn new(config: &DataConfig, columns: &BTreeMap<String, String>) -> Result<Option<Self>> {
        if config.format == DataFormat::Auto {
            return Ok(None);
        }
        let mut config = read::resolved(config)?;
        config.columns.extend(columns.clone());
        Ok(detect::needed(config.format).map(|needed| Self {
            format: config.format,
            needed,
            columns: config.columns,
        }))
    }

    /// Why a row does not fit, in a sentence; none where it does.
    pub fn misfit(&self, fields: &Map<String, Value>) -> Option<String> {
        let theirs = |ours: &&str| {
            self.columns
                .get(*ours)
                .map_or(*ours, String::as_str)
                .to_owned()
        };
        let is_missing = |column: &String| fields.get(column).is_none_or(Value::is_null);
        let missing: Vec<String> = self.needed.iter().map(theirs).filter(is_missing).collect();
        let why = match missing.is_empty() {
            true => {
                let column = self.needed.iter().find_map(|ours| {
                    let column = theirs(ours);
                    let value = fields.get(&column)?;
                    (!takes(ours, value)).then_some((column, value))
                });
                let (column, value) = column?;
                format!("its {column} is {}", described(value))
            }
            false => {
                let there: Vec<&str> = fields.keys().map(String::as_str).take(20).collect();
                let missing = missing.join(" and ");
                format!("it lacks {missing} and has {}", there.join(", "))
            }
        };
        let format = format::name(self.format);
        Some(format!("does not fit the format {format}: {why}"))
    }
}

/// Whether a column that a format needs can be read from such a value.
fn takes(ours: &str, value: &Value) -> bool {
    let is_filled = value.as_array().is_some_and(|list| !list.is_empty());
    match ours {
        "text" | "instruction" | "output" => value.is_string(),
        "prompt" | "completion" => value.is_string() || value.is_array(),
        // CSV holds lists as JSON text.
        "messages" | "conversations" => value.is_string() || is_filled,
        "chosen" | "rejected" => value.is_string() || value.is_object() || is_filled,
        _ => value.is_array(),
    }
}

fn described(value: &Value) -> &'static str {
    match value.as_array() {
        Some(list) if list.is_empty() => "an empty list",
        _ => read::kind(value),
    }
}

/// The settings that read what was curated out of a dataset into `file`: its rows have the columns that they had.
///
/// # Errors
/// As [`rows`].
pub fn curated(config: &DataConfig, file: &Path) -> Result<DataConfig> {
    Ok(DataConfig {
        path: Some(file.display().to_string()),
        dataset: None,
        subset: None,
        split: None,
        test_split: None,
        ..read::resolved(config)?
    })
}

/// A row's columns, and where it came from; ends after the first error.
impl Iterator for DatasetRows {
    type Item = Result<(Map<String, Value>, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.map(|row| {
            let file = row.origin.file.display().to_string();
            let origin = match row.origin.place() {
                Some(place) => format!("{file} {place}"),
                None => file,
            };
            (row.fields, origin)
        }))
    }
}
