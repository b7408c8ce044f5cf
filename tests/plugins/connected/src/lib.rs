//! A tool that uses everything that a plugin can be lent, as its input tells it to, and answers what came of it; and an
//! analyzer, curator and scorer that say a secret wherever they are told to.

#![cfg(target_family = "wasm")]

mod http;
mod telltale;

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({
        inline: "
            package tests:connected;
            world connected {
                include codetune:plugin/tool-plugin@0.1.2;
                import codetune:plugin/generate@0.1.2;
                import codetune:plugin/secrets@0.1.2;
                export codetune:plugin/analyzer@0.1.2;
                export codetune:plugin/curator@0.1.2;
                export codetune:plugin/scorer@0.1.2;
            }
        ",
        path: "../../../wit/0.1.2",
        generate_all,
    });
}

use bindings::codetune::plugin::generate::{self, Failure, Message, Prompt};
use bindings::codetune::plugin::log::{self, Level};
use bindings::codetune::plugin::secrets;
use bindings::exports::codetune::plugin::tool::{Guest, PluginMetadata};
use serde::Deserialize;
use serde_json::{Value, json};

/// What to do.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Task {
    /// Have the model write so many tokens, so many times.
    Generate {
        prompt: String,
        tokens: u32,
        times: u32,
        chat: bool,
    },
    /// Get a secret, and say it in `log`, `error`, `answer`, `panic` or nowhere.
    Secret { name: String, say_in: String },
    /// Ask a host and follow what it points to.
    Http {
        url: String,
        body: Option<String>,
        secret: Option<String>,
    },
    /// Write a body of so many bytes for a request that is never sent.
    NeverSend { bytes: usize },
    /// Read a file, list a folder, or write a file.
    Read { path: String },
    /// The same.
    List { path: String },
    /// The same.
    Write { path: String },
}

struct Connected;

impl Guest for Connected {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "connected".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Uses what it is lent.".to_owned(),
            author: "The tests".to_owned(),
            tags: Vec::new(),
            input_schema: r#"{"type":"object","required":["do"]}"#.to_owned(),
            output_schema: r#"{"type":"object"}"#.to_owned(),
            config_schema: "{}".to_owned(),
        }
    }

    fn validate_inputs(_inputs: String) -> Result<(), String> {
        Ok(())
    }

    fn execute(inputs: String) -> Result<String, String> {
        let task = serde_json::from_str(&inputs).map_err(|error| error.to_string())?;
        perform(task).map(|answer| answer.to_string())
    }
}

fn perform(task: Task) -> Result<Value, String> {
    match task {
        Task::Generate {
            prompt,
            tokens,
            times,
            chat,
        } => {
            let answers: Vec<Value> = (0..times)
                .map(|_| complete(&prompt, tokens, chat))
                .collect();
            Ok(json!({ "answers": answers, "left": generate::tokens_left() }))
        }
        Task::Secret { name, say_in } => {
            let value = secrets::get(&name);
            let text = value.as_deref().unwrap_or_default();
            match say_in.as_str() {
                "log" => {
                    log::write(Level::Info, &format!("it is {text}"));
                    println!("it is {text} here too");
                }
                "error" => return Err(format!("it is {text}")),
                "answer" => return Ok(json!({ "secret": text, "length": text.len() })),
                "panic" => panic!("it is {text}"),
                _ => {}
            }
            Ok(json!({ "has": value.is_some(), "length": text.len() }))
        }
        Task::Http { url, body, secret } => {
            let secret = secret.and_then(|name| secrets::get(&name));
            let hops = http::follow(&url, body.as_deref(), secret.as_deref());
            Ok(json!({ "hops": hops }))
        }
        Task::NeverSend { bytes } => Ok(json!({ "wrote": http::never_send(bytes) })),
        Task::Read { path } => match std::fs::read(&path) {
            Ok(bytes) => Ok(json!({
                "bytes": bytes.len(),
                "text": String::from_utf8_lossy(&bytes[..bytes.len().min(100)]),
            })),
            Err(error) => Err(error.to_string()),
        },
        Task::List { path } => {
            let entries = std::fs::read_dir(&path).map_err(|error| error.to_string())?;
            let names: Vec<String> = entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect();
            Ok(json!({ "names": names }))
        }
        Task::Write { path } => match std::fs::write(&path, "written by a plugin") {
            Ok(()) => Ok(json!({ "wrote": true })),
            Err(error) => Err(error.to_string()),
        },
    }
}

fn complete(prompt: &str, tokens: u32, chat: bool) -> Value {
    let prompt = match chat {
        true => Prompt::Chat(vec![Message {
            role: "user".to_owned(),
            content: prompt.to_owned(),
        }]),
        false => Prompt::Text(prompt.to_owned()),
    };
    let request = generate::Request {
        prompt,
        max_new_tokens: tokens,
        temperature: 0.0,
        seed: 0,
        stop: Vec::new(),
        use_adapter: true,
    };
    match generate::complete(&request) {
        Ok(written) => json!({
            "text": written.text, "new_tokens": written.new_tokens, "why": written.finish_reason,
        }),
        Err(Failure::Denied) => json!("denied"),
        Err(Failure::Budget) => json!("budget"),
        Err(Failure::Failed(message)) => json!({ "failed": message }),
    }
}

bindings::export!(Connected with_types_in bindings);
