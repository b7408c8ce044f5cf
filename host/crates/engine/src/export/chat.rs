//! Whether a model's chat template works, and whether what ends a turn in it also ends a text.

use serde_json::{Value, json};

use crate::Result;
use crate::chat::{ChatTemplate, Conversation};
use crate::tokenizer::Tokenizer;

/// What was found out about a chat template.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// The token behind an assistant's turn: its text and id.
    pub(super) end_of_turn: Option<(String, u32)>,
    /// The template as Go's templates have it, for Ollama.
    pub(super) shape: Option<&'static Shape>,
    /// What the template says as system where a conversation has none.
    pub(super) default_system: Option<String>,
    /// What is wrong, each in a sentence.
    pub(super) warnings: Vec<String>,
}

/// A known way of writing conversations.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// Before and after a system message, a question, an answer.
    system: (&'static str, &'static str),
    user: (&'static str, &'static str),
    assistant: (&'static str, &'static str),
    /// For Ollama: <https://github.com/ollama/ollama/blob/main/docs/template.md>.
    pub(super) go: &'static str,
}

/// The shapes that are recognized by what the model's own template writes.
const SHAPES: &[Shape] = &[
    Shape {
        name: "chatml",
        system: ("<|im_start|>system\n", "<|im_end|>\n"),
        user: ("<|im_start|>user\n", "<|im_end|>\n"),
        assistant: ("<|im_start|>assistant\n", "<|im_end|>\n"),
        go: "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
    },
    Shape {
        name: "llama3",
        system: (
            "<|start_header_id|>system<|end_header_id|>\n\n",
            "<|eot_id|>",
        ),
        user: ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        assistant: (
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|eot_id|>",
        ),
        go: "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
    },
    Shape {
        name: "zephyr",
        system: ("<|system|>\n", "</s>\n"),
        user: ("<|user|>\n", "</s>\n"),
        assistant: ("<|assistant|>\n", "</s>\n"),
        go: "{{- range .Messages }}<|{{ .Role }}|>\n{{ .Content }}</s>\n{{ end }}<|assistant|>\n",
    },
    Shape {
        name: "phi3",
        system: ("<|system|>\n", "<|end|>\n"),
        user: ("<|user|>\n", "<|end|>\n"),
        assistant: ("<|assistant|>\n", "<|end|>\n"),
        go: "{{- range .Messages }}<|{{ .Role }}|>\n{{ .Content }}<|end|>\n{{ end }}<|assistant|>\n",
    },
    Shape {
        name: "granite",
        system: (
            "<|start_of_role|>system<|end_of_role|>",
            "<|end_of_text|>\n",
        ),
        user: ("<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"),
        assistant: (
            "<|start_of_role|>assistant<|end_of_role|>",
            "<|end_of_text|>\n",
        ),
        go: "{{- range .Messages }}<|start_of_role|>{{ .Role }}<|end_of_role|>{{ .Content }}<|end_of_text|>\n{{ end }}<|start_of_role|>assistant<|end_of_role|>",
    },
    Shape {
        name: "gemma",
        system: ("", ""),
        user: ("<start_of_turn>user\n", "<end_of_turn>\n"),
        assistant: ("<start_of_turn>model\n", "<end_of_turn>\n"),
        go: "{{- range .Messages }}<start_of_turn>{{ if eq .Role \"assistant\" }}model{{ else }}user{{ end }}\n{{ .Content }}<end_of_turn>\n{{ end }}<start_of_turn>model\n",
    },
    Shape {
        name: "mistral",
        system: ("", ""),
        user: ("[INST] ", " [/INST]"),
        assistant: (" ", "</s>"),
        go: "{{- range .Messages }}{{ if eq .Role \"assistant\" }} {{ .Content }}</s>{{ else }}[INST] {{ .Content }} [/INST]{{ end }}{{ end }}",
    },
    Shape {
        name: "alpaca",
        system: ("", "\n\n"),
        user: ("### Instruction:\n", "\n\n"),
        assistant: ("### Response:\n", "\n\n"),
        go: "{{- range .Messages }}{{ if eq .Role \"assistant\" }}### Response:\n{{ else if eq .Role \"user\" }}### Instruction:\n{{ end }}{{ .Content }}\n\n{{ end }}### Response:\n",
    },
];

/// Texts that stand nowhere in a template.
const SYSTEM: &str = "Sphinx of black quartz.";
const QUESTION: &str = "Judge my vow?";
const ANSWER: &str = "The vow is judged.";
const NEXT: &str = "And now?";

impl Chat {
    /// Renders a conversation with the model's own template and looks at what comes out.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub(super) fn check(tokenizer: &Tokenizer) -> Result<Self> {
        let mut chat = Self::default();
        let further = tokenizer.chat_templates();
        for (name, source) in further.filter(|(name, _)| *name != "default") {
            if let Err(error) = ChatTemplate::new(source, tokenizer.special_tokens()) {
                let warning =
                    format!("the template {name}: {error}; programs that use it will fail");
                chat.warnings.push(warning);
            }
        }
        let Some(source) = tokenizer.chat_template() else {
            return Ok(chat);
        };
        let template = match ChatTemplate::new(source, tokenizer.special_tokens()) {
            Ok(template) => template,
            Err(error) => {
                chat.warnings
                    .push(format!("{error}; programs that use it will fail"));
                return Ok(chat);
            }
        };
        let turns = [message("user", QUESTION), message("assistant", ANSWER)];
        let told = match render(&template, &turns, false) {
            Ok(told) => told,
            Err(error) => {
                chat.warnings.push(format!(
                    "{error}; it cannot write a question and an answer, so no program can chat with this model"
                ));
                return Ok(chat);
            }
        };
        chat.find_end_of_turn(tokenizer, &told);
        chat.shape = SHAPES.iter().find(|shape| shape.fits(&template, tokenizer));
        let without = render(&template, &turns[..1], false);
        if let (Some(shape), Ok(text)) = (chat.shape, without) {
            chat.default_system = shape.said_first(without_bos(&text, tokenizer));
        }
        Ok(chat)
    }

    fn find_end_of_turn(&mut self, tokenizer: &Tokenizer, told: &str) {
        let Some(at) = told.rfind(ANSWER) else {
            self.warnings
                .push("the chat template leaves out what the assistant says".to_owned());
            return;
        };
        let tail = &told[at + ANSWER.len()..];
        let added = tokenizer.added_tokens();
        let first = added
            .into_iter()
            .filter_map(|(id, text)| Some((tail.find(&text)?, text, id)))
            .min_by_key(|(at, text, _)| (*at, std::cmp::Reverse(text.len())));
        match first {
            Some((_, text, id)) => {
                if !tokenizer.eos_ids().contains(&id) {
                    self.warnings.push(format!(
                        "the chat template ends a turn with {text} (id {id}), but eos_token_id of generation_config.json and config.json is {:?}: generation would run on past the turn; add {id} to it",
                        tokenizer.eos_ids()
                    ));
                }
                self.end_of_turn = Some((text, id));
            }
            None => self.warnings.push(
                "the chat template ends the assistant's turn with no special token, so that nothing tells a program where to stop".to_owned(),
            ),
        }
    }
}

impl Shape {
    /// Turns as this shape has them.
    fn written(&self, turns: &[Value]) -> String {
        let mut expected = String::new();
        for turn in turns {
            let (before, after) = match turn["role"].as_str() {
                Some("system") => self.system,
                Some("assistant") => self.assistant,
                _ => self.user,
            };
            expected += before;
            expected += turn["content"].as_str().unwrap_or_default();
            expected += after;
        }
        expected
    }

    /// The system message with which a text without one begins.
    fn said_first(&self, text: &str) -> Option<String> {
        let (before, after) = self.system;
        if before.is_empty() {
            return None;
        }
        let (system, _) = text.strip_prefix(before)?.split_once(after)?;
        Some(system.to_owned())
    }

    /// The model's template writes what this shape says.
    fn fits(&self, template: &ChatTemplate, tokenizer: &Tokenizer) -> bool {
        let turns = [
            message("system", SYSTEM),
            message("user", QUESTION),
            message("assistant", ANSWER),
            message("user", NEXT),
        ];
        let has_system = self.system != ("", "");
        let turns = if has_system { &turns[..] } else { &turns[1..] };
        let Ok(rendered) = render(template, turns, true) else {
            return false;
        };
        let rendered = without_bos(&rendered, tokenizer);
        let expected = self.written(turns);
        // Mistral's opens no turn: the answer follows the question.
        let opened = format!("{expected}{}", self.assistant.0);
        rendered == opened || (self.assistant.0 == " " && rendered == expected)
    }
}

/// What begins a text is put there by the program that reads the file.
fn without_bos<'a>(text: &'a str, tokenizer: &Tokenizer) -> &'a str {
    let bos = tokenizer
        .special_tokens()
        .bos
        .as_deref()
        .unwrap_or_default();
    text.strip_prefix(bos).unwrap_or(text)
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

fn render(template: &ChatTemplate, turns: &[Value], open: bool) -> Result<String> {
    let conversation = Conversation {
        messages: turns,
        ..Conversation::default()
    };
    template.render(conversation, open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::SpecialTokens;

    /// A Go template in the words of Jinja: `range`, `if eq`, `else`, `end`, and the two fields.
    fn in_jinja(go: &str) -> String {
        let (mut out, mut open) = (String::new(), Vec::new());
        for (at, part) in go.split("{{").enumerate() {
            if at == 0 {
                out += part;
                continue;
            }
            let (word, text) = part.split_once("}}").unwrap();
            let word = word.trim_start_matches('-').trim();
            out += &match word {
                ".Role" => "{{ m.role }}".to_owned(),
                ".Content" => "{{ m.content }}".to_owned(),
                "else" => "{%+ else +%}".to_owned(),
                "end" => format!("{{%+ {} +%}}", open.pop().unwrap()),
                "range .Messages" => {
                    open.push("endfor");
                    "{%+ for m in messages +%}".to_owned()
                }
                _ => {
                    let (verb, role) = word.split_once("eq .Role ").unwrap();
                    match verb.trim() {
                        "if" => {
                            open.push("endif");
                            format!("{{%+ if m.role == {role} +%}}")
                        }
                        "else if" => format!("{{%+ elif m.role == {role} +%}}"),
                        other => panic!("{other}"),
                    }
                }
            };
            out += text;
        }
        assert!(open.is_empty());
        out
    }

    #[test]
    fn each_shape_writes_the_same_in_go_as_it_is_recognized_by() {
        let turns = [
            message("system", SYSTEM),
            message("user", QUESTION),
            message("assistant", ANSWER),
            message("user", NEXT),
        ];
        for shape in SHAPES {
            let turns = match shape.system {
                ("", "") => &turns[1..],
                _ => &turns[..],
            };
            // Jinja drops a line end that nothing follows.
            let jinja = in_jinja(shape.go) + "|";
            let template = ChatTemplate::new(&jinja, &SpecialTokens::default()).unwrap();
            let written = render(&template, turns, true).unwrap();
            let expected = match shape.assistant.0 {
                " " => shape.written(turns) + "|",
                open => shape.written(turns) + open + "|",
            };
            assert_eq!(written, expected, "{}", shape.name);
        }
    }

    #[test]
    fn a_default_system_message_is_found() {
        let text = "<|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n";
        assert_eq!(SHAPES[0].said_first(text).as_deref(), Some("You are kind."));
        assert_eq!(
            SHAPES[0].said_first("<|im_start|>user\nHi<|im_end|>\n"),
            None
        );
    }
}
