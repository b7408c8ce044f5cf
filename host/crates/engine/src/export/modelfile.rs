//! What Ollama needs beside a GGUF: <https://github.com/ollama/ollama/blob/main/docs/modelfile.md>.

use super::chat::Chat;

/// What the GGUF beside it is.
pub(super) enum Holds<'a> {
    /// A whole model.
    Model(&'a str),
    /// An adapter for a base of this name.
    Adapter { file: &'a str, base: &'a str },
}

/// The Modelfile, and what it leaves out in a sentence.
pub(super) fn modelfile(
    holds: &Holds<'_>,
    chat: &Chat,
    has_template: bool,
    eos: Option<&str>,
) -> (String, Option<String>) {
    let mut lines = Vec::new();
    match holds {
        Holds::Model(file) => lines.push(format!("FROM ./{file}")),
        Holds::Adapter { file, base } => {
            lines.push(format!("# The base, {base}, as a GGUF: codetune export --model … --format gguf --output base.gguf"));
            lines.push("FROM ./base.gguf".to_owned());
            lines.push(format!("ADAPTER ./{file}"));
        }
    }
    let mut left_out = None;
    match (chat.shape, has_template) {
        (Some(shape), _) => {
            lines.push(format!(
                "# The model's own chat template writes {}.",
                shape.name
            ));
            lines.push(format!("TEMPLATE \"\"\"{}\"\"\"", shape.go));
        }
        // Without one, Ollama would put a guess around the prompt.
        (None, false) => lines.push("TEMPLATE {{ .Prompt }}".to_owned()),
        (None, true) => {
            let message = "TEMPLATE is left out: the chat template is of no known shape; Ollama goes by the one inside the GGUF";
            lines.push(format!("# {message}"));
            left_out = Some(message.to_owned());
        }
    }
    if let Some(system) = &chat.default_system {
        lines.push(format!("SYSTEM \"\"\"{system}\"\"\""));
    }
    let mut stops: Vec<&str> = Vec::new();
    stops.extend(chat.end_of_turn.as_ref().map(|(text, _)| text.as_str()));
    stops.extend(eos);
    stops.dedup();
    for stop in stops {
        lines.push(format!("PARAMETER stop {stop:?}"));
    }
    (lines.join("\n") + "\n", left_out)
}
