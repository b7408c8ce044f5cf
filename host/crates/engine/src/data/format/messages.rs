use std::{borrow::Cow, ops::Range};

use domain::TrainOn;
use serde_json::Value;

use super::{Columns, Content};
use crate::{
    Result, chat::Conversation, data::encode::Encoder, data::read::kind, tokenizer::Piece,
};

/// `{"messages": [{"role", "content"}], "tools"?}`, written by the chat template. What the assistant writes, its
/// end of turn included, is learned: the last turn (`completion`), every turn (`assistant`), or everything (`all`).
///
/// Messages may call tools (`tool_calls`) and hold their answers (role `tool`). A list as JSON text, which CSV and
/// some Parquet files hold, is read.
pub(super) fn content(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    let value = parsed(columns, "messages", columns.value("messages")?)?;
    written(columns, checked(columns, &value)?, encoder)
}

/// Messages as the chat template writes them, with the row's tools.
pub(super) fn written(
    columns: &Columns<'_>,
    messages: &[Value],
    encoder: &Encoder,
) -> Result<Content> {
    let messages: Vec<Value> = messages.iter().map(without_nulls).collect();
    let tools = tools(columns)?;
    let conversation = Conversation {
        messages: &messages,
        tools: tools.as_deref(),
        ..Conversation::default()
    };
    let template = encoder.template();
    let told = |error: crate::Error| columns.row.origin.error(error.to_string());
    let pieces = match columns.config.train_on {
        TrainOn::All => vec![Piece::trained(
            template.render(conversation, false).map_err(told)?,
        )],
        which => {
            let turns = template.turns(conversation).map_err(told)?;
            let mut learned: Vec<Range<usize>> = turns
                .assistant
                .into_iter()
                .map(|turn| without_blanks_after_the_end(&turns.text, turn, encoder))
                .collect();
            if which == TrainOn::Completion {
                learned = learned.split_off(learned.len().saturating_sub(1));
            }
            cut(&turns.text, &learned)
        }
    };
    Ok(Content::Text {
        pieces,
        special: false,
        end: false,
    })
}

/// The row's tools, where it has some: a list, or the JSON of one.
pub(super) fn tools<'a>(columns: &Columns<'a>) -> Result<Option<Cow<'a, Value>>> {
    let tools = match columns.optional("tools") {
        // LLaMA-Factory has an empty text where a row has no tools.
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(tools) => Some(parsed(columns, "tools", tools)?),
        None => None,
    };
    if let Some(tools) = tools.as_deref()
        && !tools.is_array()
    {
        return Err(columns.error("tools", format!("must be a list, not {}", kind(tools))));
    }
    Ok(tools.filter(|tools| tools.as_array().is_some_and(|list| !list.is_empty())))
}

/// The value, or the JSON that it holds as text.
fn parsed<'a>(columns: &Columns<'_>, name: &str, value: &'a Value) -> Result<Cow<'a, Value>> {
    match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => {
            serde_json::from_str(text)
                .map(Cow::Owned)
                .map_err(|error| columns.error(name, format!("is no valid JSON: {error}")))
        }
        other => Ok(Cow::Borrowed(other)),
    }
}

/// A table fills what a message does not have with null, and a template asks whether it is there.
fn without_nulls(message: &Value) -> Value {
    match message {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, value)| !value.is_null() || *key == "content")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn checked<'a>(columns: &Columns<'_>, value: &'a Value) -> Result<&'a [Value]> {
    let messages = value
        .as_array()
        .ok_or_else(|| columns.error("messages", format!("must be a list, not {}", kind(value))))?;
    if messages.is_empty() {
        return Err(columns.error("messages", "must hold at least one message"));
    }
    for (index, message) in messages.iter().enumerate() {
        let at = index + 1;
        if !message["role"].is_string() {
            return Err(columns.error(
                "messages",
                format!("message {at} has no role (system, user, assistant or tool)"),
            ));
        }
        let content = &message["content"];
        let calls = message
            .get("tool_calls")
            .is_some_and(|calls| !calls.is_null());
        if !(content.is_string() || content.is_null() && calls) {
            return Err(columns.error(
                "messages",
                format!(
                    "content of message {at} must be text, not {}",
                    kind(content)
                ),
            ));
        }
    }
    Ok(messages)
}

/// A template may write a line break after the end-of-turn token; the model has stopped by then.
fn without_blanks_after_the_end(text: &str, turn: Range<usize>, encoder: &Encoder) -> Range<usize> {
    let trimmed = text[turn.clone()].trim_end();
    let ends_a_turn = encoder
        .tokenizer()
        .is_some_and(|tokenizer| tokenizer.ends_with_added(trimmed));
    if ends_a_turn {
        turn.start..turn.start + trimmed.len()
    } else {
        turn
    }
}

fn cut(text: &str, learned: &[Range<usize>]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut cursor = 0;
    for turn in learned {
        pieces.push(Piece::given(&text[cursor..turn.start]));
        pieces.push(Piece::trained(&text[turn.clone()]));
        cursor = turn.end;
    }
    pieces.push(Piece::given(&text[cursor..]));
    pieces
}
