//! The contract's side.

mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({
        inline: "
            package codetune:review;
            world review {
                import codetune:plugin/config@0.1.2;
                import codetune:plugin/generate@0.1.2;
                export codetune:plugin/tool@0.1.2;
            }
        ",
        path: "../../wit/0.1.2",
        generate_all,
    });
}

use codetune_plugin::Settings;
use serde::Deserialize;
use serde_json::json;

use crate::prompt::{findings, question};
use bindings::codetune::plugin::config;
use bindings::codetune::plugin::generate::{self, Failure, Message, Prompt, Request};
use bindings::exports::codetune::plugin::tool::{Guest, PluginMetadata};

#[derive(Deserialize)]
struct Input {
    code: String,
    language: Option<String>,
}

struct Review;

fn parse(inputs: &str) -> Result<Input, String> {
    serde_json::from_str(inputs).map_err(|error| error.to_string())
}

fn review(input: &Input) -> Result<String, String> {
    let asked = question(&input.code, input.language.as_deref())?;
    // A base model has no chat template, and goes on from a text.
    let is_chat = Settings::new(config::get).get("chat", true)?;
    let prompt = match is_chat {
        true => Prompt::Chat(vec![Message {
            role: "user".to_owned(),
            content: asked,
        }]),
        false => Prompt::Text(format!("{asked}\n# Findings\n")),
    };
    let request = Request {
        prompt,
        max_new_tokens: generate::tokens_left().max(1),
        temperature: 0.0,
        seed: 0,
        stop: Vec::new(),
        use_adapter: true,
    };
    let written = generate::complete(&request).map_err(|failure| match failure {
        Failure::Denied => {
            "the model is not granted: codetune plugin grant review generate".to_owned()
        }
        Failure::Budget => "no tokens are left of this call's budget".to_owned(),
        Failure::Failed(message) => message,
    })?;
    let findings = findings(&written.text, &input.code);
    let answer = json!({
        "findings": findings, "text": written.text, "finish_reason": written.finish_reason,
        "new_tokens": written.new_tokens,
    });
    Ok(answer.to_string())
}

impl Guest for Review {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "review".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description:
                "Has the studio's model review a file and reads its remarks and mendings by line."
                    .to_owned(),
            author: "CodeTune Studio".to_owned(),
            tags: ["model", "review"].map(str::to_owned).to_vec(),
            input_schema: include_str!("schema/input.json").to_owned(),
            output_schema: include_str!("schema/output.json").to_owned(),
            config_schema: include_str!("schema/config.json").to_owned(),
        }
    }

    fn validate_inputs(inputs: String) -> Result<(), String> {
        parse(&inputs).map(drop)
    }

    fn execute(inputs: String) -> Result<String, String> {
        review(&parse(&inputs)?)
    }
}

bindings::export!(Review with_types_in bindings);
