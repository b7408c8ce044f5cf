//! Model, hosts, folders and secrets: each only when asked for and granted, bounded, counted, and private networks never
//! by accident.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use domain::{
    Capability, CapabilityUse, Completion, ExecutionOutcome, Grants, PluginKind, Sample,
    SamplePart, SourceFile,
};
use plugin_host::{GenerateRequest, Generated, PluginHost, Prompt, Services};
use serde_json::{Value, json};

use crate::folder::{Folder, broken};
use crate::server::Server;

const SECRET: &str = "sk-a-value-that-nobody-may-see";

/// A studio that writes the prompt back, knows one secret and remembers what was used.
#[derive(Default)]
struct Studio {
    asked: Mutex<Vec<GenerateRequest>>,
    uses: Mutex<Vec<CapabilityUse>>,
}

impl Services for Studio {
    fn generate(
        &self,
        _grants: &Grants,
        request: &GenerateRequest,
        until: Instant,
    ) -> Result<Generated, String> {
        assert!(until > Instant::now());
        self.asked.lock().unwrap().push(request.clone());
        let text = match &request.prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Chat(messages) => format!("{messages:?}"),
        };
        Ok(Generated {
            text,
            model: "echo".to_owned(),
            prompt_tokens: 3,
            new_tokens: request.max_new_tokens,
            finish_reason: "length".to_owned(),
        })
    }

    fn secret(&self, name: &str) -> Option<String> {
        (name == "KEY").then(|| SECRET.to_owned())
    }

    fn used(&self, plugin: &str, digest: &str, uses: &[CapabilityUse]) {
        assert_eq!((plugin, digest.len()), ("connected", 64));
        self.uses.lock().unwrap().extend_from_slice(uses);
    }
}

struct Test {
    folder: Folder,
    host: PluginHost,
    studio: Arc<Studio>,
}

fn source(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/plugins/connected");
    std::fs::read(folder.join(file)).unwrap()
}

impl Test {
    /// With the plugin, granted what `change` makes of nothing but its log.
    fn granting(change: impl FnOnce(&mut Grants)) -> Self {
        let folder = Folder::new();
        folder.write("connected/connected.wasm", source("connected.wasm"));
        folder.write("connected/plugin.toml", source("plugin.toml"));
        let host = folder.open();
        let studio = Arc::new(Studio::default());
        host.lend(studio.clone());
        let test = Self {
            folder,
            host,
            studio,
        };
        let mut grants = Grants::from(&[Capability::Log]);
        change(&mut grants);
        test.grant(grants);
        test
    }

    fn grant(&self, grants: Grants) {
        let digest = self.digest();
        let grants = self
            .host
            .check_grants("connected", &digest, grants)
            .unwrap();
        self.host.set_grants("connected", &digest, grants);
    }

    fn digest(&self) -> String {
        self.host.get("connected").unwrap().digest
    }

    fn run(&self, task: &Value) -> domain::Execution {
        self.host.run("connected", task).unwrap()
    }

    fn answer(&self, task: &Value) -> Value {
        match self.run(task).outcome {
            ExecutionOutcome::Ok { output } => output,
            failed @ ExecutionOutcome::Failed { .. } => panic!("{task}: {failed:?}"),
        }
    }

    fn hops(&self, url: &str) -> Vec<Value> {
        let answer = self.answer(&json!({ "do": "http", "url": url }));
        answer["hops"].as_array().unwrap().clone()
    }

    fn uses(&self) -> Vec<CapabilityUse> {
        self.studio.uses.lock().unwrap().clone()
    }
}

fn http(grants: &mut Grants, hosts: &[&str]) {
    grants.capabilities.push(Capability::Http);
    grants.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
}

fn fault(hop: &Value) -> &str {
    hop["fault"].as_str().unwrap_or_else(|| panic!("{hop}"))
}

#[test]
fn nothing_is_lent_until_the_user_has_said_something() {
    let folder = Folder::new();
    folder.write("connected/connected.wasm", source("connected.wasm"));
    folder.write("connected/plugin.toml", source("plugin.toml"));
    let message = broken(&folder.open(), "connected");
    assert!(
        message.contains("log, generate, http, folders, secrets"),
        "{message}"
    );
}

#[test]
fn a_component_that_does_not_ask_for_what_it_imports_is_refused() {
    let folder = Folder::new();
    folder.write("connected/connected.wasm", source("connected.wasm"));
    let manifest = "name = \"connected\"\ncomponent = \"connected.wasm\"\ncapabilities = [\"log\"]";
    folder.write("connected/plugin.toml", manifest);
    let message = broken(&folder.open(), "connected");
    assert!(message.contains("without asking"), "{message}");
}

#[test]
fn each_capability_is_denied_by_itself_and_the_refusal_is_counted() {
    let test = Test::granting(|_| {});
    let generated =
        json!({ "do": "generate", "prompt": "hi", "tokens": 5, "times": 1, "chat": false });
    let answer = test.answer(&generated);
    assert_eq!(answer, json!({ "answers": ["denied"], "left": 0 }));
    let secret = test.answer(&json!({ "do": "secret", "name": "KEY", "say_in": "" }));
    assert_eq!(secret["has"], false);
    let server = Server::text("200 OK", "hello");
    assert!(fault(&test.hops(&server.url())[0]).contains("HttpRequestDenied"));
    assert!(server.asked().is_empty());
    let read = test.run(&json!({ "do": "read", "path": "/corpus/a.txt" }));
    assert!(matches!(read.outcome, ExecutionOutcome::Failed { .. }));
    let refused: Vec<_> = test
        .uses()
        .iter()
        .filter(|used| used.refused == 1 && used.times == 0)
        .map(|used| used.capability)
        .collect();
    let lent = [Capability::Generate, Capability::Secrets, Capability::Http];
    assert_eq!(refused, lent);
    assert!(test.studio.asked.lock().unwrap().is_empty());
}

#[test]
fn the_model_writes_within_the_budget_of_a_call() {
    let test = Test::granting(|grants| {
        grants.capabilities.push(Capability::Generate);
        grants.tokens = 12;
    });
    let task = json!({ "do": "generate", "prompt": "hi", "tokens": 5, "times": 4, "chat": false });
    let written = |tokens: u32| json!({ "text": "hi", "new_tokens": tokens, "why": "length" });
    let expected = json!({
        "answers": [written(5), written(5), written(2), "budget"], "left": 0
    });
    assert_eq!(test.answer(&task), expected);
    // Each call has its own.
    assert_eq!(test.answer(&task), expected);
    let chat = json!({ "do": "generate", "prompt": "hi", "tokens": 1, "times": 1, "chat": true });
    test.answer(&chat);
    let asked = test.studio.asked.lock().unwrap();
    let message = ("user".to_owned(), "hi".to_owned());
    assert_eq!(asked.last().unwrap().prompt, Prompt::Chat(vec![message]));
    let used = &test.uses()[0];
    assert_eq!(
        (used.capability, used.target.as_str()),
        (Capability::Generate, "echo")
    );
    assert_eq!((used.times, used.tokens, used.refused), (3, 3 * 3 + 12, 0));
    let refused = &test.uses()[1];
    assert_eq!((refused.target.as_str(), refused.refused), ("model", 1));
}

#[test]
fn a_prompt_that_is_too_long_is_refused_without_asking_the_model() {
    let test = Test::granting(|grants| {
        grants.capabilities.push(Capability::Generate);
        grants.tokens = 5;
    });
    let prompt = "x".repeat(40_000);
    let task =
        json!({ "do": "generate", "prompt": prompt, "tokens": 5, "times": 1, "chat": false });
    let answer = test.answer(&task);
    let message = answer["answers"][0]["failed"].as_str().unwrap();
    assert!(message.contains("40000 bytes"), "{message}");
    assert!(test.studio.asked.lock().unwrap().is_empty());
}

#[test]
fn a_secret_is_given_by_name_and_taken_out_of_everything_that_the_plugin_says() {
    let test = Test::granting(|grants| {
        grants.capabilities.push(Capability::Secrets);
        grants.secrets.push("KEY".to_owned());
    });
    for (say_in, length) in [
        ("", Some(SECRET.len())),
        ("answer", Some(SECRET.len())),
        ("log", None),
        ("error", None),
        ("panic", None),
    ] {
        let execution = test.run(&json!({ "do": "secret", "name": "KEY", "say_in": say_in }));
        let everything = serde_json::to_string(&execution).unwrap();
        assert!(!everything.contains(SECRET), "{say_in}: {everything}");
        if !say_in.is_empty() {
            assert!(
                everything.contains("[secret KEY]"),
                "{say_in}: {everything}"
            );
        }
        if let (Some(length), ExecutionOutcome::Ok { output }) = (length, &execution.outcome) {
            assert_eq!(output["length"], length);
        }
    }
    let other = test.answer(&json!({ "do": "secret", "name": "OTHER", "say_in": "" }));
    assert_eq!(other["has"], false);
    let uses = test.uses();
    assert_eq!(uses.len(), 6);
    assert_eq!((uses[0].target.as_str(), uses[0].times), ("KEY", 1));
    assert_eq!((uses[5].target.as_str(), uses[5].refused), ("OTHER", 1));
    assert!(!format!("{uses:?}").contains(SECRET));
}

/// With the secret granted.
fn granting_the_key() -> Test {
    Test::granting(|grants| {
        grants.capabilities.push(Capability::Secrets);
        grants.secrets.push("KEY".to_owned());
    })
}

/// Holds no part of the secret, and says that one was there.
fn assert_hidden(place: &str, said: &impl std::fmt::Debug) {
    let said = format!("{said:?}");
    assert!(!said.contains(&SECRET[..4]), "{place}: {said}");
    assert!(
        said.contains("[secret KEY]") || place == "long",
        "{place}: {said}"
    );
}

#[test]
fn an_analyzer_says_no_secret_wherever_it_puts_it() {
    let test = granting_the_key();
    for place in [
        "code",
        "message",
        "replacement",
        "metric",
        "details",
        "error",
        "panic",
    ] {
        let file = SourceFile {
            path: "a.py".to_owned(),
            code: place.to_owned(),
            language: None,
        };
        let analyses = test.host.analyze("connected", &[file]).unwrap();
        assert_eq!(analyses.len(), 1);
        assert_hidden(place, &analyses);
    }
}

#[test]
fn a_curator_puts_no_secret_into_reasons_names_and_rewritten_rows() {
    let test = granting_the_key();
    let job = test.host.job("connected", PluginKind::Curator, &[].into());
    let job = job.unwrap();
    for place in [
        "drop",
        "long",
        "rewrite",
        "why",
        "code",
        "score",
        "not-finite",
        "bad-name",
        "signature",
        "error",
        "panic",
    ] {
        let sample = Sample {
            parts: vec![SamplePart {
                name: "text".to_owned(),
                text: place.to_owned(),
                learned: true,
            }],
            path: None,
            language: None,
        };
        let judged = job.curate(&[sample]).remove(0);
        assert_hidden(place, &judged);
        let is_answer = matches!(place, "drop" | "long" | "rewrite" | "why");
        assert_eq!(judged.result.is_ok(), is_answer, "{place}: {judged:?}");
    }
}

#[test]
fn a_scorer_gives_no_secret_for_a_reason() {
    let test = granting_the_key();
    let job = test.host.job("connected", PluginKind::Scorer, &[].into());
    let job = job.unwrap();
    for place in ["name", "reason", "control", "error", "panic"] {
        let completion = Completion {
            prompt: String::new(),
            text: place.to_owned(),
            reference: None,
            language: None,
        };
        assert_hidden(place, &job.score(&[completion]));
    }
}

#[test]
fn a_secret_that_is_asked_for_as_a_name_does_not_get_into_the_audit() {
    let test = Test::granting(|grants| {
        http(grants, &["http://127.0.0.1:1"]);
        grants.capabilities.push(Capability::Secrets);
        grants.secrets.push("KEY".to_owned());
    });
    let task = json!({ "do": "http", "url": format!("http://{SECRET}.example"), "secret": "KEY" });
    test.answer(&task);
    let refused = test.uses().into_iter().find(|used| used.refused == 1);
    assert_eq!(
        refused.unwrap().target,
        "http://[secret KEY].example".to_owned()
    );
}

#[test]
fn a_granted_host_is_asked_and_what_went_over_is_counted() {
    let server = Server::text("200 OK", "hello");
    let test = Test::granting(|grants| {
        http(grants, &[&server.url()]);
        grants.capabilities.push(Capability::Secrets);
        grants.secrets.push("KEY".to_owned());
    });
    let task = json!({ "do": "http", "url": server.url() + "/v1?q=1", "body": "question", "secret": "KEY" });
    let answer = test.answer(&task);
    assert_eq!(
        answer["hops"],
        json!([{ "status": 200, "bytes": 5, "text": "hello" }])
    );
    let asked = server.asked();
    assert!(
        asked[0].starts_with("POST /v1?q=1 HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(asked[0].ends_with("\r\n\r\nquestion"), "{asked:?}");
    assert!(asked[0].contains(&format!("Bearer {SECRET}")), "{asked:?}");
    assert!(
        asked[0].contains(&format!("127.0.0.1:{}", server.port)),
        "{asked:?}"
    );
    let uses = test.uses();
    let used = uses
        .iter()
        .find(|used| used.capability == Capability::Http)
        .unwrap();
    assert_eq!(
        (used.target.as_str(), used.times, used.bytes),
        (server.url().as_str(), 1, 13)
    );
}

#[test]
fn a_host_that_is_not_granted_is_not_asked_even_on_another_port_of_one_that_is() {
    let (granted, other) = (Server::text("200 OK", "yes"), Server::text("200 OK", "no"));
    let test = Test::granting(|grants| http(grants, &[&granted.url()]));
    assert_eq!(test.hops(&granted.url())[0]["status"], 200);
    for url in [
        other.url(),
        format!("https://127.0.0.1:{}", granted.port),
        "ftp://127.0.0.1".to_owned(),
    ] {
        let hops = test.hops(&url);
        assert_eq!(hops.len(), 1, "{url}: {hops:?}");
        fault(&hops[0]);
    }
    assert!(other.asked().is_empty());
    assert_eq!(granted.asked().len(), 1);
}

#[test]
fn an_answer_that_points_elsewhere_is_not_followed_by_the_host_and_asked_for_again_by_the_plugin() {
    let hidden = Server::text("200 OK", "hidden");
    let head = format!("302 Found\r\nlocation: {}/secret", hidden.url());
    let server = Server::text(&head, "go there");
    let test = Test::granting(|grants| http(grants, &[&server.url()]));
    let hops = test.hops(&server.url());
    assert_eq!(hops[0]["status"], 302);
    assert!(fault(&hops[1]).contains("HttpRequestDenied"), "{hops:?}");
    assert!(hidden.asked().is_empty());
    test.grant({
        let mut grants = Grants::from(&[Capability::Log]);
        http(&mut grants, &[&server.url(), &hidden.url()]);
        grants
    });
    assert_eq!(test.hops(&server.url())[1]["text"], "hidden");
}

#[test]
fn a_name_that_leads_into_a_private_network_is_refused_until_that_address_is_granted() {
    let server = Server::text("200 OK", "inside");
    let url = format!("http://localhost:{}", server.port);
    let test = Test::granting(|grants| http(grants, &[&url]));
    let hops = test.hops(&url);
    assert!(
        fault(&hops[0]).contains("DestinationIpProhibited"),
        "{hops:?}"
    );
    assert!(server.asked().is_empty());
    let used = test.uses().pop().unwrap();
    assert_eq!(
        (used.target.as_str(), used.refused, used.times),
        (url.as_str(), 1, 0)
    );
    test.grant({
        let mut grants = Grants::from(&[Capability::Log]);
        http(&mut grants, &[&url]);
        grants.addresses = vec!["127.0.0.1".parse().unwrap()];
        grants
    });
    assert_eq!(test.hops(&url)[0]["text"], "inside");
}

#[test]
fn hosts_are_asked_no_more_often_than_the_manifest_says() {
    let server = Server::text("200 OK", "hello");
    let test = Test::granting(|grants| http(grants, &[&server.url()]));
    let manifest = String::from_utf8(source("plugin.toml")).unwrap();
    test.folder.write(
        "connected/plugin.toml",
        manifest + "requests_per_minute = 2\n",
    );
    test.host.reload().unwrap();
    let statuses: Vec<Value> = (0..3)
        .map(|_| test.hops(&server.url())[0].clone())
        .collect();
    assert_eq!(
        (&statuses[0]["status"], &statuses[1]["status"]),
        (&json!(200), &json!(200))
    );
    assert!(
        fault(&statuses[2]).contains("ConnectionLimitReached"),
        "{statuses:?}"
    );
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn an_answer_beyond_the_limit_and_one_that_never_comes_end_in_a_fault() {
    let large = Server::text("200 OK", &"x".repeat(2 << 20));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let test = Test::granting(|grants| http(grants, &[&large.url(), &silent_url]));
    let hops = test.hops(&large.url());
    assert!(fault(&hops[0]).contains("HttpResponseBodySize"), "{hops:?}");
    // The call's own time is the limit of every wait in it.
    let manifest = String::from_utf8(source("plugin.toml")).unwrap();
    test.folder
        .write("connected/plugin.toml", manifest.replace("20000", "300"));
    test.host.reload().unwrap();
    let task = json!({ "do": "http", "url": silent_url });
    let execution = test.run(&task);
    let ExecutionOutcome::Failed { code, .. } = execution.outcome else {
        // The plugin may still have had the time to say what it saw.
        assert!(
            format!("{execution:?}").contains("Timeout"),
            "{execution:?}"
        );
        return;
    };
    assert_eq!(code, "deadline");
}

#[test]
fn a_body_for_a_request_that_is_never_sent_is_cut_and_holds_nobody() {
    let test = Test::granting(|grants| http(grants, &["http://127.0.0.1:1"]));
    let little = test.answer(&json!({ "do": "never_send", "bytes": 100_000 }));
    assert_eq!(little["wrote"], 100_000);
    let much = test.answer(&json!({ "do": "never_send", "bytes": 8 << 20 }));
    assert!(fault(&much["wrote"]).contains("Closed"), "{much}");
}

#[test]
fn a_granted_folder_can_be_read_and_nothing_around_it() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.txt"), "outside").unwrap();
    let corpus = outside.path().join("corpus");
    std::fs::create_dir_all(corpus.join("deep")).unwrap();
    std::fs::write(corpus.join("deep/a.txt"), "inside").unwrap();
    std::fs::write(corpus.join("large.txt"), vec![b'x'; 2 << 20]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), corpus.join("link.txt")).unwrap();
    let test = Test::granting(|grants| {
        grants.capabilities.push(Capability::Folders);
        grants.folders.insert("corpus".to_owned(), corpus.clone());
    });
    let read = test.answer(&json!({ "do": "read", "path": "/corpus/deep/a.txt" }));
    assert_eq!(read, json!({ "bytes": 6, "text": "inside" }));
    let used = test.uses().pop().unwrap();
    assert_eq!(
        (used.target.as_str(), used.times, used.bytes),
        ("corpus", 1, 6)
    );
    let listed = test.answer(&json!({ "do": "list", "path": "/corpus/deep" }));
    assert_eq!(listed["names"], json!(["a.txt"]));
    for task in [
        json!({ "do": "read", "path": "/corpus/../secret.txt" }),
        json!({ "do": "read", "path": "/corpus/link.txt" }),
        json!({ "do": "read", "path": "/etc/passwd" }),
        json!({ "do": "write", "path": "/corpus/new.txt" }),
        json!({ "do": "write", "path": "/corpus/deep/a.txt" }),
        // Over limits.lent_bytes.
        json!({ "do": "read", "path": "/corpus/large.txt" }),
    ] {
        let execution = test.run(&task);
        assert!(
            matches!(execution.outcome, ExecutionOutcome::Failed { ref code, .. } if code == "plugin_error"),
            "{task}: {execution:?}"
        );
    }
    assert!(!corpus.join("new.txt").exists());
    assert_eq!(std::fs::read(corpus.join("deep/a.txt")).unwrap(), b"inside");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_a_granted_folder_holds_nobody() {
    let corpus = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(corpus.path().join("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    let test = Test::granting(|grants| {
        grants.capabilities.push(Capability::Folders);
        let path = corpus.path().to_owned();
        grants.folders.insert("corpus".to_owned(), path);
    });
    let read = test.run(&json!({ "do": "read", "path": "/corpus/pipe" }));
    assert!(matches!(read.outcome, ExecutionOutcome::Failed { .. }));
}
