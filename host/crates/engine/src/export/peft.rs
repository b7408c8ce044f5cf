//! An adapter as a PEFT folder of its own.

use std::path::Path;

use serde_json::{Value, json};

use super::merge::{Adapter, Merged};
use crate::card::Facts;
use crate::lora::{Base, peft_defaults, write_json, write_origin};
use crate::train::copy_tokenizer;
use crate::{Error, Result, files};

/// Writes the folder: the tensors as they are, and a config that holds every key of PEFT's.
///
/// Keys that other programs add and that change nothing fall away, so that PEFT does not warn of them. The base is
/// named by its hub id where it is known, never by a path of this machine.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn write(folder: &Path, merged: &Merged, adapter: &Adapter) -> Result<()> {
    let path = adapter.folder.join("adapter_config.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let theirs: Value = serde_json::from_str(&text)
        .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
    let base = Base::of_folder(&merged.folder)?;
    let mut config = peft_defaults();
    for (key, value) in &mut config {
        if let Some(theirs) = theirs.get(key) {
            *value = theirs.clone();
        }
    }
    let named = theirs["base_model_name_or_path"].as_str();
    let named = named.filter(|name| is_hub_id(name)).map(str::to_owned);
    config.insert(
        "base_model_name_or_path".into(),
        json!(base.repo.clone().or(named)),
    );
    if base.revision.is_some() {
        config.insert("revision".into(), json!(base.revision));
    }
    config.insert("inference_mode".into(), json!(true));
    write_json(&folder.join("adapter_config.json"), &Value::Object(config))?;
    let from = adapter.folder.join("adapter_model.safetensors");
    let to = folder.join("adapter_model.safetensors");
    std::fs::copy(&from, &to).map_err(Error::io("write", &to))?;
    // A copy takes the permissions of what it copies, which may be nobody else's to read.
    files::make_readable(&to)?;
    std::fs::File::open(&to)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("write", &to))?;
    if merged.tokenizer_folder != merged.folder {
        copy_tokenizer(&merged.tokenizer_folder, folder)?;
    }
    let facts = Facts::beside(&adapter.folder);
    let run = (facts != Facts::default()).then_some(facts);
    write_origin(folder, &base, &merged.description.model_type, run.as_ref())
}

/// `org/name` in the hub's characters: a path of a machine has another form.
fn is_hub_id(name: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    name.split_once('/')
        .is_some_and(|(owner, name)| word(owner) && word(name))
        && !Path::new(name).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hub_id_names_the_base() {
        assert!(is_hub_id("Qwen/Qwen2.5-Coder-0.5B"));
        for path in [
            "/models/tiny",
            "./tiny",
            "models/tiny/x",
            "tiny",
            "..\\tiny",
            "src/lib.rs",
        ] {
            assert!(!is_hub_id(path), "{path}");
        }
    }
}
