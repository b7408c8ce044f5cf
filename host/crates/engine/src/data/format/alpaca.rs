use serde_json::{Value, json};

use super::{Columns, Content, messages};
use crate::{
    Result,
    data::{encode::Encoder, read::kind},
};

/// `{"instruction", "input"?, "output"}` in the prompt of Stanford Alpaca
/// (`train.py` of tatsu-lab/stanford_alpaca), with a line break before the answer; a `system` column replaces its
/// first paragraph, and a `history` column of `[question, answer]` pairs stands before the instruction.
///
/// A row of a set that LLaMA-Factory's `dataset_info.json` describes is a conversation instead, which the chat template
/// writes, where the model has one.
pub(super) fn content(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    if encoder.optional_template().is_some() {
        return as_conversation(columns, encoder);
    }
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

/// The row as the conversation that LLaMA-Factory makes of it.
fn as_conversation(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let mut turns = Vec::new();
    let system = columns.optional_text("system")?;
    turns.extend(
        system
            .filter(|text| !text.is_empty())
            .map(|text| turn("system", text)),
    );
    for (asked, answered) in history(columns)? {
        turns.extend([turn("user", asked), turn("assistant", answered)]);
    }
    turns.push(turn("user", &asked(columns, "instruction")?));
    turns.push(turn("assistant", columns.text("output")?));
    messages::written(columns, &turns, &vec![None; turns.len()], None, encoder)
}

/// What LLaMA-Factory asks: the instruction or prompt and, in the line after it, the input, whichever of them there is.
pub(super) fn asked(columns: &Columns<'_>, prompt: &str) -> Result<String> {
    let parts = [
        columns.optional_text(prompt)?,
        columns.optional_text("input")?,
    ];
    let parts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    match parts.is_empty() {
        // Says what is missing.
        true => columns.text(prompt).map(str::to_owned),
        false => Ok(parts.join("\n")),
    }
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
