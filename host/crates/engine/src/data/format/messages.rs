use std::{borrow::Cow, ops::Range};

use domain::TrainOn;
use serde_json::{Map, Value};

use super::{Columns, Content, marks};
use crate::{
    Result, chat::Conversation, data::encode::Encoder, data::read::kind, tokenizer::Piece,
};

/// The column of the template's further variables, such as `enable_thinking`.
pub(super) const KWARGS: &str = "chat_template_kwargs";
/// Arguments of Transformers' `apply_chat_template` that are no variables of a template, or not this column's.
const TAKEN: [&str; 14] = [
    "conversation",
    "messages",
    "tools",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
];

/// `{"messages": [{"role", "content"}], "tools"?, "chat_template_kwargs"?}`, written by the chat template. What the assistant writes, its
/// end of turn included, is learned: the last turn (`completion`), every turn (`assistant`), or everything (`all`); a
/// turn's own mark (see [`marks`]) goes before that.
///
/// Messages may call tools (`tool_calls`) and hold their answers (role `tool`). A list as JSON text, which CSV and
/// some Parquet files hold, is read.
pub(super) fn content(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    let value = parsed(columns, "messages", columns.value("messages")?)?;
    let (messages, marks) = checked(columns, "messages", &value)?;
    written(
        columns,
        &messages,
        &marks,
        tools(columns)?.as_deref(),
        encoder,
    )
}

/// TRL's prompt and completion that are both lists of messages: one conversation, of which the completion is learned.
pub(super) fn completion(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    if encoder.optional_template().is_none() {
        let message =
            "is a list of messages, and the model has no chat template; set data.chat_template";
        return Err(columns.error("completion", message));
    }
    let of = |ours: &str| checked(columns, ours, columns.value(ours)?);
    let ((mut messages, mut marks), (answers, own)) = (of("prompt")?, of("completion")?);
    let learned = |(message, mark): (&Value, Option<bool>)| {
        mark.or((message["role"] == "assistant").then_some(true))
    };
    marks.extend(answers.iter().zip(own).map(learned));
    messages.extend(answers);
    written(
        columns,
        &messages,
        &marks,
        tools(columns)?.as_deref(),
        encoder,
    )
}

/// Messages as the chat template writes them, with these tools; `marks` says of each whether it is learned, where
/// the row does.
pub(super) fn written(
    columns: &Columns<'_>,
    messages: &[Value],
    marks: &[Option<bool>],
    tools: Option<&Value>,
    encoder: &Encoder,
) -> Result<Content> {
    let messages: Vec<Value> = messages.iter().map(without_nulls).collect();
    let variables = variables(columns)?;
    let conversation = Conversation {
        messages: &messages,
        tools,
        variables: Some(&variables),
        ..Conversation::default()
    };
    let template = encoder.template();
    let told = |error: crate::Error| columns.row.origin.error(error.to_string());
    let all = columns.config.train_on == TrainOn::All;
    let pieces = if all && !marks.contains(&Some(false)) {
        vec![Piece::trained(
            template.render(conversation, false).map_err(told)?,
        )]
    } else {
        let turns = template.turns(conversation).map_err(told)?;
        let chosen = chosen(
            &messages,
            marks,
            turns.assistant.len(),
            columns.config.train_on,
        )
        .map_err(|message| columns.row.origin.error(message))?;
        let turn = turns.assistant.into_iter().zip(chosen);
        match all {
            true => {
                let passed: Vec<Range<usize>> = turn
                    .filter_map(|(turn, learned)| (!learned).then_some(turn))
                    .collect();
                cut(&turns.text, &passed, false)
            }
            false => {
                let learned: Vec<Range<usize>> = turn
                    .filter_map(|(turn, learned)| learned.then_some(turn))
                    .map(|turn| without_blanks_after_the_end(&turns.text, turn, encoder))
                    .collect();
                cut(&turns.text, &learned, true)
            }
        }
    };
    Ok(Content::Text {
        pieces,
        special: false,
        end: false,
    })
}

/// Which of the assistant's turns are learned: those that are marked, and of the others those of `train_on`.
fn chosen(
    messages: &[Value],
    marks: &[Option<bool>],
    turns: usize,
    train_on: TrainOn,
) -> Result<Vec<bool>, String> {
    let usual = |turn: usize| train_on != TrainOn::Completion || turn + 1 == turns;
    if marks.iter().all(Option::is_none) {
        return Ok((0..turns).map(usual).collect());
    }
    let is_assistant = |message: &Value| message["role"] == "assistant";
    let other = (messages.iter().zip(marks)).position(|(message, mark)| {
        !is_assistant(message) && *mark == Some(train_on != TrainOn::All)
    });
    if let Some(at) = other {
        return Err(format!(
            "message {} is of the role {} and marked with train: only the assistant's turns can be marked so; \
             data.train_on = \"all\" learns the others too",
            at + 1,
            messages[at]["role"]
        ));
    }
    let own: Vec<Option<bool>> = (messages.iter().zip(marks))
        .filter_map(|(message, mark)| is_assistant(message).then_some(*mark))
        .collect();
    if own.len() != turns {
        return Err(format!(
            "the chat template marks {turns} places for {} turns of the assistant, so that the row's own marks (train, \
             weight) cannot be followed",
            own.len()
        ));
    }
    let each = own.into_iter().enumerate();
    Ok(each
        .map(|(turn, mark)| mark.unwrap_or_else(|| usual(turn)))
        .collect())
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

/// What the row gives the template beside its messages, as TRL's column of that name does: an object, or the JSON of one. A table
/// fills what a row does not have with null, which is not given.
pub(super) fn variables(columns: &Columns<'_>) -> Result<Map<String, Value>> {
    let wrong = |message: String| columns.error(KWARGS, message);
    let Some(value) = columns.optional(KWARGS) else {
        return Ok(Map::new());
    };
    let mut variables = match parsed(columns, KWARGS, value)?.into_owned() {
        Value::Object(variables) => variables,
        // CSV has an empty text where a row has none.
        Value::String(text) if text.trim().is_empty() => Map::new(),
        other => return Err(wrong(format!("must be an object, not {}", kind(&other)))),
    };
    variables.retain(|_, value| !value.is_null());
    match variables.keys().find(|name| TAKEN.contains(&name.as_str())) {
        None => Ok(variables),
        Some(name) if name == "chat_template" => Err(wrong(
            "chat_template is not chosen by row: data.chat_template names the one of all rows"
                .to_owned(),
        )),
        Some(name) => Err(wrong(format!(
            "{name} is an argument of apply_chat_template that is not the row's to set; remove it"
        ))),
    }
}

/// The value, or the JSON that it holds as text.
pub(super) fn parsed<'a>(
    columns: &Columns<'_>,
    name: &str,
    value: &'a Value,
) -> Result<Cow<'a, Value>> {
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

/// The messages, each with a text, and what they say of themselves.
fn checked(
    columns: &Columns<'_>,
    ours: &str,
    value: &Value,
) -> Result<(Vec<Value>, Vec<Option<bool>>)> {
    let list = value
        .as_array()
        .ok_or_else(|| columns.error(ours, format!("must be a list, not {}", kind(value))))?;
    if list.is_empty() {
        return Err(columns.error(ours, "must hold at least one message"));
    }
    let (mut messages, mut marks) = (list.clone(), Vec::with_capacity(list.len()));
    for (index, message) in messages.iter_mut().enumerate() {
        let at = index + 1;
        // No template knows ShareGPT's names, which Axolotl takes here too.
        let role = match message["role"].as_str() {
            Some("human") => "user".into(),
            Some("gpt") => "assistant".into(),
            Some(other) => Value::from(other),
            None => {
                return Err(columns.error(
                    ours,
                    format!("message {at} has no role (system, user, assistant or tool)"),
                ));
            }
        };
        message["role"] = role;
        let wrong = |told: String| columns.error(ours, format!("message {at}: {told}"));
        let content = message.get("content").cloned().unwrap_or_default();
        marks.push(marks::mark(message, &content).map_err(wrong)?);
        match marks::joined(&content).map_err(wrong)? {
            Some(text) => message["content"] = text.into(),
            None => {
                let calls = message
                    .get("tool_calls")
                    .is_some_and(|calls| !calls.is_null());
                if !(content.is_null() && calls) {
                    return Err(columns.error(
                        ours,
                        format!(
                            "content of message {at} must be text, not {}",
                            kind(&content)
                        ),
                    ));
                }
            }
        }
    }
    Ok((messages, marks))
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

/// The text in pieces: those of `ranges` are learned, or with `learned` false those between them.
fn cut(text: &str, ranges: &[Range<usize>], learned: bool) -> Vec<Piece> {
    let piece = |range: Range<usize>, trained: bool| Piece {
        text: text[range].to_owned(),
        trained,
    };
    let mut pieces = Vec::new();
    let mut cursor = 0;
    for turn in ranges {
        pieces.push(piece(cursor..turn.start, !learned));
        pieces.push(piece(turn.clone(), learned));
        cursor = turn.end;
    }
    pieces.push(piece(cursor..text.len(), !learned));
    pieces
}
