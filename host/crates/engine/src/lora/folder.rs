use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::DType;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Settings;
use super::target::last_words;
use crate::model::{Decoder, weights};
use crate::{Error, Result};

/// Where an adapter's base comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Base {
    /// Hub id, where it is known. Never a local path: the folder travels.
    pub(crate) repo: Option<String>,
    pub(crate) revision: Option<String>,
    /// Digest of the base's weights.
    pub(crate) digest: String,
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
    let tensors = decoder
        .adapter_parameters()
        .into_iter()
        .map(|parameter| (parameter.name.clone(), parameter.value.clone()))
        .collect();
    weights::write(
        &folder.join("adapter_model.safetensors"),
        tensors,
        DType::F32,
    )?;
    let adapted = decoder.linears().filter(|linear| linear.lora.is_some());
    let modules = last_words(adapted.map(|linear| linear.name.as_str()));
    let config = settings.to_json(&modules, base.repo.as_deref(), base.revision.as_deref());
    write_json(&folder.join("adapter_config.json"), &config)?;
    let note = json!({
        "base_model_sha256": base.digest,
        "base_model_type": decoder.description.model_type,
        "codetune_version": env!("CARGO_PKG_VERSION"),
    });
    write_json(&folder.join("codetune.json"), &note)
}

/// Writes JSON with a line end and waits until it is on the disk.
pub(crate) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("JSON values serialize") + "\n";
    crate::files::write_synced(path, text.as_bytes())
}

/// SHA-256 over the base's weight files, in the order of their names.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn base_digest(folder: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(Error::io("read", folder))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == "safetensors")
        })
        .collect();
    files.sort();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    for path in files {
        let mut file = std::fs::File::open(&path).map_err(Error::io("read", &path))?;
        loop {
            let count = file.read(&mut buffer).map_err(Error::io("read", &path))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
    }
    Ok(crate::files::hex(&hasher.finalize()))
}
