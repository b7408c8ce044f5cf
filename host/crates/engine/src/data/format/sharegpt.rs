use serde_json::{Map, Value, json};

use super::{Columns, Content, marks, messages};
use crate::{
    Result,
    data::{encode::Encoder, read::kind},
};

/// The columns, and from the fifth on the names within a turn that LLaMA-Factory calls tags.
pub(super) const COLUMNS: &[&str] = &[
    "conversations",
    "system",
    "tools",
    messages::KWARGS,
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
];
/// The tags alone.
pub(in crate::data) const TAGS: &[&str] = COLUMNS.split_at(4).1;

/// What else of a turn a chat template may write.
const KEPT: [&str; 5] = [
    "name",
    "tool_call_id",
    "reasoning_content",
    "reasoning",
    "thinking",
];

/// `{"conversations": [{"from", "value"}], "system"?, "tools"?, "chat_template_kwargs"?}` as LLaMA-Factory and Axolotl read it, written by the
/// chat template: human is the user, gpt the assistant, function_call a call of a tool as JSON, observation or tool
/// its answer. Turns with `role` and `content` are taken too.
pub(super) fn content(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    let value = columns.value("conversations")?;
    // CSV holds a list as JSON text.
    let value = messages::parsed(columns, "conversations", value)?;
    let messages = turns_of(columns, "conversations", &value)?;
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    // The system column stands before the turns.
    let mut marks = vec![None; messages.len() - list.len()];
    for (at, turn) in list.iter().enumerate() {
        let content = text_of(columns, turn).unwrap_or(&Value::Null);
        let mark = marks::mark(turn, content);
        marks.push(mark.map_err(|message| {
            columns.error("conversations", format!("turn {}: {message}", at + 1))
        })?);
    }
    let tools = messages::tools(columns)?;
    messages::written(columns, &messages, &marks, tools.as_deref(), encoder)
}

/// What a turn says.
fn text_of<'a>(columns: &Columns<'_>, turn: &'a Value) -> Option<&'a Value> {
    let name = columns.config.columns.get("content_tag");
    under(turn, name.map(String::as_str), ["value", "content"])
}

/// A turn's value under the name that is set, or under the first of the usual ones that holds something.
fn under<'a>(turn: &'a Value, set: Option<&str>, usual: [&str; 2]) -> Option<&'a Value> {
    let value = |name: &str| turn.get(name).filter(|value| !value.is_null());
    match set {
        Some(name) => value(name),
        None => usual.into_iter().find_map(value),
    }
}

/// The system text and the conversation, which the column `ours` holds, as messages.
pub(super) fn turns(columns: &Columns<'_>, ours: &str) -> Result<Vec<Value>> {
    let value = messages::parsed(columns, ours, columns.value(ours)?)?;
    turns_of(columns, ours, &value)
}

/// As [`turns`], of what a column holds.
fn turns_of(columns: &Columns<'_>, ours: &str, value: &Value) -> Result<Vec<Value>> {
    let wrong = |message: String| columns.error(ours, message);
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
    let missing = |name: &str, default| format!("has no {}", tag(name).unwrap_or(default));
    let from = match under(turn, tag("role_tag"), ["from", "role"]) {
        Some(Value::String(from)) => from.clone(),
        Some(other) => return Err(format!("its role must be text, not {}", kind(other))),
        None => return Err(missing("role_tag", "from")),
    };
    let tool_calls = map.get("tool_calls").filter(|calls| !calls.is_null());
    let content = match text_of(columns, turn) {
        Some(said) => match marks::joined(said)? {
            Some(text) => text,
            // What calls tools need not say anything.
            None if tool_calls.is_some() => String::new(),
            None => return Err(format!("its text must be text, not {}", kind(said))),
        },
        None if tool_calls.is_some() => String::new(),
        None => return Err(missing("content_tag", "value")),
    };
    let is = |name: &str, defaults: &[&str]| match tag(name) {
        Some(set) => from == set,
        None => defaults.contains(&from.as_str()),
    };
    let plain = |role: &str| {
        let mut message = json!({"role": role, "content": content});
        for name in KEPT {
            let value = map.get(name).filter(|value| !value.is_null());
            if let Some(value) = value {
                message[name] = value.clone();
            }
        }
        Ok::<_, String>(message)
    };
    if let Some(calls) = tool_calls
        && (is("assistant_tag", &["gpt", "assistant", "model"])
            || is("function_tag", &["function_call"]))
    {
        let mut message = plain("assistant")?;
        message["tool_calls"] = calls.clone();
        return Ok(message);
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
