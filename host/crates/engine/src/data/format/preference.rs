use serde_json::{Value, json};

use super::alpaca::asked;
use super::{Columns, Content, messages as chats, sharegpt};
use crate::{
    Result, chat::Conversation, data::encode::Encoder, data::read::kind, tokenizer::Piece,
};

/// The columns; those of a conversation are LLaMA-Factory's, and Axolotl's `messages` for its name.
pub(super) const COLUMNS: &[&str] = &[
    "prompt",
    "input",
    "chosen",
    "rejected",
    "conversations",
    "messages",
    "system",
    "tools",
    chats::KWARGS,
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
];

/// `{"prompt", "chosen", "rejected", "tools"?, "chat_template_kwargs"?}`, each a text or, all of them, lists of messages that the chat template
/// writes. The prompt may be left out: it is then what both begin with, and so it is where the prompt is a text beside lists
/// that hold it too. The completions carry labels, the prompt never does. As TRL's `DPOTrainer` encodes them: a text ends with
/// the end-of-document token, and a completion begins where it parts from the prompt with an open assistant turn.
/// LLaMA-Factory's `{"conversations", "chosen", "rejected"}`, each of the last two one turn, is the same with the conversation as the
/// prompt, and so is Axolotl's with `messages`; its `input` stands in the line after a prompt that is a text.
pub(super) fn contents(columns: &Columns<'_>, encoder: &Encoder) -> Result<(Content, Content)> {
    let (chosen, rejected) = (columns.value("chosen")?, columns.value("rejected")?);
    if chosen.is_string() || rejected.is_string() {
        return texts(columns, encoder);
    }
    let has = |ours: &&str| columns.optional(ours).is_some();
    let asked = ["conversations", "messages"].into_iter().find(has);
    // A list is a whole conversation, as in sets that have their messages for other uses.
    if let Some(asked) = asked.filter(|asked| *asked == "conversations" || chosen.is_object()) {
        let answers = ["chosen", "rejected"].map(|name| sharegpt::turn(columns, name));
        let [chosen, rejected] = answers;
        return written(
            columns,
            encoder,
            &sharegpt::turns(columns, asked)?,
            &[chosen?],
            &[rejected?],
            chats::tools(columns)?.as_deref(),
        );
    }
    let chosen = messages(columns, "chosen", chosen)?;
    let rejected = messages(columns, "rejected", rejected)?;
    let most = chosen.len().min(rejected.len()).saturating_sub(1);
    let same = chosen.iter().zip(rejected).take(most);
    let same = same.take_while(|(a, b)| a == b).count();
    let (mut before, shared) = match columns.optional("prompt") {
        // What they begin with says it better: a text is the first question of it at most.
        Some(Value::String(_)) if same > 0 => (Vec::new(), same),
        Some(Value::String(text)) => (vec![json!({"role": "user", "content": text})], 0),
        // An explicit prompt: the completions hold what follows it.
        Some(prompt) => (messages(columns, "prompt", prompt)?.to_vec(), 0),
        None => (Vec::new(), same),
    };
    before.extend_from_slice(&chosen[..shared]);
    if before.is_empty() {
        return Err(columns.error(
            "prompt",
            "is missing, and chosen and rejected do not begin with the same messages",
        ));
    }
    written(
        columns,
        encoder,
        &before,
        &chosen[shared..],
        &rejected[shared..],
        chats::tools(columns)?.as_deref(),
    )
}

/// Two texts after a text, which may be what they begin with. A set that LLaMA-Factory's `dataset_info.json` describes goes
/// through the chat template, where the model has one.
fn texts(columns: &Columns<'_>, encoder: &Encoder) -> Result<(Content, Content)> {
    let (chosen, rejected) = (columns.text("chosen")?, columns.text("rejected")?);
    let is_asked = ["prompt", "input"]
        .iter()
        .any(|name| columns.optional(name).is_some());
    let (prompt, shared) = match is_asked {
        true => (asked(columns, "prompt")?, 0),
        false => {
            let shared = shared(chosen, rejected);
            if shared == 0 {
                let message = "is missing, and chosen and rejected do not begin with the same text";
                return Err(columns.error("prompt", message));
            }
            (chosen[..shared].to_owned(), shared)
        }
    };
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    if columns.config.by_template && encoder.optional_template().is_some() {
        let answers = [chosen, rejected].map(|answer| [turn("assistant", answer)]);
        return written(
            columns,
            encoder,
            &[turn("user", &prompt)],
            &answers[0],
            &answers[1],
            None,
        );
    }
    let content = |completion: &str| Content::Text {
        pieces: vec![Piece::given(prompt.as_str()), Piece::trained(completion)],
        special: true,
        end: !completion.is_empty(),
    };
    Ok((content(&chosen[shared..]), content(&rejected[shared..])))
}

/// Bytes that two texts begin with alike, without a blank at their end: it belongs to the word after it, as in TRL.
fn shared(one: &str, other: &str) -> usize {
    let ends = one.char_indices().map(|(at, sign)| at + sign.len_utf8());
    let same = ends.zip(one.chars().zip(other.chars()));
    let same = same
        .take_while(|(_, (one, other))| one == other)
        .map(|(end, _)| end);
    // Neither may be left without a word.
    let end = same
        .take_while(|end| *end < one.len().min(other.len()))
        .last()
        .unwrap_or(0);
    one[..end].strip_suffix(' ').map_or(end, str::len)
}

/// Both answers to what was said before, as the chat template writes them.
fn written(
    columns: &Columns<'_>,
    encoder: &Encoder,
    before: &[Value],
    chosen: &[Value],
    rejected: &[Value],
    tools: Option<&Value>,
) -> Result<(Content, Content)> {
    let template = encoder.optional_template().ok_or_else(|| {
        columns.error(
            "chosen",
            "is a list of messages, and the model has no chat template; set data.chat_template",
        )
    })?;
    let variables = chats::variables(columns)?;
    let render = |messages: &[Value], open: bool| {
        let conversation = Conversation {
            messages,
            tools,
            variables: Some(&variables),
            ..Conversation::default()
        };
        template
            .render(conversation, open)
            .map_err(|error| columns.row.origin.error(error.to_string()))
    };
    let given = render(before, true)?;
    let content = |after: &[Value]| -> Result<Content> {
        let whole = render(&[before, after].concat(), false)?;
        let same = given
            .char_indices()
            .zip(whole.chars())
            .find(|((_, a), b)| a != b)
            .map_or(given.len().min(whole.len()), |((at, _), _)| at);
        Ok(Content::Text {
            pieces: vec![Piece::given(&whole[..same]), Piece::trained(&whole[same..])],
            special: false,
            end: false,
        })
    };
    Ok((content(chosen)?, content(rejected)?))
}

fn messages<'a>(columns: &Columns<'_>, ours: &str, value: &'a Value) -> Result<&'a [Value]> {
    let messages = value.as_array().ok_or_else(|| {
        let message = format!(
            "must be a list of messages as the other columns are, not {}",
            kind(value)
        );
        columns.error(ours, message)
    })?;
    for (index, message) in messages.iter().enumerate() {
        if !message["role"].is_string() || !message["content"].is_string() {
            return Err(columns.error(
                ours,
                format!("message {} must have a role and a content", index + 1),
            ));
        }
    }
    if messages.is_empty() {
        return Err(columns.error(ours, "must hold at least one message"));
    }
    Ok(messages)
}
