use super::{Columns, Content};
use crate::Result;

/// `{"instruction", "input"?, "output"}` in the prompt of Stanford Alpaca
/// (`train.py` of tatsu-lab/stanford_alpaca), with a line break before the answer; a `system` column replaces its
/// first paragraph.
pub(super) fn content(columns: &Columns<'_>) -> Result<Content> {
    let instruction = columns.text("instruction")?;
    let output = columns.text("output")?;
    let input = columns
        .optional_text("input")?
        .filter(|input| !input.trim().is_empty());
    let opening = columns.optional_text("system")?.unwrap_or(match input {
        Some(_) => {
            "Below is an instruction that describes a task, paired with an input that provides further context. \
             Write a response that appropriately completes the request."
        }
        None => {
            "Below is an instruction that describes a task. \
             Write a response that appropriately completes the request."
        }
    });
    let mut prompt = format!("{opening}\n\n### Instruction:\n{instruction}\n\n");
    if let Some(input) = input {
        prompt += &format!("### Input:\n{input}\n\n");
    }
    prompt += "### Response:\n";
    Ok(columns.prompt_and(prompt, output))
}
