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
    /// conversation up to it adds to the conversation before it with an open assistant turn; where a template opens none, or
    /// renders earlier turns differently later on (some drop the reasoning), a part of the turn is marked, and the marks are
    /// looked for in what is written then. Its text is not looked for: a short one stands in other places too.
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
            &super::render::normalized(conversation.messages),
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
            let turn = by_prefixes(&text, opened.as_deref(), after.as_deref())
                .or_else(|| {
                    let opened = opened.as_deref().filter(|opened| text.starts_with(opened));
                    self.by_marks(conversation, index, &text, opened, after.as_deref())
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

    /// The turn of a template that opens none, or that writes it otherwise once more follows (some drop its reasoning). A stretch of
    /// the message is marked, which tells where it stands then and what follows it in the turn; `opened` is the text up to
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
        let stretches = stretches(&messages[index]);
        stretches.into_iter().find_map(|stretch| {
            let found = |end: usize, text: &str| {
                let rendered = |before: &str, behind: &str| {
                    let mut part = messages[..end].to_vec();
                    part[index] = stretch.marked(before, behind);
                    let part = Conversation {
                        messages: &part,
                        ..conversation
                    };
                    self.render(part, false).ok()
                };
                let [open, close] = [marks.0, marks.1].map(String::from);
                between(&rendered(&open, &close)?, marks, text).or_else(|| {
                    // Both at once may change what lies between: what begins with a mark has no letter to begin with.
                    let opens = rendered(&open, "")?;
                    let (before, _) = opens.split_once(marks.0)?;
                    let end = at(&rendered("", &close)?, marks.1, text)?;
                    (text.starts_with(before) && before.len() <= end).then_some(before.len()..end)
                })
            };
            let place = found(messages.len(), text)?;
            let rest = after
                .and_then(|after| after.get(found(index + 1, after)?.end..))
                .filter(|rest| text[place.end..].starts_with(rest));
            let opened = opened.map(str::len).filter(|start| *start <= place.start);
            match stretch.begins {
                true => Some((opened.unwrap_or(place.start), rest.unwrap_or_default())),
                false => opened.zip(rest),
            }
            .map(|(start, rest)| start..place.end + rest.len())
        })
    }
}

/// A part of a message that is written as it is.
struct Stretch {
    message: Json,
    place: Place,
    /// The text around it in its place.
    around: [String; 2],
    text: String,
    /// The turn can begin with it.
    begins: bool,
}

enum Place {
    Content,
    /// The name of the last tool that is called.
    Call,
}

impl Stretch {
    fn new(message: &Json, place: Place, whole: &str, from: usize) -> Option<Self> {
        let inner = whole[from..].trim();
        let start = whole.len() - whole[from..].trim_start().len();
        (!inner.is_empty()).then(|| Self {
            message: message.clone(),
            begins: matches!(place, Place::Content),
            place,
            around: [&whole[..start], &whole[start + inner.len()..]].map(str::to_owned),
            text: inner.to_owned(),
        })
    }

    /// The message with something right before the stretch and right behind it.
    fn marked(&self, before: &str, behind: &str) -> Json {
        let [left, right] = &self.around;
        let whole = [left, before, &self.text, behind, right].concat();
        let mut message = self.message.clone();
        match self.place {
            Place::Content => message["content"] = whole.into(),
            Place::Call => {
                if let Some(name) = called(&mut message) {
                    *name = whole.into();
                }
            }
        }
        message
    }
}

/// The name of the last tool that a message calls.
fn called(message: &mut Json) -> Option<&mut Json> {
    let calls = message.get_mut("tool_calls")?.as_array_mut()?;
    match calls.last_mut()? {
        call if call.get("function").is_some() => call["function"].get_mut("name"),
        call => call.get_mut("name"),
    }
}

/// The message's text, what follows its reasoning there, and the name of the last tool that it calls.
fn stretches(message: &Json) -> Vec<Stretch> {
    let content = message["content"].as_str().unwrap_or_default();
    let whole = Stretch::new(message, Place::Content, content, 0);
    let answer = content.rfind("</think>").map(|at| at + "</think>".len());
    let answer = answer.and_then(|at| Stretch::new(message, Place::Content, content, at));
    let name = called(&mut message.clone()).and_then(|name| Some(name.as_str()?.to_owned()));
    let call = name.and_then(|name| Stretch::new(message, Place::Call, &name, 0));
    [whole, answer, call].into_iter().flatten().collect()
}

/// Where what stands between the marks stands in the text without them; `None` where they are not there once each, or
/// changed something else.
fn between(marked: &str, (open, close): (char, char), text: &str) -> Option<Range<usize>> {
    let (before, rest) = marked.split_once(open)?;
    let (stretch, behind) = rest.split_once(close)?;
    (text == [before, stretch, behind].concat()).then(|| before.len()..before.len() + stretch.len())
}

/// Where a mark stands in the text without it; `None` where it is not there once, or changed something else.
fn at(marked: &str, mark: char, text: &str) -> Option<usize> {
    let (before, behind) = marked.split_once(mark)?;
    (text == [before, behind].concat()).then_some(before.len())
}

/// What a turn adds to what opens it, where both are what the whole text begins with.
fn by_prefixes(text: &str, opened: Option<&str>, after: Option<&str>) -> Option<Range<usize>> {
    let after = after.filter(|after| text.starts_with(after))?;
    let opened = opened.filter(|opened| after.starts_with(opened))?;
    (opened.len() < after.len()).then_some(opened.len()..after.len())
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
