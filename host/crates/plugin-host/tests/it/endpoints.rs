//! The plugin `ask-endpoint` against servers of the test's own that speak both protocols.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use domain::{Capability, CapabilityUse, ExecutionOutcome, Grants};
use plugin_host::{GenerateRequest, Generated, PluginHost, Services};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::server::Server;

struct Key;

impl Services for Key {
    fn generate(
        &self,
        _grants: &Grants,
        _request: &GenerateRequest,
        _until: Instant,
    ) -> Result<Generated, String> {
        Err("no model".to_owned())
    }

    fn secret(&self, name: &str) -> Option<String> {
        (name == "API_KEY").then(|| "sk-0123456789".to_owned())
    }

    fn used(&self, _plugin: &str, _digest: &str, _uses: &[CapabilityUse]) {}
}

/// The plugin, granted that server, with settings.
fn endpoint(server: &Server, settings: Value) -> (Folder, PluginHost) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins/ask-endpoint");
    let folder = Folder::new();
    for file in ["ask-endpoint.wasm", "plugin.toml"] {
        let bytes = std::fs::read(source.join(file)).unwrap();
        folder.write(&format!("ask-endpoint/{file}"), bytes);
    }
    let host = folder.open();
    host.lend(Arc::new(Key));
    let digest = host.get("ask-endpoint").unwrap().digest;
    let grants = Grants {
        hosts: vec![server.url()],
        secrets: vec!["API_KEY".to_owned()],
        ..Grants::from(&[Capability::Config, Capability::Http, Capability::Secrets])
    };
    let grants = host.check_grants("ask-endpoint", &digest, grants).unwrap();
    host.set_grants("ask-endpoint", &digest, grants);
    let mut config = json!({ "url": format!("{}/v1", server.url()), "retry_delay_ms": 1 });
    for (key, value) in settings.as_object().unwrap() {
        config[key] = value.clone();
    }
    let config = serde_json::from_value(config).unwrap();
    host.check_config("ask-endpoint", &config).unwrap();
    host.set_config("ask-endpoint", config);
    (folder, host)
}

fn ask(host: &PluginHost) -> ExecutionOutcome {
    let input = json!({ "prompt": "Is this right?", "system": "Be short." });
    host.run("ask-endpoint", &input).unwrap().outcome
}

fn output(outcome: ExecutionOutcome) -> Value {
    match outcome {
        ExecutionOutcome::Ok { output } => output,
        failed @ ExecutionOutcome::Failed { .. } => panic!("{failed:?}"),
    }
}

fn message(outcome: ExecutionOutcome) -> String {
    match outcome {
        ExecutionOutcome::Failed { message, .. } => message,
        ok @ ExecutionOutcome::Ok { .. } => panic!("{ok:?}"),
    }
}

const OPENAI: &str = r#"{"model":"m-1","choices":[{"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#;
const ANTHROPIC: &str = r#"{"model":"m-2","content":[{"type":"text","text":"No."}],"stop_reason":"end_turn","usage":{"input_tokens":8,"output_tokens":3}}"#;

#[test]
fn both_protocols_are_spoken_with_the_secret_where_each_has_it() {
    for (protocol, answer, path, header, text) in [
        (
            "openai",
            OPENAI,
            "/v1/chat/completions",
            "authorization: Bearer sk-0123456789",
            "Yes.",
        ),
        (
            "anthropic",
            ANTHROPIC,
            "/v1/messages",
            "x-api-key: sk-0123456789",
            "No.",
        ),
    ] {
        let server = Server::text("200 OK", answer);
        let (_folder, host) = endpoint(&server, json!({ "protocol": protocol, "model": "m" }));
        let said = output(ask(&host));
        assert_eq!(
            (said["text"].as_str(), said["attempts"].as_u64()),
            (Some(text), Some(1))
        );
        let asked = server.asked();
        assert!(
            asked[0].starts_with(&format!("POST {path} HTTP/1.1")),
            "{asked:?}"
        );
        assert!(asked[0].contains(header), "{asked:?}");
        assert!(
            asked[0].contains("Is this right?") && asked[0].contains("Be short."),
            "{asked:?}"
        );
    }
}

#[test]
fn a_busy_endpoint_is_asked_again_and_one_that_refuses_is_not() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
    let good = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{OPENAI}",
        OPENAI.len()
    );
    let server = Server::answering_in_turn(vec![busy.into(), busy.into(), good.into()]);
    let (_folder, host) = endpoint(&server, json!({}));
    assert_eq!(output(ask(&host))["attempts"], 3);
    let refusing = Server::text("401 Unauthorized", r#"{"error":{"message":"no such key"}}"#);
    let (_folder, host) = endpoint(&refusing, json!({}));
    let said = message(ask(&host));
    assert!(said.ends_with("status 401: no such key"), "{said}");
    assert_eq!(refusing.asked().len(), 1);
    let broken = Server::text("503 Service Unavailable", "later");
    let (_folder, host) = endpoint(&broken, json!({ "retries": 2 }));
    assert!(message(ask(&host)).contains("status 503: later"));
    assert_eq!(broken.asked().len(), 3);
}

#[test]
fn a_silent_endpoint_is_given_up_after_the_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::text("200 OK", OPENAI);
    let (folder, host) = endpoint(&server, json!({}));
    let url = format!("http://{}", silent.local_addr().unwrap());
    let digest = host.get("ask-endpoint").unwrap().digest;
    let mut grants = host.get("ask-endpoint").unwrap().grants;
    grants.hosts = vec![url.clone()];
    host.set_grants("ask-endpoint", &digest, grants);
    let config = json!({ "url": url, "timeout_s": 1, "retries": 0 });
    host.set_config("ask-endpoint", serde_json::from_value(config).unwrap());
    let said = message(ask(&host));
    assert!(said.contains("HttpResponseTimeout"), "{said}");
    drop(folder);
}

#[test]
fn an_endpoint_that_is_not_granted_says_how_to_grant_it() {
    let server = Server::text("200 OK", OPENAI);
    let (_folder, host) = endpoint(&server, json!({ "url": "https://api.example.com/v1" }));
    let said = message(ask(&host));
    assert!(
        said.contains("is not granted") && said.contains("codetune plugin grant"),
        "{said}"
    );
    assert!(server.asked().is_empty());
}
