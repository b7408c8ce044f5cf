use serde_json::{Map, Value, json};

use super::{Columns, Content, messages};
use crate::{
    Result,
    data::{encode::Encoder, read::kind},
};

/// The columns, and from the fourth on the names within a turn that LLaMA-Factory calls tags.
pub(super) const COLUMNS: &[&str] = &[
    "conversations",
    "system",
    "tools",
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
];
/// The tags alone.
pub(in crate::data) const TAGS: &[&str] = COLUMNS.split_at(3).1;

/// `{"conversations": [{"from", "value"}], "system"?, "tools"?}` as LLaMA-Factory and Axolotl read it, written by the
/// chat template: human is the user, gpt the assistant, function_call a call of a tool as JSON, observation or tool
/// its answer. Turns with `role` and `content` are taken too.
pub(super) fn content(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    messages::written(columns, &turns(columns)?, encoder)
}

/// The system text and the conversation as messages.
pub(super) fn turns(columns: &Columns<'_>) -> Result<Vec<Value>> {
    let value = columns.value("conversations")?;
    let wrong = |message: String| columns.error("conversations", message);
    let list = value
        .as_array()
        .ok_or_else(|| wrong(format!("must be a list, not {}", kind(value))))?;
    if list.is_empty() {
        return Err(wrong("must hold at least one turn".to_owned()));
    }
    let mut turns = Vec::with_capacity(list.len() + 1);
    if let Some(system) = columns
        .optional_text("system")?
        .filter(|text| !text.is_empty())
    {
        turns.push(json!({"role": "system", "content": system}));
    }
    for (at, turn) in list.iter().enumerate() {
        let turn = message(columns, turn)
            .map_err(|message| wrong(format!("turn {}: {message}", at + 1)))?;
        // A system turn wins over a system column, as in LLaMA-Factory.
        if turn["role"] == "system" && at == 0 {
            turns.clear();
        }
        turns.push(turn);
    }
    Ok(turns)
}

/// The one turn that a column holds.
pub(super) fn turn(columns: &Columns<'_>, ours: &str) -> Result<Value> {
    message(columns, columns.value(ours)?).map_err(|message| columns.error(ours, message))
}

/// A turn as a message, or what is wrong with it.
fn message(columns: &Columns<'_>, turn: &Value) -> Result<Value, String> {
    let map = turn
        .as_object()
        .ok_or_else(|| format!("must be an object, not {}", kind(turn)))?;
    let tag = |name: &str| columns.config.columns.get(name).map(String::as_str);
    let text = |set: Option<&str>, defaults: [&str; 2]| -> Result<String, String> {
        let found = match set {
            Some(name) => map.get(name),
            None => defaults.iter().find_map(|name| map.get(*name)),
        };
        match found {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(format!(
                "{} must be text, not {}",
                set.unwrap_or(defaults[0]),
                kind(other)
            )),
            None => Err(format!("has no {}", set.unwrap_or(defaults[0]))),
        }
    };
    let from = text(tag("role_tag"), ["from", "role"])?;
    let tool_calls = map.get("tool_calls").filter(|calls| !calls.is_null());
    let content = match tool_calls {
        // What calls tools need not say anything.
        Some(_) => text(tag("content_tag"), ["value", "content"]).unwrap_or_default(),
        None => text(tag("content_tag"), ["value", "content"])?,
    };
    let is = |name: &str, defaults: &[&str]| match tag(name) {
        Some(set) => from == set,
        None => defaults.contains(&from.as_str()),
    };
    let plain = |role: &str| Ok(json!({"role": role, "content": content}));
    if let Some(calls) = tool_calls
        && (is("assistant_tag", &["gpt", "assistant", "model"])
            || is("function_tag", &["function_call"]))
    {
        return Ok(json!({"role": "assistant", "content": content, "tool_calls": calls}));
    }
    if is("user_tag", &["human", "user"]) {
        plain("user")
    } else if is("assistant_tag", &["gpt", "assistant", "model"]) {
        plain("assistant")
    } else if is("system_tag", &["system"]) {
        plain("system")
    } else if is("observation_tag", &["observation", "tool"]) {
        plain("tool")
    } else if is("function_tag", &["function_call"]) {
        let calls = calls(&content)?;
        Ok(json!({"role": "assistant", "content": "", "tool_calls": calls}))
    } else {
        Err(format!(
            "{from:?} is no role; known are human, gpt, system, function_call, observation and tool \
             (data.columns sets others: user_tag, assistant_tag, …)"
        ))
    }
}

/// `{"name", "arguments"}` or a list of such, as the tool calls of a message.
fn calls(text: &str) -> Result<Vec<Value>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        format!("a function_call must be JSON with name and arguments: {error}")
    })?;
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    list.into_iter()
        .map(|call| {
            let name = call["name"].as_str();
            let name = name.ok_or("a function_call must have a name")?;
            let arguments = match &call["arguments"] {
                Value::Null => Value::Object(Map::new()),
                // Some files hold JSON within JSON.
                Value::String(text) => {
                    serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
                }
                other => other.clone(),
            };
            Ok(json!({"type": "function", "function": {"name": name, "arguments": arguments}}))
        })
        .collect()
}
