//! Conversations as text: a model's Jinja chat template, rendered as Transformers renders it.
//!
//! Templates come from model folders, which are downloads: they run without a loader, with a budget of
//! instructions and a cap on what they write. `compile` reads them, `render` writes a conversation by one, `turns` finds in that
//! what the assistant writes.

mod clock;
mod compile;
mod filters;
mod methods;
mod python;
mod render;
mod turns;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::NaiveDateTime;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value as Json};

use crate::Error;

pub use turns::Turns;

/// The function whose call block stands in for a `{% generation %}` block.
const TRAINED: &str = "__trained";
/// The template for conversations without tools, or for all where there is one only.
const DEFAULT: &str = "default";
/// The template for conversations with tools, where a model has one of its own.
const TOOL_USE: &str = "tool_use";
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

/// What is wrong with a template, and where.
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

/// A template is shared between the threads that encode a dataset.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<ChatTemplate>>();
};

fn no_default<'a>(names: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<&str> = names.collect();
    Error::Input(format!(
        "the tokenizer has chat templates ({}), but none that is called default; name one as the chat template",
        names.join(", ")
    ))
}
