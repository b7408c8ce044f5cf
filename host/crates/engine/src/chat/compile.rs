//! Templates as they are read: which one of several, and what is made of its source before it is compiled.

use std::borrow::Cow;

use minijinja::{Environment, ErrorKind, Value, syntax::SyntaxConfig, value::ValueKind};

use super::{ChatTemplate, DEFAULT, TOOL_USE, TRAINED, filters, methods, no_default, python, told};
use crate::{
    Error, Result,
    tokenizer::{SpecialTokens, Tokenizer},
};

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

    pub(super) fn add(&mut self, name: &'static str, source: &str) -> Result<()> {
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
