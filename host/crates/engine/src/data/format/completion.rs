use serde_json::Value;

use super::{Columns, Content, messages};
use crate::{Result, data::encode::Encoder};

/// `{"prompt", "completion"}`, joined as they are: a blank between them belongs into one of the two. Where they are lists of
/// messages, as TRL takes them, the chat template writes them.
///
/// Rows that also say whether the completion is wanted (`label`, for KTO) are refused: half of them must not be learned.
pub(super) fn content(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    if columns
        .row
        .fields
        .get("label")
        .is_some_and(Value::is_boolean)
    {
        return Err(columns.row.origin.error(
            "field label: marks completions as wanted or not (KTO), which is not supported; keep the wanted rows \
             without it, or make pairs of chosen and rejected",
        ));
    }
    let is_list = |ours| columns.optional(ours).is_some_and(Value::is_array);
    if is_list("prompt") || is_list("completion") {
        return messages::completion(columns, encoder);
    }
    let prompt = columns.text("prompt")?;
    let completion = columns.text("completion")?;
    Ok(columns.prompt_and(prompt.to_owned(), completion))
}
