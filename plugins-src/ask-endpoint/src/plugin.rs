//! The contract's side: settings, the secret, retries.

mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({
        inline: "
            package codetune:ask-endpoint;
            world ask-endpoint {
                import codetune:plugin/config@0.1.2;
                import codetune:plugin/secrets@0.1.2;
                export codetune:plugin/tool@0.1.2;
            }
        ",
        path: "../../wit/0.1.2",
        generate_all,
    });
}

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use backon::{BlockingRetryable, ExponentialBuilder};
use codetune_plugin::Settings;
use serde_json::{Value, json};

use crate::protocol::{self, Protocol, Question, Reply};
use crate::request::{self, Fault};
use bindings::codetune::plugin::{config, secrets};
use bindings::exports::codetune::plugin::tool::{Guest, PluginMetadata};

/// The name that the manifest asks for.
const SECRET: &str = "API_KEY";

struct AskEndpoint;

/// Why a try failed.
struct Failure {
    message: String,
    may_pass: bool,
    retry_after: Option<Duration>,
}

fn ask(question: &Question) -> Result<Value, String> {
    let settings = Settings::new(config::get);
    let text = |key: &str, usual: &str| settings.get(key, usual.to_owned());
    let number = |key: &str, usual: u64| settings.get(key, usual);
    let protocol = Protocol::named(&text("protocol", "openai")?)?;
    let url = protocol.address(&text("url", "http://127.0.0.1:8080/v1")?);
    let headers = protocol.headers(secrets::get(SECRET).as_deref());
    let body = protocol.body(
        question,
        &text("model", "default")?,
        number("max_tokens", 1024)?,
    );
    let body = body.to_string();
    let patience = Duration::from_secs(number("timeout_s", 60)?);
    let mut attempts = 0;
    let once = || {
        attempts += 1;
        attempt(protocol, &url, &headers, body.as_bytes(), patience)
    };
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(number("retry_delay_ms", 500)?))
        .with_max_delay(Duration::from_secs(20))
        .with_max_times(usize::try_from(number("retries", 3)?).unwrap_or(3));
    // What the endpoint asks for goes before the backoff's own pause.
    let asked_for = Rc::new(Cell::new(None));
    let pause_for = Rc::clone(&asked_for);
    let reply = once
        .retry(backoff)
        .when(|failure| {
            asked_for.set(failure.retry_after);
            failure.may_pass
        })
        .sleep(move |pause| std::thread::sleep(pause_for.take().unwrap_or(pause)))
        .call()
        .map_err(|failure| failure.message)?;
    let mut answer = json!(reply);
    answer["attempts"] = json!(attempts);
    Ok(answer)
}

fn attempt(
    protocol: Protocol,
    url: &str,
    headers: &[(&'static str, String)],
    body: &[u8],
    patience: Duration,
) -> Result<Reply, Failure> {
    let failure = |message, may_pass, retry_after| Failure {
        message,
        may_pass,
        retry_after,
    };
    let answer = request::post(url, headers, body, patience).map_err(|fault| match fault {
        Fault::Denied(message) => failure(message, false, None),
        Fault::Network(message) => failure(message, true, None),
    })?;
    if answer.status != 200 {
        let message = protocol::fault(answer.status, &answer.body);
        let may_pass = protocol::passes(answer.status);
        return Err(failure(message, may_pass, answer.retry_after));
    }
    protocol
        .reply(&answer.body)
        .map_err(|message| failure(message, false, None))
}

fn parse(inputs: &str) -> Result<Question, String> {
    serde_json::from_str(inputs).map_err(|error| error.to_string())
}

impl Guest for AskEndpoint {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "ask-endpoint".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Asks a model behind an OpenAI- or Anthropic-compatible endpoint."
                .to_owned(),
            author: "CodeTune Studio".to_owned(),
            tags: ["model", "http"].map(str::to_owned).to_vec(),
            input_schema: include_str!("schema/input.json").to_owned(),
            output_schema: include_str!("schema/output.json").to_owned(),
            config_schema: include_str!("schema/config.json").to_owned(),
        }
    }

    fn validate_inputs(inputs: String) -> Result<(), String> {
        parse(&inputs).map(drop)
    }

    fn execute(inputs: String) -> Result<String, String> {
        ask(&parse(&inputs)?).map(|answer| answer.to_string())
    }
}

bindings::export!(AskEndpoint with_types_in bindings);
