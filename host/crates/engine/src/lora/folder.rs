use std::path::{Path, PathBuf};

use candle_core::DType;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Settings;
use super::target::last_words;
use crate::card::Facts;
use crate::model::{Decoder, weights};
use crate::{Error, Result, files};

/// Where an adapter's base comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Base {
    /// Hub id, where it is known. Never a local path: the folder travels.
    pub(crate) repo: Option<String>,
    pub(crate) revision: Option<String>,
    /// Digest of the base's weights.
    pub(crate) digest: String,
}

impl Base {
    /// Hub id of a model folder, where its path is one of the hub's cache.
    pub(crate) fn repo_of(folder: &Path) -> Option<String> {
        hub_name(folder).0
    }

    /// The digest of a model folder, and its hub id and revision where its path is one of the hub's cache
    /// (`models--org--name/snapshots/<revision>`).
    ///
    /// # Errors
    /// The weights cannot be read.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self> {
        let (repo, revision) = hub_name(folder);
        Ok(Self {
            repo,
            revision,
            digest: base_digest(folder)?,
        })
    }
}

/// Hub id and revision of a path in the hub's cache.
fn hub_name(folder: &Path) -> (Option<String>, Option<String>) {
    let words: Vec<String> = folder
        .components()
        .map(|word| word.as_os_str().to_string_lossy().into_owned())
        .collect();
    let at = words.iter().position(|word| word.starts_with("models--"));
    let repo = at
        .and_then(|at| words[at].strip_prefix("models--"))
        .map(|name| name.replacen("--", "/", 1));
    let revision = at
        .filter(|at| words.get(at + 1).is_some_and(|word| word == "snapshots"))
        .and_then(|at| words.get(at + 2).cloned());
    (repo, revision)
}

/// Writes a PEFT folder: `adapter_config.json`, `adapter_model.safetensors`, and `codetune.json` with the digest of
/// the base.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write_adapter(
    folder: &Path,
    decoder: &Decoder,
    settings: &Settings,
    base: &Base,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let parameters = decoder.adapter_parameters().into_iter();
    let mut tensors: Vec<_> = parameters
        .map(|parameter| (parameter.name.clone(), parameter.value.clone()))
        .collect();
    tensors.extend(super::vocabulary::saved_beside(decoder)?);
    weights::write(
        &folder.join("adapter_model.safetensors"),
        tensors,
        DType::F32,
    )?;
    let adapted = decoder.linears().filter(|linear| linear.lora.is_some());
    let modules = last_words(adapted.map(|linear| linear.name.as_str()));
    let config = settings.to_json(&modules, base.repo.as_deref(), base.revision.as_deref());
    write_json(&folder.join("adapter_config.json"), &config)?;
    write_origin(folder, base, &decoder.description.model_type, None)
}

/// Writes `codetune.json`: which base an adapter or a model was made of, and what is known of its run.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_origin(
    folder: &Path,
    base: &Base,
    model_type: &str,
    run: Option<&Facts>,
) -> Result<()> {
    let mut note = json!({
        "base_model_sha256": base.digest,
        "base_model_type": model_type,
        "codetune_version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(run) = run {
        note["run"] = json!(run);
    }
    write_json(&folder.join("codetune.json"), &note)
}

/// Writes JSON with a line end and waits until it is on the disk.
pub(crate) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("JSON values serialize") + "\n";
    files::write_synced(path, text.as_bytes())
}

/// SHA-256 over the base's weight files, in the order of their names: of the file itself where there is one.
fn base_digest(folder: &Path) -> Result<String> {
    if crate::gguf::is_gguf(folder) {
        return files::digest(folder);
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(Error::io("read", folder))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == "safetensors")
        })
        .collect();
    paths.sort();
    if let [only] = paths.as_slice() {
        return files::digest(only);
    }
    let mut hasher = Sha256::new();
    for path in paths {
        hasher.update(files::digest(&path)?);
    }
    Ok(files::hex(&hasher.finalize()))
}
