//! What a conversation says of its own turns: which are learned, and texts that come in parts.

use serde_json::Value;

use crate::data::read::kind;

/// Names under which a turn or a part of it says whether it is learned: those of Axolotl's documentation, and the weight
/// of OpenAI's files for fine-tuning.
const NAMES: [&str; 3] = ["train", "training", "weight"];

/// Axolotl's marks within a text, by characters.
const WITHIN: [&str; 4] = [
    "train_detail",
    "training_detail",
    "reasoning_train_detail",
    "reasoning_training_detail",
];

/// Whether a turn is to be learned, where it says so itself or all parts of its text do; or what is wrong with it.
pub(super) fn mark(turn: &Value, content: &Value) -> Result<Option<bool>, String> {
    if let Some(name) = WITHIN
        .into_iter()
        .find(|name| turn.get(name).is_some_and(|value| !value.is_null()))
    {
        return Err(format!(
            "{name} is not supported; train = true or false marks a whole turn"
        ));
    }
    let parts: Vec<Option<bool>> = content
        .as_array()
        .into_iter()
        .flatten()
        .map(own)
        .collect::<Result<_, _>>()?;
    let (first, rest) = match parts.split_first() {
        Some((first, rest)) => (*first, rest),
        None => (None, &[][..]),
    };
    if rest.iter().any(|part| *part != first) {
        return Err(
            "parts of one text that are learned and parts that are not are not supported; give them turns of their own"
                .to_owned(),
        );
    }
    // A part knows better than its turn.
    Ok(first.or(own(turn)?))
}

fn own(value: &Value) -> Result<Option<bool>, String> {
    let mut found = None;
    for name in NAMES {
        let flag = match value.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => match other.as_f64() {
                Some(0.0) => false,
                Some(1.0) => true,
                _ => return Err(format!("{name} must be true or false, not {other}")),
            },
        };
        if found.is_some_and(|before| before != flag) {
            return Err(format!("{name} contradicts another mark of the same turn"));
        }
        found = Some(flag);
    }
    Ok(found)
}

/// A text, or the texts of a list of parts one behind another, as Axolotl joins them; `None` for what is neither.
pub(super) fn joined(content: &Value) -> Result<Option<String>, String> {
    let parts = match content {
        Value::String(text) => return Ok(Some(text.clone())),
        Value::Array(parts) if !parts.is_empty() => parts,
        _ => return Ok(None),
    };
    let mut joined = String::new();
    for (index, part) in parts.iter().enumerate() {
        let at = index + 1;
        let Some(map) = part.as_object() else {
            return Err(format!(
                "part {at} must be {{\"type\": \"text\", \"text\"}}, not {}",
                kind(part)
            ));
        };
        let of = map.get("type").and_then(Value::as_str).unwrap_or("text");
        let text = ["text", "content", "value"]
            .iter()
            .find_map(|name| map.get(*name)?.as_str());
        match text {
            Some(text) if of == "text" => joined.push_str(text),
            _ => {
                return Err(format!(
                    "part {at} is of type {of:?}; only text can be learned from"
                ));
            }
        }
    }
    Ok(Some(joined))
}
