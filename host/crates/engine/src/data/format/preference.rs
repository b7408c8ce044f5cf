use std::borrow::Cow;

use serde_json::Value;

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
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
];

/// `{"prompt", "chosen", "rejected", "tools"?}`, each a text or, all of them, lists of messages that the chat template
/// writes. Lists may leave the prompt out: it is then the messages that both have in common. The completions carry
/// labels, the prompt never does. As TRL's `DPOTrainer` encodes them: a text ends with the end-of-document token, and
/// a completion begins where it parts from the prompt with an open assistant turn. LLaMA-Factory's
/// `{"conversations", "chosen", "rejected"}`, each of the last two one turn, is the same with the conversation as the
/// prompt, and so is Axolotl's with `messages`; its `input` stands in the line after a prompt that is a text.
pub(super) fn contents(columns: &Columns<'_>, encoder: &Encoder) -> Result<(Content, Content)> {
    let (chosen, rejected) = (columns.value("chosen")?, columns.value("rejected")?);
    if chosen.is_string() || rejected.is_string() {
        let prompt = match columns.optional_text("input")? {
            Some(input) if !input.is_empty() => {
                Cow::from(format!("{}\n{input}", columns.text("prompt")?))
            }
            _ => Cow::from(columns.text("prompt")?),
        };
        let content = |completion: &str| Content::Text {
            pieces: vec![Piece::given(prompt.as_ref()), Piece::trained(completion)],
            special: true,
            end: !completion.is_empty(),
        };
        return Ok((
            content(columns.text("chosen")?),
            content(columns.text("rejected")?),
        ));
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
        );
    }
    let chosen = messages(columns, "chosen", chosen)?;
    let rejected = messages(columns, "rejected", rejected)?;
    let prompt = match columns.optional("prompt") {
        Some(prompt) => messages(columns, "prompt", prompt)?,
        None => &[],
    };
    let shared = match prompt {
        // An explicit prompt: the completions hold what follows it.
        [_, ..] => 0,
        [] => {
            let most = chosen.len().min(rejected.len()).saturating_sub(1);
            let same = chosen.iter().zip(rejected).take(most);
            same.take_while(|(a, b)| a == b).count()
        }
    };
    let mut before = prompt.to_vec();
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
    )
}

/// Both answers to what was said before, as the chat template writes them.
fn written(
    columns: &Columns<'_>,
    encoder: &Encoder,
    before: &[Value],
    chosen: &[Value],
    rejected: &[Value],
) -> Result<(Content, Content)> {
    let template = encoder.optional_template().ok_or_else(|| {
        columns.error(
            "chosen",
            "is a list of messages, and the model has no chat template; set data.chat_template",
        )
    })?;
    let tools = chats::tools(columns)?;
    let render = |messages: &[Value], open: bool| {
        let conversation = Conversation {
            messages,
            tools: tools.as_deref(),
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
