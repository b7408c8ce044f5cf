//! Which format a dataset has, by the columns of its first row.

use std::path::Path;

use domain::{DataConfig, DataFormat, FieldErrors};
use serde_json::Value;

use super::{format, origin::Row};
use crate::{Error, Result};

/// Columns by which a format is known; the first that is there wins, so the more telling stand first.
const BY_COLUMNS: &[(DataFormat, &[&str])] = &[
    (DataFormat::Tokenized, &["input_ids"]),
    (DataFormat::Messages, &["messages"]),
    (
        DataFormat::Preference,
        &["conversations", "chosen", "rejected"],
    ),
    (DataFormat::Sharegpt, &["conversations"]),
    (DataFormat::Segments, &["segments"]),
    (DataFormat::Preference, &["chosen", "rejected"]),
    (DataFormat::Completion, &["prompt", "completion"]),
    (DataFormat::Alpaca, &["instruction", "output"]),
    (DataFormat::Text, &["text"]),
];

/// The columns without which a row is not of a format; none where a row is made of files.
pub(super) fn needed(format: DataFormat) -> Option<&'static [&'static str]> {
    match format {
        DataFormat::Fim => Some(&["text"]),
        // The entry that asks for less stands last.
        _ => BY_COLUMNS
            .iter()
            .rfind(|(found, _)| *found == format)
            .map(|(_, columns)| *columns),
    }
}

/// The format that is set, or that `auto` finds; checks `data.columns` against it.
pub(super) fn format(config: &DataConfig, row: &Row, path: &Path) -> Result<DataFormat> {
    let format = match config.format {
        DataFormat::Auto => by_columns(config, row).ok_or_else(|| {
            Error::file(
                path,
                format!(
                    "its columns ({}) tell no format; set data.format, and data.columns where the names differ, \
                     for example {{ prompt = \"question\", completion = \"answer\" }}",
                    columns(row)
                ),
            )
        })?,
        set => set,
    };
    let known = format::columns(format);
    if let Some(other) = config
        .columns
        .keys()
        .find(|ours| !known.contains(&ours.as_str()))
    {
        return Err(FieldErrors::one(
            format!("data.columns.{other}"),
            format!(
                "is no column of the format {}, which has {}",
                format::name(format),
                known.join(", ")
            ),
        )
        .into());
    }
    Ok(format)
}

/// The format that the columns of a row tell, if any.
pub(super) fn by_columns(config: &DataConfig, row: &Row) -> Option<DataFormat> {
    let has = |ours: &&str| {
        let theirs = config.columns.get(*ours).map_or(*ours, String::as_str);
        row.fields.contains_key(theirs)
    };
    // Axolotl's pairs are two turns that may follow the messages.
    let is_turn = |ours: &str| {
        let theirs = config.columns.get(ours).map_or(ours, String::as_str);
        row.fields.get(theirs).is_some_and(Value::is_object)
    };
    if has(&"messages") && is_turn("chosen") && is_turn("rejected") {
        return Some(DataFormat::Preference);
    }
    BY_COLUMNS
        .iter()
        .find(|(_, columns)| columns.iter().all(has))
        .map(|(format, _)| *format)
}

/// Names of a row's columns, for messages.
pub(super) fn columns(row: &Row) -> String {
    if row.fields.is_empty() {
        return "none".to_owned();
    }
    row.fields
        .keys()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
