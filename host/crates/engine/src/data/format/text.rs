use super::{Columns, Content};
use crate::{Result, tokenizer::Piece};

/// `{"text"}`, or a plain text file: one document, all of it learned.
pub(super) fn content(columns: &Columns<'_>) -> Result<Content> {
    Ok(Content::Text {
        pieces: vec![Piece::trained(columns.text("text")?)],
        special: true,
        end: true,
    })
}
