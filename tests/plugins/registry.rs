//! Installing from an OCI registry: a server in this process that speaks the protocol, with a token as public ones want it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::channel;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::json;
use sha2::{Digest, Sha256};

const TOKEN: &str = "a-token-for-everyone";

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// What the registry holds; what it gives may be something else.
#[derive(Clone)]
struct Content {
    manifest: Vec<u8>,
    component: Vec<u8>,
    /// The component's address.
    blob: String,
    port: u16,
}

struct Registry {
    port: u16,
    server: ServerHandle,
    folder: tempfile::TempDir,
    /// Of the manifest.
    digest: String,
}

impl Registry {
    /// A registry with `me/source-stats:1.0`, whose component is what `spoil` makes of the shipped one after the manifest
    /// was written.
    fn new(spoil: impl Fn(&mut Vec<u8>)) -> Self {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/source-stats");
        let mut component = std::fs::read(shipped.join("source-stats.wasm")).unwrap();
        let blob = digest(&component);
        // As `wkg oci push` writes it.
        let config = b"{}";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.wasm.config.v0+json",
                "digest": digest(config), "size": config.len(),
            },
            "layers": [
                { "mediaType": "application/wasm", "digest": blob, "size": component.len() }
            ],
        });
        let manifest = manifest.to_string().into_bytes();
        spoil(&mut component);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let digest = digest(&manifest);
        let content = web::Data::new(Content {
            manifest,
            component,
            blob,
            port,
        });
        let (sender, started) = channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(content.clone())
                        .route("/v2/me/source-stats/{kind}/{what}", web::get().to(give))
                        .route("/token", web::get().to(token))
                };
                let server = HttpServer::new(app)
                    .workers(1)
                    .listen(listener)
                    .unwrap()
                    .run();
                sender.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        Self {
            port,
            server: started.recv().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            digest,
        }
    }

    fn install(&self, reference: &str) -> Output {
        let folder = self.folder.path();
        Command::new(env!("CARGO_BIN_EXE_codetune"))
            .args(["plugin", "install"])
            .arg(format!("oci://127.0.0.1:{}/{reference}", self.port))
            .env("CODETUNE_DATA_DIR", folder.join("data"))
            .env("CODETUNE_PLUGINS_DIR", folder.join("plugins"))
            .output()
            .unwrap()
    }

    fn installed(&self) -> bool {
        self.folder
            .path()
            .join("plugins/source-stats/plugin.toml")
            .exists()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // The thread ends by itself.
        drop(self.server.stop(false));
    }
}

async fn give(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    content: web::Data<Content>,
) -> HttpResponse {
    let sent = request.headers().get("authorization");
    if sent.is_none_or(|value| value != format!("Bearer {TOKEN}").as_str()) {
        let challenge = format!(
            "Bearer realm=\"http://127.0.0.1:{}/token\",service=\"test\",scope=\"repository:me/source-stats:pull\"",
            content.port
        );
        return HttpResponse::Unauthorized()
            .insert_header(("www-authenticate", challenge))
            .finish();
    }
    let (kind, what) = path.into_inner();
    match kind.as_str() {
        // A liar's registry gives the same manifest for every digest.
        "manifests" if what == "1.0" || what.starts_with("sha256:") => HttpResponse::Ok()
            .content_type("application/vnd.oci.image.manifest.v1+json")
            .body(content.manifest.clone()),
        "blobs" if what == content.blob => HttpResponse::Ok().body(content.component.clone()),
        _ => HttpResponse::NotFound().json(json!({
            "errors": [{ "code": "MANIFEST_UNKNOWN", "message": "manifest unknown" }]
        })),
    }
}

async fn token(query: web::Query<std::collections::HashMap<String, String>>) -> HttpResponse {
    assert_eq!(query["service"], "test");
    assert_eq!(query["scope"], "repository:me/source-stats:pull");
    HttpResponse::Ok().json(json!({ "token": TOKEN }))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_plugin_comes_from_a_registry_and_its_digest_is_told_to_pin_it_by() {
    let registry = Registry::new(|_| ());
    let output = registry.install("me/source-stats:1.0");
    assert!(output.status.success(), "{}", stderr(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let pinned = format!("me/source-stats:1.0@{}", registry.digest);
    assert!(told.contains(&pinned), "{told}");
    assert!(registry.installed());
    let output = registry.install(&pinned);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn another_manifest_than_the_pinned_one_is_not_installed() {
    let registry = Registry::new(|_| ());
    let output = registry.install(&format!("me/source-stats:1.0@sha256:{}", "0".repeat(64)));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("nothing is installed"),
        "{}",
        stderr(&output)
    );
    assert!(!registry.installed());
}

#[test]
fn a_component_that_is_not_the_manifests_is_not_installed() {
    // Of the same length, and a component still.
    let registry = Registry::new(|component| *component.last_mut().unwrap() ^= 1);
    let output = registry.install("me/source-stats:1.0");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("nothing is installed"),
        "{}",
        stderr(&output)
    );
    assert!(!registry.installed());
}

#[test]
fn what_a_registry_does_not_have_is_said_in_its_words() {
    let registry = Registry::new(|_| ());
    let output = registry.install("me/source-stats:2.0");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("manifest unknown"),
        "{}",
        stderr(&output)
    );
}
