//! Installing from an OCI registry: a server in this process that speaks the protocol, with a token as public ones want it, or
//! with a name and a password.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::channel;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::json;
use sha2::{Digest, Sha256};

const TOKEN: &str = "a-token-for-everyone";
const PASSWORD: &str = "a:password that nobody prints";
/// `me` and the password, as the header has them.
const BASIC: &str = "Basic bWU6YTpwYXNzd29yZCB0aGF0IG5vYm9keSBwcmludHM=";
const IDENTITY: &str = "an-identity-token";

/// Whom the registry lets read.
#[derive(Clone, Copy, PartialEq)]
enum Readers {
    /// Everyone, with a token.
    Everyone,
    /// Whoever shows the password for a token.
    Token,
    /// Whoever shows the password.
    Basic,
    /// Whoever trades an identity token for a token.
    Identity,
}

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
    readers: Readers,
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
        Self::of(Readers::Everyone, spoil)
    }

    fn private(readers: Readers) -> Self {
        Self::of(readers, |_| ())
    }

    fn of(readers: Readers, spoil: impl Fn(&mut Vec<u8>)) -> Self {
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
            readers,
        });
        let (sender, started) = channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(content.clone())
                        .route("/v2/me/source-stats/{kind}/{what}", web::get().to(give))
                        .route("/token", web::get().to(token))
                        .route("/token", web::post().to(traded))
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

    /// What `docker login` keeps of this registry.
    fn keep(&self, kept: serde_json::Value) {
        let config = json!({ "auths": { format!("127.0.0.1:{}", self.port): kept } });
        self.keep_config(&config);
    }

    fn keep_config(&self, config: &serde_json::Value) {
        let folder = self.folder.path().join("docker");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    }

    fn install(&self, reference: &str) -> Output {
        let folder = self.folder.path();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let helpers = std::iter::once(folder.join("helpers"));
        let path = std::env::join_paths(helpers.chain(std::env::split_paths(&path))).unwrap();
        Command::new(env!("CARGO_BIN_EXE_codetune"))
            .args(["plugin", "install"])
            .arg(format!("oci://127.0.0.1:{}/{reference}", self.port))
            .env("CODETUNE_DATA_DIR", folder.join("data"))
            .env("CODETUNE_PLUGINS_DIR", folder.join("plugins"))
            .env("DOCKER_CONFIG", folder.join("docker"))
            .env("PATH", path)
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
    let is_basic = content.readers == Readers::Basic;
    let wanted = match is_basic {
        true => BASIC.to_owned(),
        false => format!("Bearer {TOKEN}"),
    };
    let sent = request.headers().get("authorization");
    if sent.is_none_or(|value| value != wanted.as_str()) {
        let challenge = match is_basic {
            true => "Basic realm=\"test\"".to_owned(),
            false => format!(
                "Bearer realm=\"http://127.0.0.1:{}/token\",service=\"test\",scope=\"repository:me/source-stats:pull\"",
                content.port
            ),
        };
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

type Fields = HashMap<String, String>;

async fn token(
    request: HttpRequest,
    query: web::Query<Fields>,
    content: web::Data<Content>,
) -> HttpResponse {
    assert_eq!(query["service"], "test");
    assert_eq!(query["scope"], "repository:me/source-stats:pull");
    let sent = request.headers().get("authorization");
    match content.readers {
        Readers::Everyone => HttpResponse::Ok().json(json!({ "token": TOKEN })),
        Readers::Token if sent.is_some_and(|value| value == BASIC) => {
            HttpResponse::Ok().json(json!({ "access_token": TOKEN }))
        }
        // Somebody, but not one who may.
        _ if sent.is_some() => HttpResponse::Forbidden().json(json!({
            "errors": [{ "code": "DENIED", "message": "requested access is denied" }]
        })),
        _ => HttpResponse::Unauthorized().finish(),
    }
}

async fn traded(form: web::Form<Fields>, content: web::Data<Content>) -> HttpResponse {
    let fits = content.readers == Readers::Identity
        && form["grant_type"] == "refresh_token"
        && form["refresh_token"] == IDENTITY
        && form["service"] == "test"
        && form["scope"] == "repository:me/source-stats:pull";
    match fits {
        true => HttpResponse::Ok().json(json!({ "access_token": TOKEN })),
        false => HttpResponse::Unauthorized().finish(),
    }
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

/// As `docker login` writes a name and a password.
fn password() -> serde_json::Value {
    json!({ "auth": BASIC.trim_start_matches("Basic ") })
}

#[test]
fn a_private_registry_is_read_as_whoever_logged_in_there() {
    for (readers, kept) in [
        (Readers::Token, password()),
        (Readers::Basic, password()),
        (
            Readers::Basic,
            json!({ "username": "me", "password": PASSWORD }),
        ),
        (
            Readers::Identity,
            json!({ "auth": "bWU6", "identitytoken": IDENTITY }),
        ),
    ] {
        let registry = Registry::private(readers);
        registry.keep(kept);
        let output = registry.install("me/source-stats:1.0");
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(registry.installed());
    }
}

#[test]
fn who_is_not_logged_in_or_may_not_read_is_told_to_log_in() {
    for (readers, kept, part) in [
        (
            Readers::Token,
            None,
            "wants to know who reads me/source-stats",
        ),
        (
            Readers::Basic,
            None,
            "wants to know who reads me/source-stats",
        ),
        // `you` and another password.
        (
            Readers::Token,
            Some("eW91Om90aGVy"),
            "requested access is denied: 127.0.0.1:PORT does not let you read",
        ),
        (
            Readers::Basic,
            Some("eW91Om90aGVy"),
            "does not let you read",
        ),
    ] {
        let registry = Registry::private(readers);
        if let Some(auth) = kept {
            registry.keep(json!({ "auth": auth }));
        }
        let output = registry.install("me/source-stats:1.0");
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        let port = registry.port.to_string();
        for part in [part, "`docker login 127.0.0.1:PORT`"] {
            assert!(
                said.contains(&part.replace("PORT", &port)),
                "{part}: {said}"
            );
        }
        assert!(!said.contains("other") && !said.contains("eW91"), "{said}");
        assert!(!registry.installed());
    }
}

#[cfg(unix)]
#[test]
fn a_credential_helper_is_asked_and_its_failure_is_told() {
    use std::os::unix::fs::PermissionsExt;

    let registry = Registry::private(Readers::Basic);
    let helpers = registry.folder.path().join("helpers");
    std::fs::create_dir(&helpers).unwrap();
    let helper = helpers.join("docker-credential-vault");
    let write = |script: &str| {
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
    };
    registry.keep_config(&json!({ "auths": {}, "credsStore": "vault" }));
    // A public repository needs nobody's password, whatever becomes of the helper.
    write("#!/bin/sh\ncat >/dev/null\necho 'a secret word' >&2\nexit 3\n");
    let public = Registry::new(|_| ());
    public.keep_config(&json!({ "credsStore": "no-such-helper" }));
    let output = public.install("me/source-stats:1.0");
    assert!(output.status.success(), "{}", stderr(&output));

    let output = registry.install("me/source-stats:1.0");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("docker-credential-vault failed"), "{said}");
    assert!(!said.contains("a secret word"), "{said}");

    write("#!/bin/sh\ncat >/dev/null\necho 'credentials not found in native keychain'\nexit 1\n");
    let said = stderr(&registry.install("me/source-stats:1.0"));
    assert!(said.contains("wants to know who reads"), "{said}");

    write(&format!(
        "#!/bin/sh\nread -r server\n[ \"$1 $server\" = 'get 127.0.0.1:{}' ] || exit 1\n\
         printf '%s' '{{\"ServerURL\":\"\",\"Username\":\"me\",\"Secret\":\"{PASSWORD}\"}}'\n",
        registry.port
    ));
    let output = registry.install("me/source-stats:1.0");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(registry.installed());
}
