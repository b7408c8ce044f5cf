use serde_json::Value;

use super::{Columns, Content};
use crate::{Result, data::read::kind};

/// `{"instruction", "input"?, "output"}` in the prompt of Stanford Alpaca
/// (`train.py` of tatsu-lab/stanford_alpaca), with a line break before the answer; a `system` column replaces its
/// first paragraph, and a `history` column of `[question, answer]` pairs stands before the instruction.
pub(super) fn content(columns: &Columns<'_>) -> Result<Content> {
    let instruction = columns.text("instruction")?;
    let output = columns.text("output")?;
    let input = columns
        .optional_text("input")?
        .filter(|input| !input.trim().is_empty());
    // LLaMA-Factory's files have an empty text where a row has no system prompt.
    let system = columns
        .optional_text("system")?
        .filter(|system| !system.trim().is_empty());
    let opening = system.unwrap_or(match input {
        Some(_) => {
            "Below is an instruction that describes a task, paired with an input that provides further context. \
             Write a response that appropriately completes the request."
        }
        None => {
            "Below is an instruction that describes a task. \
             Write a response that appropriately completes the request."
        }
    });
    let mut prompt = format!("{opening}\n\n");
    for (asked, answered) in history(columns)? {
        prompt += &format!("### Instruction:\n{asked}\n\n### Response:\n{answered}\n\n");
    }
    prompt += &format!("### Instruction:\n{instruction}\n\n");
    if let Some(input) = input {
        prompt += &format!("### Input:\n{input}\n\n");
    }
    prompt += "### Response:\n";
    Ok(columns.prompt_and(prompt, output))
}

/// LLaMA-Factory's earlier turns.
fn history<'a>(columns: &Columns<'a>) -> Result<Vec<(&'a str, &'a str)>> {
    let Some(value) = columns.optional("history") else {
        return Ok(Vec::new());
    };
    let wrong = |message: String| columns.error("history", message);
    let list = value
        .as_array()
        .ok_or_else(|| wrong(format!("must be a list, not {}", kind(value))))?;
    list.iter()
        .enumerate()
        .map(|(at, turn)| match turn.as_array().map(Vec::as_slice) {
            Some([Value::String(asked), Value::String(answered)]) => {
                Ok((asked.as_str(), answered.as_str()))
            }
            _ => Err(wrong(format!("turn {} must be [question, answer]", at + 1))),
        })
        .collect()
}
