//! A conversation as a template writes it.

use std::io;

use minijinja::{State, Value, value::Kwargs};
use serde_json::Value as Json;

use super::{
    ChatTemplate, Conversation, DEFAULT, Ending, TOOL_USE, TRAINED, clock, methods, no_default,
    python, told,
};
use crate::{Error, Result};

/// Instructions that a template may take beyond those for the size of its input.
const FUEL: u64 = 5_000_000;
/// Bytes that a template may write beyond a multiple of the size of its input.
const OUTPUT_BYTES: usize = 1 << 20;
/// Put behind the final message that is to be gone on with, to find it again: as in Transformers, with a blank that
/// tells whether the template trims.
const CONTINUED: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

impl ChatTemplate {
    /// The conversation as text; `add_generation_prompt` opens the assistant's turn.
    ///
    /// # Errors
    /// [`Error::Input`] when the template refuses the conversation (`raise_exception`), takes too long or writes
    /// too much.
    pub fn render(
        &self,
        conversation: Conversation<'_>,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let messages = normalized(conversation.messages);
        self.render_marked(&messages, conversation, add_generation_prompt, None)
    }

    /// The conversation as text, with an ending: what `apply_chat_template(tokenize=False)` gives.
    ///
    /// # Errors
    /// As [`Self::render`], and where the field to go on with is missing or the template drops it.
    pub fn render_ending(
        &self,
        conversation: Conversation<'_>,
        ending: Ending<'_>,
    ) -> Result<String> {
        match ending {
            Ending::Closed => self.render(conversation, false),
            Ending::Prompt => self.render(conversation, true),
            Ending::Continue(field) => self.continued(conversation, field),
        }
    }

    fn continued(&self, conversation: Conversation<'_>, field: &str) -> Result<String> {
        let fault = |what: &str| Error::Input(format!("continue_final_message: {what}"));
        let mut messages = normalized(conversation.messages);
        let last = messages
            .last_mut()
            .ok_or_else(|| fault("the conversation is empty"))?;
        let text = last
            .get(field)
            .cloned()
            .ok_or_else(|| fault(&format!("the final message has no {field:?}")))?;
        let fields: Vec<&str> = match python::REASONING.contains(&field) {
            true => python::REASONING
                .into_iter()
                .filter(|name| last.get(name) == Some(&text))
                .collect(),
            false => vec![field],
        };
        if !fields
            .iter()
            .any(|field| self.sources.iter().any(|source| source.contains(field)))
        {
            return Err(fault(&format!("the chat template does not read {field:?}")));
        }
        let begun = match &text {
            Json::Array(parts) => parts.iter().rev().find_map(|part| part["text"].as_str()),
            other => other.as_str(),
        }
        .ok_or_else(|| fault("the final message holds no text to go on with"))?
        .to_owned();
        for field in fields {
            let tagged = Json::from(begun.clone() + CONTINUED);
            match &mut last[field] {
                Json::Array(parts) => {
                    if let Some(part) = parts.iter_mut().rev().find(|part| part["text"].is_string())
                    {
                        part["text"] = tagged;
                    }
                }
                other => *other = tagged,
            }
        }
        let mut rendered = self.render_marked(&messages, conversation, false, None)?;
        let found = rendered
            .rfind(CONTINUED.trim_end())
            .filter(|_| rendered.contains(methods::stripped(&begun, None, true, true)))
            .ok_or_else(|| {
                fault("the final message does not stand in the rendered chat: the template drops a part of it")
            })?;
        // Where the tag's blank is gone the template trims, so it would have trimmed the message too.
        let trims = !rendered[found..].starts_with(CONTINUED);
        rendered.truncate(found);
        if trims {
            rendered.truncate(methods::stripped(&rendered, None, false, true).len());
        }
        Ok(rendered)
    }

    /// The messages as text, with what `{% generation %}` encloses between the two characters of `marks`.
    pub(super) fn render_marked(
        &self,
        messages: &[Json],
        conversation: Conversation<'_>,
        add_generation_prompt: bool,
        marks: Option<(char, char)>,
    ) -> Result<String> {
        let mut environment = self.environment.clone();
        let size = size_of(conversation);
        environment.set_fuel(Some(FUEL + 64 * size as u64));
        environment.add_function(TRAINED, move |state: &mut State<'_, '_>, kwargs: Kwargs| {
            let body: Value = kwargs.get("caller")?;
            let text = body.call(state, &[])?.to_string();
            Ok::<_, minijinja::Error>(match marks {
                Some((open, close)) => format!("{open}{text}{close}"),
                None => text,
            })
        });
        let now = self
            .now
            .unwrap_or_else(|| chrono::Local::now().naive_local());
        environment.add_function("strftime_now", move |format: &str| {
            clock::strftime(now, format)
        });
        let mut context: Vec<(&str, Value)> = vec![
            ("messages", messages.iter().map(python::value).collect()),
            ("add_generation_prompt", add_generation_prompt.into()),
            // Transformers passes these always, and templates ask `is none` of them.
            ("tools", conversation.tools.map(python::value).into()),
            (
                "documents",
                conversation.documents.map(python::value).into(),
            ),
        ];
        for (name, token) in &self.special {
            context.push((name, token.as_str().into()));
        }
        for (name, value) in conversation.variables.into_iter().flatten() {
            context.retain(|(other, _)| other != name);
            context.push((name, python::value(value)));
        }
        let has_tool_use = environment.get_template(TOOL_USE).is_ok();
        let name = match conversation.tools {
            Some(tools) if has_tool_use && !tools.is_null() => TOOL_USE,
            _ => DEFAULT,
        };
        if environment.get_template(name).is_err() {
            return Err(no_default([TOOL_USE].into_iter()));
        }
        let mut output = Capped {
            bytes: Vec::new(),
            left: OUTPUT_BYTES + 16 * size,
        };
        environment
            .get_template(name)
            .and_then(|template| {
                template
                    .render_captured_to(Value::from_pairs(context), &mut output)
                    .map(drop)
            })
            .map_err(|error| told(&error))?;
        String::from_utf8(output.bytes)
            .map_err(|_| Error::Input("chat template: wrote no UTF-8".to_owned()))
    }
}

/// Messages as Transformers hands them to a template.
pub(super) fn normalized(messages: &[Json]) -> Vec<Json> {
    messages.iter().map(python::message).collect()
}

fn size_of(conversation: Conversation<'_>) -> usize {
    let messages: usize = conversation
        .messages
        .iter()
        .map(|message| message.to_string().len())
        .sum();
    let others = [conversation.tools, conversation.documents];
    let variables = conversation.variables.into_iter().flatten();
    messages
        + others
            .into_iter()
            .flatten()
            .chain(variables.map(|(_, value)| value))
            .map(|json| json.to_string().len())
            .sum::<usize>()
}

struct Capped {
    bytes: Vec<u8>,
    left: usize,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or_else(|| io::Error::other("output cap"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
