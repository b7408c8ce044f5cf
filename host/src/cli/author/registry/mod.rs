//! Plugins in an OCI registry, as `wkg oci push` puts them there: a manifest with one layer, the component.
//!
//! Nothing is taken on trust: a manifest is held to the digest that it was asked for by, the component to the digest in the
//! manifest. Public repositories only: a token is asked for without a name.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::{Agent, Body};

use super::usage_error;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const COMPONENT: &str = "application/wasm";
/// Bytes of a manifest or a token's answer.
const MOST_TEXT: u64 = 4 << 20;
/// Bytes of a component; the plugin host takes no larger one.
const MOST_COMPONENT: u64 = 64 << 20;
/// A registry that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// `oci://REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    registry: String,
    /// `me/plugins/todo-finder`
    repository: String,
    tag: String,
    /// What the manifest must be, as `sha256:` and 64 hex digits.
    digest: Option<String>,
}

/// What was fetched.
pub(super) struct Artifact {
    pub(super) component: Vec<u8>,
    /// The manifest's digest, to pin it by.
    pub(super) digest: String,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
}

impl Reference {
    /// Reads what stands after `oci://`.
    ///
    /// # Errors
    /// What is wrong, and how a reference looks.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong = |why: &str| {
            usage_error(format!(
                "oci://{text}: {why}; a reference is oci://REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]"
            ))
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest
            && !is_digest(digest)
        {
            return Err(wrong(
                "the digest is not sha256: and 64 of 0 to 9 and a to f",
            ));
        }
        let (registry, path) = name
            .split_once('/')
            .ok_or_else(|| wrong("it names no repository"))?;
        let (repository, tag) = path.split_once(':').unwrap_or((path, "latest"));
        let is_plain = |text: &str, more: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let is_path = repository
            .split('/')
            .all(|part| is_plain(part, "._-") && !part.starts_with('.'));
        if !is_plain(registry, ".:-[]") || !is_path || !is_plain(tag, "._-") {
            return Err(wrong(
                "it has characters that no registry, repository or tag has",
            ));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest.map(str::to_owned),
        })
    }

    /// What the repository calls the plugin: the last part of its path.
    pub(super) fn name(&self) -> &str {
        self.repository
            .rsplit('/')
            .next()
            .unwrap_or(&self.repository)
    }

    /// The same reference with the digest of what was fetched, to have the same again.
    pub(super) fn pinned(&self, digest: &str) -> String {
        format!(
            "{}/{}:{}@{digest}",
            self.registry, self.repository, self.tag
        )
    }

    /// Without encryption only where nobody is between.
    fn address(&self) -> String {
        let host = self
            .registry
            .rsplit_once(':')
            .map_or(self.registry.as_str(), |(host, _)| host);
        let scheme = match host {
            "localhost" | "127.0.0.1" | "[::1]" => "http",
            _ => "https",
        };
        format!("{scheme}://{}/v2/{}", self.registry, self.repository)
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn digest_of(bytes: &[u8]) -> String {
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

/// Fetches manifest and component and holds both to their digests.
///
/// # Errors
/// A registry that does not answer or has no such thing, something else than was asked for.
pub(super) fn fetch(reference: &Reference) -> anyhow::Result<Artifact> {
    let mut session = Session::new(reference);
    let wanted = reference.digest.as_deref().unwrap_or(&reference.tag);
    let bytes = session.get(&format!("manifests/{wanted}"), MANIFEST, MOST_TEXT)?;
    let digest = digest_of(&bytes);
    if let Some(wanted) = &reference.digest {
        ensure!(
            digest == *wanted,
            "{} gave a manifest of {digest} where {wanted} was asked for; nothing is installed",
            reference.registry
        );
    }
    let manifest: Manifest = serde_json::from_slice(&bytes).with_context(|| {
        format!(
            "{}: the manifest is none of an artifact",
            reference.registry
        )
    })?;
    let mut components = manifest
        .layers
        .iter()
        .filter(|layer| layer.media_type == COMPONENT);
    let (Some(layer), None) = (components.next(), components.next()) else {
        bail!(
            "{}: the manifest of {} has no single layer of type {COMPONENT}; `wkg oci push` makes one",
            reference.registry,
            reference.repository
        );
    };
    ensure!(
        is_digest(&layer.digest),
        "the layer's digest {:?} is none of SHA-256",
        layer.digest
    );
    ensure!(
        layer.size <= MOST_COMPONENT,
        "the component has {} bytes; at most {MOST_COMPONENT} are taken",
        layer.size
    );
    let component = session.get(&format!("blobs/{}", layer.digest), COMPONENT, layer.size)?;
    let found = digest_of(&component);
    ensure!(
        found == layer.digest,
        "{} gave a component of {found} where {} stands in the manifest; nothing is installed",
        reference.registry,
        layer.digest
    );
    Ok(Artifact { component, digest })
}

/// One repository, and the token that it gave.
struct Session {
    agent: Agent,
    address: String,
    token: Option<String>,
}

impl Session {
    fn new(reference: &Reference) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_recv_body(Some(10 * PATIENCE))
            .build();
        Self {
            agent: config.into(),
            address: reference.address(),
            token: None,
        }
    }

    /// One thing of the repository, after a token was got where one is wanted.
    fn get(&mut self, path: &str, accept: &str, most: u64) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/{path}", self.address);
        let mut response = self.send(&url, accept)?;
        if response.status() == 401 && self.token.is_none() {
            self.token = Some(self.ask(&response)?);
            response = self.send(&url, accept)?;
        }
        ensure!(response.status() == 200, "{url}: {}", said(&mut response));
        read(&mut response, most).with_context(|| url)
    }

    fn send(&self, url: &str, accept: &str) -> anyhow::Result<Response<Body>> {
        let mut request = self.agent.get(url).header("accept", accept);
        if let Some(token) = &self.token {
            // ureq does not send it on to the host where a redirect leads.
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().with_context(|| url.to_owned())
    }

    /// A token for everyone, where the answer says that one is given.
    fn ask(&self, response: &Response<Body>) -> anyhow::Result<String> {
        let challenge = response
            .headers()
            .get("www-authenticate")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let part = |key: &str| {
            let rest = challenge.split_once(&format!("{key}=\""))?.1;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let realm = part("realm")
            .filter(|_| challenge.to_ascii_lowercase().starts_with("bearer "))
            .with_context(|| {
                format!(
                    "{} wants a password; only public repositories can be read",
                    self.address
                )
            })?;
        // The registry says where; it must not be less safe than the registry itself.
        ensure!(
            realm.starts_with("https://") || self.address.starts_with("http://"),
            "{} sends for a token to {realm}, without encryption",
            self.address
        );
        let mut request = self.agent.get(&realm);
        for key in ["service", "scope"] {
            if let Some(value) = part(key) {
                request = request.query(key, value);
            }
        }
        let mut response = request.call().with_context(|| realm.clone())?;
        ensure!(response.status() == 200, "{realm}: {}", said(&mut response));
        let answer: Value = serde_json::from_slice(&read(&mut response, MOST_TEXT)?)?;
        let token = answer.get("token").or_else(|| answer.get("access_token"));
        token
            .and_then(Value::as_str)
            .map(str::to_owned)
            .with_context(|| format!("{realm} gave no token"))
    }
}

fn read(response: &mut Response<Body>, most: u64) -> anyhow::Result<Vec<u8>> {
    Ok(response
        .body_mut()
        .with_config()
        .limit(most)
        .read_to_vec()?)
}

/// The status, and the registry's own words.
fn said(response: &mut Response<Body>) -> String {
    let status = response.status();
    let answer: Value = read(response, MOST_TEXT)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let message = answer
        .pointer("/errors/0/message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let message: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    format!("{status} {message}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn references_are_read_whole() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let reference = Reference::parse(&format!("localhost:5000/me/todo:1.2@{digest}")).unwrap();
        assert_eq!(reference.address(), "http://localhost:5000/v2/me/todo");
        assert_eq!(
            (reference.tag.as_str(), reference.digest.as_deref()),
            ("1.2", Some(digest.as_str()))
        );
        let reference = Reference::parse("registry.example/todo").unwrap();
        assert_eq!(reference.address(), "https://registry.example/v2/todo");
        assert_eq!((reference.tag.as_str(), reference.digest), ("latest", None));
        for wrong in [
            "todo",
            "a/b@sha256:12",
            "a/b@md5:1",
            "a/../b",
            "a/b?c",
            "/b",
            "a/",
            "a/b:",
        ] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }
}
