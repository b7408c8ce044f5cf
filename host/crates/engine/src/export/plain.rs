//! A PiSSA or OLoRA adapter as an ordinary one, as PEFT converts it.

use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Value, json};

use super::merge::Adapter;
use crate::lora::{PREFIX, Split, principal, write_json};
use crate::model::{Weights, weights};
use crate::{Error, Result};

/// Converts an adapter that changed its base into one that adds to the base as it was, of twice the rank:
/// `B A - B₀ A₀ = [B, -B₀] [A; A₀]`, with what it began with, `B₀ A₀`, found in the base again.
///
/// Everything else of the adapter (magnitudes, whole modules) holds for both. Returns whether there was anything to
/// convert; if not, nothing is written.
///
/// # Errors
/// A file cannot be read or written, or the adapter does not fit the model.
pub(super) fn convert(model: &Path, adapter: &Path, folder: &Path) -> Result<bool> {
    let mut adapter = Adapter::open(adapter)?;
    let Some(split) = Split::of(&adapter.settings.init) else {
        return Ok(false);
    };
    let mut base = Weights::open_folder(model)?;
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    let names: Vec<String> = adapter.weights.names().map(str::to_owned).collect();
    for name in names {
        let (module, other) = match name.strip_suffix(".lora_A.weight") {
            Some(module) => (module, "lora_B"),
            // Comes with its A.
            None if name.ends_with(".lora_B.weight") => continue,
            None => {
                let shape = adapter.weights.shape(&name).unwrap_or_default().to_vec();
                let mut value = adapter.weights.take(&name, &shape, DType::F32)?;
                // An embedding's adapter began as usual: of twice the rank it has zeros behind.
                let padded = ["lora_embedding_A", "lora_embedding_B"];
                if let Some(side) = padded.iter().position(|end| name.ends_with(end)) {
                    value = Tensor::cat(&[&value, &value.zeros_like()?], side)?;
                }
                tensors.push((name, value));
                continue;
            }
        };
        let path = module.strip_prefix(PREFIX).unwrap_or(module);
        let weight = format!("{path}.weight");
        let Some(&[out, input]) = base.shape(&weight) else {
            let message =
                format!("holds {name}, but the model has no {path}; it belongs to another model");
            return Err(Error::file(adapter.path(), message));
        };
        let rank = adapter.settings.rank(path);
        let name_b = format!("{module}.{other}.weight");
        let a = adapter.weights.take(&name, &[rank, input], DType::F32)?;
        let b = adapter.weights.take(&name_b, &[out, rank], DType::F32)?;
        let weight = base.take(&weight, &[out, input], DType::F32)?;
        let (a0, b0) = principal(&weight, path, &adapter.settings, split)?;
        tensors.push((name, Tensor::cat(&[&a, &a0], 0)?));
        tensors.push((name_b, Tensor::cat(&[&b, &b0.neg()?], 1)?));
    }
    weights::write(
        &folder.join("adapter_model.safetensors"),
        tensors,
        DType::F32,
    )?;
    let path = adapter.folder.join("adapter_config.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let mut config: Value = serde_json::from_str(&text)
        .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
    // The scale of each module stays: alpha grows as the rank, or its root, does.
    let factor = match adapter.settings.use_rslora {
        true => 2f64.sqrt(),
        false => 2.0,
    };
    let times = |alpha: f64| json!(alpha * factor);
    config["init_lora_weights"] = json!(true);
    config["r"] = json!(2 * adapter.settings.r);
    config["lora_alpha"] = times(adapter.settings.lora_alpha);
    let ranks = adapter.settings.rank_pattern.iter();
    config["rank_pattern"] = ranks
        .map(|(key, rank)| (key.clone(), json!(2 * rank)))
        .collect();
    let alphas = adapter.settings.alpha_pattern.iter();
    config["alpha_pattern"] = alphas
        .map(|(key, alpha)| (key.clone(), times(*alpha)))
        .collect();
    write_json(&folder.join("adapter_config.json"), &config)?;
    Ok(true)
}
