//! Rotary scaling in llama.cpp's words.

use serde_json::{Map, Value as Json};

use super::{Keys, Sizes};
use crate::gguf::names::{Architecture, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT, ROPE_FREQS, key};
use crate::gguf::write::Value;
use crate::model::Description;

/// Adds what stretches the rotary embedding.
pub(super) fn scaling(
    sizes: &mut Sizes,
    architecture: &Architecture,
    keys: &Keys<'_>,
    d: &Description,
) -> Result<(), String> {
    let Some(table) = keys.rope_table() else {
        return Ok(());
    };
    let kind = ["rope_type", "type"]
        .into_iter()
        .find_map(|key| table.get(key).and_then(Json::as_str))
        .unwrap_or("default");
    let get = |key: &str| table.get(key).and_then(Json::as_f64);
    let needed = |key: &str| get(key).ok_or_else(|| format!("the rotary scaling has no {key}"));
    let name = architecture.name;
    let mut put = |key: &str, value: Value| {
        sizes.metadata.push((format!("{name}.{key}"), value));
    };
    let original = get("original_max_position_embeddings")
        .or_else(|| keys.number("original_max_position_embeddings"));
    match kind {
        "default" => {}
        "linear" => {
            put(key::ROPE_SCALING, Value::Text("linear".into()));
            put(key::ROPE_FACTOR, Value::F32(needed("factor")? as f32));
        }
        "yarn" => {
            let factor = needed("factor")?;
            put(key::ROPE_SCALING, Value::Text("yarn".into()));
            put(key::ROPE_FACTOR, Value::F32(factor as f32));
            let original = original.unwrap_or(d.max_positions as f64);
            put(key::ROPE_ORIGINAL_CONTEXT, Value::U32(original as u32));
            for (theirs, own) in [
                ("beta_fast", key::ROPE_YARN_BETA_FAST),
                ("beta_slow", key::ROPE_YARN_BETA_SLOW),
            ] {
                if let Some(value) = get(theirs) {
                    put(own, Value::F32(value as f32));
                }
            }
            // What llama.cpp multiplies its own by.
            let asked = yarn_attention_factor(factor, get);
            if let Some(asked) = asked {
                let own = asked / yarn_mscale(factor, 1.0);
                put(key::ROPE_ATTENTION_FACTOR, Value::F32(own as f32));
            }
        }
        "llama3" => {
            let factors = llama3(
                (d.head_dim, keys.rope_theta()),
                needed("factor")?,
                needed("low_freq_factor")?,
                needed("high_freq_factor")?,
                original.ok_or("the rotary scaling has no original_max_position_embeddings")?,
            );
            sizes.factors.push((ROPE_FREQS, factors));
        }
        "longrope" | "su" if name != "phi3" => {
            return Err(format!(
                "longrope has no place in a GGUF of {name}, whose reader in llama.cpp knows no rope factors; export safetensors"
            ));
        }
        "longrope" | "su" => {
            let original =
                original.ok_or("longrope needs original_max_position_embeddings in config.json")?;
            let stretch = get("factor").unwrap_or(d.max_positions as f64 / original);
            let factor = get("attention_factor").unwrap_or(if stretch <= 1.0 {
                1.0
            } else {
                (1.0 + stretch.ln() / original.ln()).sqrt()
            });
            put(key::ROPE_SCALING, Value::Text("longrope".into()));
            put(key::ROPE_ORIGINAL_CONTEXT, Value::U32(original as u32));
            put(key::ROPE_ATTENTION_FACTOR, Value::F32(factor as f32));
            for (theirs, own) in [
                ("long_factor", ROPE_FACTORS_LONG),
                ("short_factor", ROPE_FACTORS_SHORT),
            ] {
                sizes.factors.push((own, floats(table, theirs)?));
            }
        }
        other => {
            return Err(format!(
                "rope_type {other:?} has no place in a GGUF; default, linear, llama3, yarn and longrope have: export safetensors"
            ));
        }
    }
    Ok(())
}

/// What yarn multiplies cosines and sines by for a stretch, which llama.cpp does by itself with a `scale` of 1.
pub(in crate::gguf) fn yarn_mscale(stretch: f64, scale: f64) -> f64 {
    match stretch <= 1.0 {
        true => 1.0,
        false => 0.1 * scale * stretch.ln() + 1.0,
    }
}

/// The factor that a config asks for in place of yarn's own: `_compute_yarn_parameters` of Transformers.
fn yarn_attention_factor(stretch: f64, get: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    if let Some(factor) = get("attention_factor") {
        return Some(factor);
    }
    match (get("mscale"), get("mscale_all_dim")) {
        (Some(one), Some(all)) if one != 0.0 && all != 0.0 => {
            Some(yarn_mscale(stretch, one) / yarn_mscale(stretch, all))
        }
        _ => None,
    }
}

/// What each pair's wavelength is multiplied by: `_compute_llama3_parameters` of Transformers, as llama.cpp holds it.
fn llama3((dim, theta): (usize, f64), factor: f64, low: f64, high: f64, original: f64) -> Vec<f32> {
    (0..dim / 2)
        .map(|pair| {
            let frequency = theta.powf(-2.0 * pair as f64 / dim as f64);
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            let multiplied = if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            };
            multiplied as f32
        })
        .collect()
}

fn floats(table: &Map<String, Json>, key: &str) -> Result<Vec<f32>, String> {
    table
        .get(key)
        .and_then(Json::as_array)
        .and_then(|values| {
            let floats = values.iter().map(|value| Some(value.as_f64()? as f32));
            floats.collect()
        })
        .ok_or_else(|| format!("the rotary scaling has no list of numbers {key}"))
}
