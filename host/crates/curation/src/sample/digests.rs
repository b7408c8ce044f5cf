//! What samples and rows are known by.

use std::collections::BTreeMap;

use domain::Sample;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Read;

/// SHA-256 over everything that a curator sees of a sample.
pub(crate) fn digest(sample: &Sample) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    for part in &sample.parts {
        add(&part.name);
        add(&part.text);
        add(if part.learned { "1" } else { "0" });
    }
    for hint in [&sample.path, &sample.language] {
        add(if hint.is_some() { "1" } else { "0" });
        add(hint.as_deref().unwrap_or_default());
    }
    hasher.finalize().into()
}

/// What a row is known by; rows without a text are all alike.
pub(crate) fn digest_of(read: Option<&Read>) -> [u8; 32] {
    read.map_or([0; 32], |read| digest(&read.sample))
}

/// SHA-256 over its texts alone, and the tools that a conversation may call: by it a row is another's exact duplicate.
pub(crate) fn texts_digest(
    sample: &Sample,
    fields: &Map<String, Value>,
    columns: &BTreeMap<String, String>,
) -> [u8; 16] {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    for part in &sample.parts {
        add(&part.text);
    }
    let tools = columns.get("tools").map_or("tools", String::as_str);
    if let Some(tools) = fields.get(tools).filter(|tools| !tools.is_null()) {
        add(&tools.to_string());
    }
    let digest: [u8; 32] = hasher.finalize().into();
    *digest.first_chunk().unwrap_or(&[0; 16])
}
