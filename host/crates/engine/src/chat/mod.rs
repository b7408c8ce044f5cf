//! Conversations as text: a model's Jinja chat template, rendered as Transformers renders it.
//!
//! Templates come from model folders, which are downloads: they run without a loader, with a budget of
//! instructions and a cap on what they write.

mod python;
mod turns;

use std::{io, sync::Arc};

use minijinja::{Environment, ErrorKind, Value, syntax::SyntaxConfig};
use serde_json::Value as Json;

use crate::{Error, Result, tokenizer::SpecialTokens};

pub use turns::Turns;

/// Instructions that a template may take beyond those for the size of its input.
const FUEL: u64 = 5_000_000;
/// Bytes that a template may write beyond a multiple of the size of its input.
const OUTPUT_BYTES: usize = 1 << 20;
/// The filter that stands in for `{% generation %}` blocks.
const TRAINED: &str = "__trained";

/// A chat template, ready to render.
pub struct ChatTemplate {
    environment: Environment<'static>,
    marks_generation: bool,
    special: Vec<(&'static str, String)>,
}

/// A conversation: what a template gets to see.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'a> {
    /// `{"role", "content", …}` objects.
    pub messages: &'a [Json],
    /// Tools in the form of the row; `None` where the row has none.
    pub tools: Option<&'a Json>,
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`Error::Input`] with the line of a syntax error.
    pub fn new(source: &str, special: &SpecialTokens) -> Result<Self> {
        let (source, marks_generation) = without_generation_tags(source);
        let mut environment = Environment::new();
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|error| Error::Input(format!("chat template: {error}")))?,
        );
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<Value, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", python::strftime_now);
        environment.add_filter("tojson", python::tojson);
        environment
            .add_template_owned("chat_template", source)
            .map_err(|error| told(&error))?;
        let named = [
            ("bos_token", &special.bos),
            ("eos_token", &special.eos),
            ("pad_token", &special.pad),
            ("unk_token", &special.unk),
        ];
        Ok(Self {
            environment,
            marks_generation,
            special: named
                .into_iter()
                .filter_map(|(name, token)| Some((name, token.clone()?)))
                .collect(),
        })
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
        self.render_marked(conversation, add_generation_prompt, None)
    }

    /// The same, with what `{% generation %}` encloses between the two characters of `marks`.
    fn render_marked(
        &self,
        conversation: Conversation<'_>,
        add_generation_prompt: bool,
        marks: Option<(char, char)>,
    ) -> Result<String> {
        let mut environment = self.environment.clone();
        let size = size_of(conversation);
        environment.set_fuel(Some(FUEL + 64 * size as u64));
        environment.add_filter(TRAINED, move |text: String| match marks {
            Some((open, close)) => format!("{open}{text}{close}"),
            None => text,
        });
        let mut context: Vec<(&str, Value)> = vec![
            (
                "messages",
                conversation.messages.iter().map(python::value).collect(),
            ),
            ("add_generation_prompt", add_generation_prompt.into()),
            // Transformers passes these always, and templates ask `is none` of them.
            ("tools", conversation.tools.map(python::value).into()),
            ("documents", Value::from(())),
        ];
        for (name, token) in &self.special {
            context.push((name, token.as_str().into()));
        }
        let mut output = Capped {
            bytes: Vec::new(),
            left: OUTPUT_BYTES + 16 * size,
        };
        environment
            .get_template("chat_template")
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

/// Replaces Transformers' `{% generation %}` by a filter block, which minijinja has and which treats the blanks
/// around it in the same way; tells whether there was one.
fn without_generation_tags(source: &str) -> (String, bool) {
    let tag = |name: &str| {
        regex::Regex::new(&format!(r"\{{%([-+]?)\s*{name}\s*([-+]?)%\}}"))
            .expect("a constant pattern")
    };
    let (opening, closing) = (tag("generation"), tag("endgeneration"));
    let marks = opening.is_match(source);
    let opened = opening.replace_all(source, format!("{{%$1 filter {TRAINED} $2%}}"));
    let closed = closing.replace_all(&opened, "{%$1 endfilter $2%}");
    (closed.into_owned(), marks)
}

fn size_of(conversation: Conversation<'_>) -> usize {
    let messages: usize = conversation
        .messages
        .iter()
        .map(|message| message.to_string().len())
        .sum();
    messages
        + conversation
            .tools
            .map_or(0, |tools| tools.to_string().len())
}

fn told(error: &minijinja::Error) -> Error {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "takes more steps than a template may".to_owned(),
        ErrorKind::WriteFailure => "writes more than a template may".to_owned(),
        kind => error
            .detail()
            .map_or_else(|| kind.to_string(), str::to_owned),
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
