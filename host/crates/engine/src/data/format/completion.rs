use super::{Columns, Content};
use crate::Result;

/// `{"prompt", "completion"}`, joined as they are: a blank between them belongs into one of the two.
pub(super) fn content(columns: &Columns<'_>) -> Result<Content> {
    let prompt = columns.text("prompt")?;
    let completion = columns.text("completion")?;
    Ok(columns.prompt_and(prompt.to_owned(), completion))
}
