use std::ops::Range;

use serde_json::Value as Json;

use super::{ChatTemplate, Conversation};
use crate::{Error, Result};

/// A rendered conversation and where its assistant turns stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turns {
    /// The whole conversation.
    pub text: String,
    /// Byte ranges of what the assistant writes, its end-of-turn token included, in order.
    pub assistant: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Renders a conversation and finds what the assistant writes in it.
    ///
    /// A template with `{% generation %}` blocks says so itself. With any other, a turn is what rendering the
    /// conversation up to it adds to the conversation before it with an open assistant turn; where a template
    /// renders earlier turns differently later on (some drop the reasoning), a part of the turn is marked and looked up.
    ///
    /// # Errors
    /// [`Error::Input`] where rendering fails or a turn cannot be found.
    pub fn turns(&self, conversation: Conversation<'_>) -> Result<Turns> {
        if self.marks_generation {
            self.marked_turns(conversation)
        } else {
            self.found_turns(conversation)
        }
    }

    fn marked_turns(&self, conversation: Conversation<'_>) -> Result<Turns> {
        let marks = unused_marks(conversation)?;
        let marked = self.render_marked(
            &super::normalized(conversation.messages),
            conversation,
            false,
            Some(marks),
        )?;
        let (mut text, mut assistant, mut open) = (String::new(), Vec::new(), None);
        for character in marked.chars() {
            if character == marks.0 {
                open = Some(text.len());
            } else if character == marks.1 {
                if let Some(start) = open.take() {
                    assistant.push(start..text.len());
                }
            } else {
                text.push(character);
            }
        }
        Ok(Turns { text, assistant })
    }

    fn found_turns(&self, conversation: Conversation<'_>) -> Result<Turns> {
        let text = self.render(conversation, false)?;
        let messages = conversation.messages;
        let mut assistant = Vec::new();
        let mut cursor = 0;
        for (index, message) in messages.iter().enumerate() {
            if message["role"] != "assistant" {
                continue;
            }
            let up_to = |end: usize, open: bool| {
                let part = Conversation {
                    messages: &messages[..end],
                    ..conversation
                };
                // A template may refuse a part of a conversation that it takes as a whole.
                self.render(part, open).ok()
            };
            let after = up_to(index + 1, false);
            let (before, opened) = (up_to(index, false), up_to(index, true));
            // A template may open no turn, or open it otherwise than it writes it later.
            let opened =
                opened.filter(|opened| before.as_ref().is_none_or(|other| opened != other));
            let turn = by_prefixes(
                &text,
                before,
                opened.as_deref(),
                after.as_deref(),
                message,
            )
            .or_else(|| {
                let opened = opened.as_deref().filter(|opened| text.starts_with(opened));
                self.by_marks(conversation, index, &text, opened, after.as_deref())
                    .or_else(|| searched(&text, cursor, after.as_deref(), message))
            })
            .filter(|turn| turn.start >= cursor)
            .ok_or_else(|| {
                Error::Input(format!(
                    "chat template: cannot tell where the assistant's turn (message {}) stands in the rendered \
                     conversation; put {{% generation %}} … {{% endgeneration %}} around it in the template, \
                     or set data.train_on = \"all\"",
                    index + 1
                ))
            })?;
            cursor = turn.end;
            assistant.push(turn);
        }
        Ok(Turns { text, assistant })
    }

    /// The turn of a template that writes it otherwise once more follows (some drop its reasoning). A stretch of the
    /// message is marked, which tells where it stands then and what follows it in the turn; `opened` is the text up to
    /// the turn, where the whole text begins with it.
    fn by_marks(
        &self,
        conversation: Conversation<'_>,
        index: usize,
        text: &str,
        opened: Option<&str>,
        after: Option<&str>,
    ) -> Option<Range<usize>> {
        let marks = unused_marks(conversation).ok()?;
        let messages = conversation.messages;
        let stretches = stretches(&messages[index], marks);
        stretches.into_iter().find_map(|(marked, begins)| {
            let found = |end: usize, text: &str| {
                let mut part = messages[..end].to_vec();
                part[index] = marked.clone();
                let part = Conversation {
                    messages: &part,
                    ..conversation
                };
                between(&self.render(part, false).ok()?, marks, text)
            };
            let stretch = found(messages.len(), text)?;
            let rest = after
                .and_then(|after| after.get(found(index + 1, after)?.end..))
                .filter(|rest| text[stretch.end..].starts_with(rest));
            let opened = opened.map(str::len).filter(|start| *start <= stretch.start);
            match begins {
                true => Some((opened.unwrap_or(stretch.start), rest.unwrap_or_default())),
                false => opened.zip(rest),
            }
            .map(|(start, rest)| start..stretch.end + rest.len())
        })
    }
}

/// The message with marks around its text, around what follows its reasoning there, or around the name of the last tool
/// that it calls; and whether the turn can begin with that.
fn stretches(message: &Json, (open, close): (char, char)) -> Vec<(Json, bool)> {
    let around = |text: &str| {
        let inner = text.trim();
        (!inner.is_empty()).then(|| text.replacen(inner, &format!("{open}{inner}{close}"), 1))
    };
    let content = message["content"].as_str().unwrap_or_default();
    let answer = content
        .rsplit_once("</think>")
        .and_then(|(before, answer)| Some(format!("{before}</think>{}", around(answer)?)));
    let texts = around(content).into_iter().chain(answer);
    let mut all: Vec<(Json, bool)> = texts
        .map(|text| {
            let mut marked = message.clone();
            marked["content"] = text.into();
            (marked, true)
        })
        .collect();
    let mut marked = message.clone();
    let call = marked.get_mut("tool_calls").and_then(Json::as_array_mut);
    let name = call.and_then(|calls| match calls.last_mut()? {
        call if call.get("function").is_some() => call["function"].get_mut("name"),
        call => call.get_mut("name"),
    });
    if let Some(name) = name
        && let Some(around) = name.as_str().and_then(around)
    {
        *name = around.into();
        all.push((marked, false));
    }
    all
}

/// Where what stands between the marks stands in the text without them; `None` where they are not there once each, or
/// changed something else.
fn between(marked: &str, (open, close): (char, char), text: &str) -> Option<Range<usize>> {
    let (before, rest) = marked.split_once(open)?;
    let (stretch, behind) = rest.split_once(close)?;
    (text == [before, stretch, behind].concat()).then(|| before.len()..before.len() + stretch.len())
}

fn by_prefixes(
    text: &str,
    before: Option<String>,
    opened: Option<&str>,
    after: Option<&str>,
    message: &Json,
) -> Option<Range<usize>> {
    let after = after.filter(|after| text.starts_with(after))?;
    if let Some(opened) = opened
        && after.starts_with(opened)
        && opened.len() < after.len()
    {
        return Some(opened.len()..after.len());
    }
    // The turn begins with its text.
    let from = before
        .filter(|before| after.starts_with(before.as_str()))
        .map_or(0, |before| before.len());
    let found = by_content(after, from, message)?;
    Some(found.start..after.len())
}

/// The turn's text from `cursor` on, with the end of turn that the template writes after it.
fn searched(
    text: &str,
    cursor: usize,
    after: Option<&str>,
    message: &Json,
) -> Option<Range<usize>> {
    let turn = by_content(text, cursor, message)?;
    let content = &text[turn.clone()];
    let end_of_turn = after
        .and_then(|after| Some(&after[after.rfind(content)? + content.len()..]))
        .filter(|end| text[turn.end..].starts_with(end))
        .map_or(0, str::len);
    Some(turn.start..turn.end + end_of_turn)
}

fn by_content(text: &str, from: usize, message: &Json) -> Option<Range<usize>> {
    let content = message["content"].as_str()?.trim();
    if content.is_empty() {
        return None;
    }
    let start = from + text.get(from..)?.find(content)?;
    Some(start..start + content.len())
}

/// Two characters that stand nowhere in the conversation: Unicode keeps some that no text may use.
fn unused_marks(conversation: Conversation<'_>) -> Result<(char, char)> {
    let text: String = conversation
        .messages
        .iter()
        .chain(conversation.tools)
        .chain(conversation.documents)
        .map(Json::to_string)
        .chain(conversation.variables.map(|map| format!("{map:?}")))
        .collect();
    let mut free = ('\u{FDD0}'..='\u{FDEF}').filter(|mark| !text.contains(*mark));
    free.next().zip(free.next()).ok_or_else(|| {
        Error::Input("the conversation uses every one of Unicode's noncharacters".to_owned())
    })
}
