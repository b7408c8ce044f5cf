use serde_json::Value;

use super::{Columns, Content};
use crate::Result;

/// `{"prompt", "completion"}`, joined as they are: a blank between them belongs into one of the two.
///
/// Rows that also say whether the completion is wanted (`label`, for KTO) are refused: half of them must not be learned.
pub(super) fn content(columns: &Columns<'_>) -> Result<Content> {
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
    let prompt = columns.text("prompt")?;
    let completion = columns.text("completion")?;
    Ok(columns.prompt_and(prompt.to_owned(), completion))
}
