use serde_json::Value;

use super::{Columns, Content};
use crate::{Result, data::read::kind, tokenizer::Piece};

/// `{"segments": [{"label": true, "text"}]}`: Axolotl's `input_output`. The texts stand as they are, without a
/// template and without tokens around them; those with `label` are learned.
pub(super) fn content(columns: &Columns<'_>) -> Result<Content> {
    let value = columns.value("segments")?;
    let wrong = |message: String| columns.error("segments", message);
    let segments = value
        .as_array()
        .ok_or_else(|| wrong(format!("must be a list, not {}", kind(value))))?;
    let pieces = segments
        .iter()
        .enumerate()
        .map(
            |(at, segment)| match (&segment["label"], &segment["text"]) {
                (Value::Bool(trained), Value::String(text)) => Ok(Piece {
                    text: text.clone(),
                    trained: *trained || columns.config.train_on == domain::TrainOn::All,
                }),
                _ => Err(wrong(format!(
                    "segment {} must have label (true or false) and text",
                    at + 1
                ))),
            },
        )
        .collect::<Result<_>>()?;
    Ok(Content::Text {
        pieces,
        special: false,
        end: false,
    })
}
