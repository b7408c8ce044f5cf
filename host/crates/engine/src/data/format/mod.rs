//! One file a format: a row becomes pieces of text that are given or learned.

mod alpaca;
mod completion;
mod marks;
mod messages;
mod preference;
mod segments;
mod sharegpt;
mod text;
mod tokenized;

use domain::{DataConfig, DataFormat};
use serde_json::Value;

use super::{Sample, detect, encode::Encoder, origin::Row, read::kind};
use crate::{Error, Result, tokenizer::Piece};

pub(super) use sharegpt::TAGS;

/// What a row holds.
pub(super) enum Content {
    /// Text, still to be encoded.
    Text {
        /// In order.
        pieces: Vec<Piece>,
        /// The tokenizer's own tokens go around it, such as a BOS; a chat template writes them itself.
        special: bool,
        /// The end-of-document token goes behind it.
        end: bool,
    },
    /// Tokens as they are.
    Tokens(Sample),
}

/// The name of a format in a RUN.toml.
pub(super) fn name(format: DataFormat) -> String {
    serde_json::to_value(format)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Columns of a format, by our names.
pub(super) fn columns(format: DataFormat) -> &'static [&'static str] {
    match format {
        DataFormat::Completion => &["prompt", "completion", "tools", messages::KWARGS],
        DataFormat::Alpaca => &["instruction", "input", "output", "system", "history"],
        DataFormat::Messages => &["messages", "tools", messages::KWARGS],
        DataFormat::Preference => preference::COLUMNS,
        DataFormat::Sharegpt => sharegpt::COLUMNS,
        DataFormat::Segments => &["segments"],
        DataFormat::Fim | DataFormat::SourceTree => &["text", "path", "repo"],
        DataFormat::Tokenized => &["input_ids", "labels", "attention_mask"],
        _ => &["text"],
    }
}

/// Reads a row.
pub(super) fn content(
    format: DataFormat,
    row: &Row,
    config: &DataConfig,
    encoder: &Encoder,
) -> Result<Content> {
    let columns = Columns { row, config };
    match format {
        DataFormat::Completion => completion::content(&columns, encoder),
        DataFormat::Alpaca => alpaca::content(&columns, encoder),
        DataFormat::Messages => messages::content(&columns, encoder),
        DataFormat::Preference => Ok(preference::contents(&columns, encoder)?.0),
        DataFormat::Sharegpt => sharegpt::content(&columns, encoder),
        DataFormat::Segments => segments::content(&columns),
        DataFormat::Tokenized => tokenized::content(&columns, encoder.vocab_size()),
        _ => text::content(&columns),
    }
}

/// Reads a row of the format preference: what is chosen, and what is rejected.
pub(super) fn preference(
    row: &Row,
    config: &DataConfig,
    encoder: &Encoder,
) -> Result<(Content, Content)> {
    preference::contents(&Columns { row, config }, encoder)
}

/// A row's columns under our names.
pub(super) struct Columns<'a> {
    pub(super) row: &'a Row,
    pub(super) config: &'a DataConfig,
}

impl<'a> Columns<'a> {
    fn theirs<'b>(&'b self, ours: &'b str) -> &'b str {
        self.config.columns.get(ours).map_or(ours, String::as_str)
    }

    /// A value that may be missing or null; a column whose name is empty is not read.
    pub(super) fn optional(&self, ours: &str) -> Option<&'a Value> {
        let theirs = Some(self.theirs(ours)).filter(|theirs| !theirs.is_empty());
        self.row
            .fields
            .get(theirs?)
            .filter(|value| !value.is_null())
    }

    pub(super) fn value(&self, ours: &str) -> Result<&'a Value> {
        self.optional(ours).ok_or_else(|| {
            let absent = if self.row.fields.contains_key(self.theirs(ours)) {
                "is null"
            } else {
                "is missing"
            };
            self.error(
                ours,
                format!(
                    "{absent}; the row has the columns {} (data.columns maps other names)",
                    detect::columns(self.row)
                ),
            )
        })
    }

    pub(super) fn text(&self, ours: &str) -> Result<&'a str> {
        let value = self.value(ours)?;
        value
            .as_str()
            .ok_or_else(|| self.error(ours, format!("must be text, not {}", kind(value))))
    }

    pub(super) fn optional_text(&self, ours: &str) -> Result<Option<&'a str>> {
        if self.optional(ours).is_none() {
            return Ok(None);
        }
        self.text(ours).map(Some)
    }

    pub(super) fn error(&self, ours: &str, message: impl AsRef<str>) -> Error {
        self.row
            .origin
            .error(format!("field {}: {}", self.theirs(ours), message.as_ref()))
    }

    /// A prompt and what is to be learned after it; all of it with `train_on = "all"`.
    fn prompt_and(&self, prompt: String, completion: &str) -> Content {
        let prompt = Piece {
            text: prompt,
            trained: self.config.train_on == domain::TrainOn::All,
        };
        Content::Text {
            pieces: vec![prompt, Piece::trained(completion)],
            special: true,
            // A row without a completion teaches nothing, not even where to end.
            end: !completion.is_empty(),
        }
    }
}
