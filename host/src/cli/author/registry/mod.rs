//! Plugins in an OCI registry, as `wkg oci push` puts them there: a manifest with one layer, the component.
//!
//! Nothing is taken on trust: a manifest is held to the digest that it was asked for by, the component to the digest in the
//! manifest. `reference` says how one is named, `session` speaks to the registry, `login` knows what `docker login` keeps.

mod login;
mod reference;
mod session;

use std::fmt::Write as _;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub(super) use reference::Reference;
use reference::is_digest;
use session::{MOST_TEXT, Session};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const COMPONENT: &str = "application/wasm";
/// Bytes of a component; the plugin host takes no larger one.
const MOST_COMPONENT: u64 = 64 << 20;

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
