//! Conversations as text: a model's Jinja chat template, rendered as Transformers renders it.
//!
//! Templates come from model folders, which are downloads: they run without a loader, with a budget of
//! instructions and a cap on what they write.

mod clock;
mod filters;
mod methods;
mod python;
mod turns;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, io, sync::Arc};

use chrono::NaiveDateTime;
use minijinja::{
    Environment, ErrorKind, State, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, ValueKind},
};
use serde_json::{Map, Value as Json};

use crate::{
    Error, Result,
    tokenizer::{SpecialTokens, Tokenizer},
};

pub use turns::Turns;

/// Instructions that a template may take beyond those for the size of its input.
const FUEL: u64 = 5_000_000;
/// Bytes that a template may write beyond a multiple of the size of its input.
const OUTPUT_BYTES: usize = 1 << 20;
/// The function whose call block stands in for a `{% generation %}` block.
const TRAINED: &str = "__trained";
/// The template for conversations without tools, or for all where there is one only.
const DEFAULT: &str = "default";
/// The template for conversations with tools, where a model has one of its own.
const TOOL_USE: &str = "tool_use";
/// Put behind the final message that is to be gone on with, to find it again: as in Transformers, with a blank that
/// tells whether the template trims.
const CONTINUED: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// How minijinja begins to say that Python's `"%s" % x` is not there: its operators cannot be added to.
const PERCENT_OF_TEXT: &str = "tried to use % operator on unsupported types string";

/// A chat template, ready to render.
pub struct ChatTemplate {
    environment: Environment<'static>,
    marks_generation: bool,
    special: Vec<(&'static str, String)>,
    /// Names that templates read are looked up here, as Transformers does.
    sources: Vec<String>,
    now: Option<NaiveDateTime>,
}

/// A conversation: what a template gets to see.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conversation<'a> {
    /// `{"role", "content", …}` objects.
    pub messages: &'a [Json],
    /// Tools in the form of the row; `None` where the row has none.
    pub tools: Option<&'a Json>,
    /// `{"title", "text"}` objects to answer from.
    pub documents: Option<&'a Json>,
    /// Further variables of the template (`chat_template_kwargs`), such as `enable_thinking`.
    pub variables: Option<&'a Map<String, Json>>,
}

/// How a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending<'a> {
    /// As its last message ends.
    Closed,
    /// With an open turn of the assistant: Transformers' `add_generation_prompt`.
    Prompt,
    /// In the middle of the last message's field of this name (`content`): Transformers' `continue_final_message`.
    Continue(&'a str),
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`Error::Input`] with the line of a syntax error.
    pub fn new(source: &str, special: &SpecialTokens) -> Result<Self> {
        let mut template = Self::empty(special)?;
        template.add(DEFAULT, source)?;
        Ok(template)
    }

    fn empty(special: &SpecialTokens) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|error| Error::Input(format!("chat template: {error}")))?,
        );
        environment.set_unknown_method_callback(methods::call);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
                Ok(out.write_str(&python::text(value))?)
            }
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment.add_function("raise_exception", |message: String| {
            Err::<Value, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        // Jinja has none of that name.
        environment.remove_global("debug");
        filters::install(&mut environment);
        Ok(Self {
            environment,
            marks_generation: false,
            special: special.named(),
            sources: Vec::new(),
            now: None,
        })
    }

    /// The template of a tokenizer's folder, with the one for tools where it has one.
    ///
    /// # Errors
    /// The folder holds none that could be chosen without a name, or one with a syntax error.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let named = || tokenizer.chat_templates();
        if named().next().is_none() {
            return Err(Error::Input(
                "the tokenizer has no chat template (chat_template.jinja, or chat_template in \
                 tokenizer_config.json); use the instruct variant of the model"
                    .to_owned(),
            ));
        }
        if !named().any(|(name, _)| [DEFAULT, TOOL_USE].contains(&name)) {
            return Err(no_default(named().map(|(name, _)| name)));
        }
        let mut template = Self::empty(tokenizer.special_tokens())?;
        for usual in [DEFAULT, TOOL_USE] {
            if let Some((_, source)) = named().find(|(name, _)| *name == usual) {
                template.add(usual, source)?;
            }
        }
        Ok(template)
    }

    /// The template that a person asks for, as Transformers' argument `chat_template`: one of the tokenizer's by its name, or one
    /// that is given whole; the tokenizer's own where nothing is asked for.
    ///
    /// # Errors
    /// As [`Self::of`], and for a word that is neither a name nor a template.
    pub fn asked(tokenizer: &Tokenizer, asked: Option<&str>) -> Result<Self> {
        let Some(asked) = asked else {
            return Self::of(tokenizer);
        };
        let mut named = tokenizer.chat_templates();
        if let Some((_, source)) = named.find(|(name, _)| *name == asked.trim()) {
            return Self::new(source, tokenizer.special_tokens());
        }
        // Transformers would write the word itself for every conversation.
        if !["{{", "{%"].iter().any(|begin| asked.contains(begin)) {
            let names: Vec<&str> = tokenizer.chat_templates().map(|(name, _)| name).collect();
            let there = match names.is_empty() {
                true => "none".to_owned(),
                false => names.join(", "),
            };
            return Err(Error::Input(format!(
                "chat template: {asked:?} is no template of Jinja and no name of the tokenizer's; it has {there}"
            )));
        }
        Self::new(asked, tokenizer.special_tokens())
    }

    fn add(&mut self, name: &'static str, source: &str) -> Result<()> {
        // As Jinja reads a template, whatever its line ends.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let (compiled, marks) = without_generation_tags(&with_raw_lines(&source));
        self.environment
            .add_template_owned(name, compiled)
            .map_err(|error| told(&error))?;
        self.marks_generation |= marks;
        self.sources.push(source);
        Ok(())
    }

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
    fn render_marked(
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

fn no_default<'a>(names: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<&str> = names.collect();
    Error::Input(format!(
        "the tokenizer has chat templates ({}), but none that is called default; name one as the chat template",
        names.join(", ")
    ))
}

fn normalized(messages: &[Json]) -> Vec<Json> {
    messages.iter().map(python::message).collect()
}

/// Doubles the line end behind `{% raw %}`: minijinja drops one there, as behind every block, and Jinja keeps it.
fn with_raw_lines(source: &str) -> Cow<'_, str> {
    let raw = regex::Regex::new(r"\{%[-+]?\s*raw\s*%\}\n").expect("a constant pattern");
    raw.replace_all(source, "$0\n")
}

/// Replaces Transformers' `{% generation %}` by a call block, which is what Transformers makes of it too: it has its own
/// scope and treats the blanks around it in the same way. Tells whether there was one.
fn without_generation_tags(source: &str) -> (String, bool) {
    let tag = |name: &str| {
        regex::Regex::new(&format!(r"\{{%([-+]?)\s*{name}\s*([-+]?)%\}}"))
            .expect("a constant pattern")
    };
    let (opening, closing) = (tag("generation"), tag("endgeneration"));
    let marks = opening.is_match(source);
    // A block sees what stands around it, but minijinja takes along only what it reads, not the namespaces that it
    // assigns to (`{% set ns.done = true %}`): each is read once where nothing comes of it.
    let assigned =
        regex::Regex::new(r"\{%[-+]?\s*set\s+([A-Za-z_]\w*)\s*\.").expect("a constant pattern");
    let namespaces: std::collections::BTreeSet<&str> = assigned
        .captures_iter(source)
        .filter_map(|found| found.get(1).map(|name| name.as_str()))
        .collect();
    let taken: String = namespaces
        .iter()
        .map(|name| format!("{{{{ {name} }}}}"))
        .collect();
    let begun = match taken.is_empty() {
        true => format!("{{%$1 call {TRAINED}() $2%}}"),
        false => format!("{{%$1 call {TRAINED}() %}}{{% if false %}}{taken}{{% endif $2%}}"),
    };
    let opened = opening.replace_all(source, begun);
    let closed = closing.replace_all(&opened, "{%$1 endcall $2%}");
    (closed.into_owned(), marks)
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

fn told(error: &minijinja::Error) -> Error {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "takes more steps than a template may".to_owned(),
        ErrorKind::WriteFailure => "writes more than a template may".to_owned(),
        kind => error
            .detail()
            .map_or_else(|| kind.to_string(), str::to_owned),
    };
    let what = match what.starts_with(PERCENT_OF_TEXT) {
        true => format!(
            "{what}; a text has no % here: write it as {{{{ \"%s: %d\" | format(a, b) }}}}, which Transformers reads too"
        ),
        false => what,
    };
    let line = error.line().map_or_else(String::new, |line| {
        format!(" (line {line} of the template)")
    });
    Error::Input(format!("chat template: {what}{line}"))
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

/// A template is shared between the threads that encode a dataset.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<ChatTemplate>>();
};
