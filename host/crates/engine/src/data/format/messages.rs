use std::ops::Range;

use domain::TrainOn;
use serde_json::Value;

use super::{Columns, Content};
use crate::{
    Result, chat::Conversation, data::encode::Encoder, data::read::kind, tokenizer::Piece,
};

/// `{"messages": [{"role", "content"}], "tools"?}`, written by the chat template. What the assistant writes, its
/// end of turn included, is learned: the last turn (`completion`), every turn (`assistant`), or everything (`all`).
pub(super) fn content(columns: &Columns<'_>, encoder: &Encoder) -> Result<Content> {
    let messages = checked(columns)?;
    let conversation = Conversation {
        messages,
        tools: columns.optional("tools"),
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

fn checked<'a>(columns: &Columns<'a>) -> Result<&'a [Value]> {
    let value = columns.value("messages")?;
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
        let calls = message.get("tool_calls").is_some();
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
