//! A studio for one test: its own data folder and database, and requests as a browser on this machine sends them.

pub(crate) mod browser;
pub(crate) mod served;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_web::cookie::Cookie;
use actix_web::http::{Method, StatusCode, header::HeaderMap};
use actix_web::test::{self, TestRequest};
use actix_web::web::Data;
use codetune::config::Config;
use codetune::server;
use codetune::state::AppState;
use domain::{RunConfig, RunEvent, RunId, RunStatus};
use serde_json::{Value, json};
use store::NewRun;

/// The name under which the studio of a test answers.
pub(crate) const HOST: &str = "127.0.0.1:7860";

pub(crate) struct TestApp {
    pub state: Data<AppState>,
    /// Kept, because it is deleted when dropped.
    folder: tempfile::TempDir,
}

/// What came back.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// A file that came back.
pub(crate) struct Download {
    headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Download {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// What a visitor's browser holds after the first page.
pub(crate) struct Visitor {
    pub cookie: String,
    pub token: String,
}

/// A data folder in that folder whose compiled plugins all tests share: compiling those that are shipped takes longer than most
/// tests.
pub(crate) fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    #[cfg(unix)]
    {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-plugins");
        let cache = data.join("cache");
        std::fs::create_dir_all(&shared).unwrap();
        std::fs::create_dir_all(&cache).unwrap();
        match std::os::unix::fs::symlink(shared, cache.join("plugins")) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{error}"),
            _ => {}
        }
    }
    data
}

/// Settings for a studio in that folder; pairs add to the environment.
pub(crate) fn config(folder: &Path, more: &[(&str, &str)]) -> Config {
    let mut variables = HashMap::from([
        ("CODETUNE_DATA_DIR", data(folder).display().to_string()),
        (
            "CODETUNE_PLUGINS_DIR",
            folder.join("plugins").display().to_string(),
        ),
    ]);
    variables.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let mut config = Config::read(&|name| variables.get(name).cloned()).unwrap();
    config.paths.program = env!("CARGO_BIN_EXE_codetune").into();
    config
}

impl TestApp {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("plugins")).unwrap();
        let config = config(folder.path(), variables);
        let state = server::open(config, HOST.parse().unwrap(), Duration::MAX).unwrap();
        Self { state, folder }
    }

    /// With a program in the GPU build's place, which `write` writes to where it is looked for.
    pub(crate) fn beside_a_gpu_build(write: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("plugins")).unwrap();
        let mut config = config(folder.path(), &[]);
        config.paths.program = folder.path().join("codetune");
        write(&folder.path().join("codetune-cuda"));
        let state = server::open(config, HOST.parse().unwrap(), Duration::MAX).unwrap();
        Self { state, folder }
    }

    /// The same folders and settings in a studio that starts anew, after `change` in between.
    pub(crate) fn restarted(self, change: impl FnOnce(&Config)) -> Self {
        self.restarted_within(Duration::MAX, change)
    }

    /// The same, with so much time for plugins that have to be compiled.
    pub(crate) fn restarted_within(self, patience: Duration, change: impl FnOnce(&Config)) -> Self {
        let Self { state, folder } = self;
        let config = state.config.clone();
        drop(state);
        change(&config);
        let state = server::open(config, HOST.parse().unwrap(), patience).unwrap();
        Self { state, folder }
    }

    /// With the plugins that ship with the studio.
    pub(crate) fn with_shipped_plugins() -> Self {
        let plugins = root().join("plugins").display().to_string();
        Self::with(&[("CODETUNE_PLUGINS_DIR", &plugins)])
    }

    pub(crate) async fn send(&self, request: TestRequest) -> Answer {
        let app = test::init_service(server::app(self.state.clone())).await;
        let response = test::call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = String::from_utf8(test::read_body(response).await.into()).unwrap();
        Answer {
            status,
            headers,
            body,
        }
    }

    /// As [`Self::get`], of what is no text.
    pub(crate) async fn get_bytes(&self, path: &str) -> Download {
        let app = test::init_service(server::app(self.state.clone())).await;
        let response = test::call_service(&app, request(Method::GET, path).to_request()).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Download {
            headers: response.headers().clone(),
            bytes: test::read_body(response).await.into(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path)).await
    }

    pub(crate) async fn json(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(request(method, path).set_json(body)).await
    }

    /// Opens a page as a browser does and keeps what its forms need.
    pub(crate) async fn visitor(&self) -> Visitor {
        let answer = self.get("/runs/new").await;
        let cookie = answer
            .header("set-cookie")
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        let marker = "name=\"csrf\" value=\"";
        let at = answer.body.find(marker).expect("a form with a token") + marker.len();
        Visitor {
            cookie,
            token: answer.body[at..].split('"').next().unwrap().to_owned(),
        }
    }

    pub(crate) async fn post_form(
        &self,
        visitor: &Visitor,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut form = vec![("csrf", visitor.token.as_str())];
        form.extend_from_slice(fields);
        self.send(with_cookie(request(Method::POST, path), visitor).set_form(form))
            .await
    }

    /// A run in the store, without a worker.
    pub(crate) fn run(&self, name: &str) -> RunId {
        let id = RunId::new();
        self.state
            .store
            .create_run(&NewRun {
                id,
                name: name.to_owned(),
                config: run_config(),
            })
            .unwrap();
        id
    }

    /// The same, taken by a worker that said `events` and ended with `status`.
    pub(crate) fn ended_run(&self, name: &str, events: &[RunEvent], status: RunStatus) -> RunId {
        let id = self.run(name);
        let claim = self
            .state
            .store
            .claim_run("test", std::time::Duration::from_secs(60))
            .unwrap()
            .unwrap();
        assert_eq!(claim.run.id, id);
        self.state.store.append_events(&claim, events).unwrap();
        self.state.store.finish_run(&claim, status, None).unwrap();
        id
    }
}

pub(crate) fn request(method: Method, path: &str) -> TestRequest {
    TestRequest::default()
        .method(method)
        .uri(path)
        .insert_header(("host", HOST))
}

pub(crate) fn with_cookie(request: TestRequest, visitor: &Visitor) -> TestRequest {
    request.cookie(Cookie::parse(visitor.cookie.clone()).unwrap())
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

pub(crate) fn run_config() -> RunConfig {
    RunConfig::from_json(json!({
        "model": { "path": "models/a" },
        "data": { "path": "data/b.jsonl" },
        "train": { "output": "out" },
    }))
    .unwrap()
}

pub(crate) fn started(total_steps: u64) -> RunEvent {
    RunEvent::Started {
        run: "r".into(),
        trainable_parameters: 10,
        all_parameters: 100,
        supervised_tokens_per_epoch: 1000,
        total_steps,
    }
}

pub(crate) fn step(step: u64, loss: f64) -> RunEvent {
    RunEvent::Step {
        step,
        epoch: step as f64 / 10.0,
        loss,
        learning_rate: 1e-4,
        grad_norm: 0.5,
        supervised_tokens: 64,
        tokens_per_second: 1000.0,
        process_rank: None,
        metrics: Default::default(),
    }
}
