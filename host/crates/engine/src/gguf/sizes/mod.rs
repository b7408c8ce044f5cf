//! The sizes and rotary settings of a `config.json` as llama.cpp's metadata.

mod scaling;

use serde_json::{Map, Value as Json};

use self::scaling::scaling;
pub(super) use self::scaling::yarn_mscale;
use super::names::{Architecture, key};
use super::write::Value;
use crate::model::Description;
use crate::ops::Activation;

/// What a file says of a model beside its weights and its tokenizer.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) metadata: Vec<(String, Value)>,
    /// Small tensors that Hugging Face keeps as numbers in the config.
    pub(crate) factors: Vec<(&'static str, Vec<f32>)>,
    /// What llama.cpp computes otherwise than the model asks, each in a sentence.
    pub(crate) warnings: Vec<String>,
}

/// Reads sizes and rotary settings.
///
/// # Errors
/// A sentence about what the format cannot say.
pub(crate) fn sizes(
    architecture: &Architecture,
    config: &Json,
    d: &Description,
) -> Result<Sizes, String> {
    let mut sizes = Sizes::default();
    let keys = Keys(config);
    let name = architecture.name;
    let mut put = |key: &str, value: Value| {
        sizes.metadata.push((format!("{name}.{key}"), value));
    };
    let layer_norm = matches!(name, "starcoder" | "starcoder2");
    let rotary = name != "starcoder";
    put(key::VOCAB_SIZE, number(d.vocab));
    put(key::CONTEXT_LENGTH, number(d.max_positions));
    put(key::EMBEDDING_LENGTH, number(d.hidden));
    let layers = keys
        .number("num_hidden_layers")
        .or_else(|| keys.number("n_layer"))
        .ok_or("has no num_hidden_layers")?;
    put(key::BLOCK_COUNT, number(layers as usize));
    put(key::FEED_FORWARD_LENGTH, number(d.intermediate));
    put(key::HEAD_COUNT, number(d.heads));
    put(key::HEAD_COUNT_KV, number(d.kv_heads));
    put(key::KEY_LENGTH, number(d.head_dim));
    put(key::VALUE_LENGTH, number(d.head_dim));
    let epsilon = match layer_norm {
        true => key::LAYER_NORM_EPS,
        false => key::RMS_EPS,
    };
    put(epsilon, Value::F32(d.norm_eps));
    if rotary {
        let share = keys.rotary("partial_rotary_factor").unwrap_or(1.0);
        let turned = (d.head_dim as f64 * share) as usize;
        put(key::ROPE_DIMENSIONS, number(turned));
        put(key::ROPE_BASE, Value::F32(keys.rope_theta() as f32));
    }
    let float = |key: &str| keys.number(key).map(|number| Value::F32(number as f32));
    if name == "granite" {
        // Left out, they are 1; llama.cpp takes another default for attention.
        for (own, theirs) in [
            (key::ATTENTION_SCALE, "attention_multiplier"),
            (key::EMBEDDING_SCALE, "embedding_multiplier"),
            (key::RESIDUAL_SCALE, "residual_multiplier"),
            (key::LOGIT_SCALE, "logits_scaling"),
        ] {
            put(own, float(theirs).unwrap_or(Value::F32(1.0)));
        }
    }
    one_way(name, &keys, d, layers as usize)?;
    let window = keys.number("sliding_window").map(|window| window as usize);
    if matches!(name, "gemma2" | "gemma3") {
        for (own, theirs) in [
            (key::ATTENTION_SOFTCAP, "attn_logit_softcapping"),
            (key::FINAL_SOFTCAP, "final_logit_softcapping"),
        ] {
            if let Some(cap) = float(theirs) {
                put(own, cap);
            }
        }
        put(key::SLIDING_WINDOW, number(window.unwrap_or(4096)));
    }
    sizes.warnings = warnings(name, &keys, d, window);
    if rotary {
        scaling(&mut sizes, architecture, &keys, d)?;
    }
    Ok(sizes)
}

/// Settings that llama.cpp fixes for a family, where the config asks for others: no key of a GGUF says them.
fn one_way(name: &str, keys: &Keys<'_>, d: &Description, layers: usize) -> Result<(), String> {
    let refused = |what: String| {
        Err(format!(
            "{what} and has no place in a GGUF; export safetensors"
        ))
    };
    let (activation, word) = match name {
        "gemma2" | "gemma3" | "starcoder" | "starcoder2" => {
            (Activation::GeluTanh, "gelu_pytorch_tanh")
        }
        _ => (Activation::Silu, "silu"),
    };
    if d.activation != activation {
        return refused(format!(
            "the activation is not the {word} that llama.cpp computes for {name}"
        ));
    }
    if name == "starcoder" && keys.0["scale_attn_weights"] == Json::Bool(false) {
        return refused("scale_attn_weights = false is not what llama.cpp computes".into());
    }
    // Every so manyth layer is another: of full attention, or without rotary embedding.
    let every = |step: usize| (1..=layers).map(move |layer| layer.is_multiple_of(step));
    if let Some((step, largest)) = match name {
        "gemma2" => Some((2, 46)),
        "gemma3" => Some((6, 62)),
        _ => None,
    } {
        let stated = match keys.0["layer_types"].as_array() {
            Some(types) => types.iter().map(|kind| kind == "full_attention").collect(),
            None => {
                let own = ["sliding_window_pattern", "_sliding_window_pattern"]
                    .into_iter()
                    .find_map(|key| keys.number(key))
                    .map_or(step, |own| (own as usize).max(1));
                every(own).collect::<Vec<bool>>()
            }
        };
        if !every(step).eq(stated) {
            return refused(format!(
                "an order of sliding and full attention (layer_types) other than every {step} layers is not what llama.cpp computes for {name}"
            ));
        }
        let width = match layers == largest {
            true => d.hidden / d.heads.max(1),
            false => d.head_dim,
        };
        let scalar = keys.number("query_pre_attn_scalar").unwrap_or(256.0);
        if scalar != width as f64 {
            return refused(format!(
                "query_pre_attn_scalar {scalar} is not the {width} that llama.cpp scales attention by in {name}"
            ));
        }
    }
    if name == "gemma3" {
        let local = match &keys.0["rope_parameters"]["sliding_attention"] {
            Json::Object(table) => table.get("rope_theta").and_then(Json::as_f64),
            _ => keys.number("rope_local_base_freq"),
        };
        if let Some(local) = local.filter(|local| *local != 1e4) {
            return refused(format!(
                "rope_local_base_freq {local} is not the 10000 that llama.cpp takes for gemma3"
            ));
        }
    }
    if name == "smollm3" {
        let stated = match keys.0["no_rope_layers"].as_array() {
            // 1 stands for a layer with rotary embedding.
            Some(list) => list.iter().map(|with| with.as_u64() == Some(0)).collect(),
            None => {
                let own = keys.number("no_rope_layer_interval").unwrap_or(4.0);
                every((own as usize).max(1)).collect::<Vec<bool>>()
            }
        };
        if !every(4).eq(stated) {
            return refused(
                "an order of layers without rotary embedding (no_rope_layers) other than every 4 is not what llama.cpp computes for smollm3".into(),
            );
        }
    }
    Ok(())
}

/// Where llama.cpp computes otherwise only beyond some length.
fn warnings(name: &str, keys: &Keys<'_>, d: &Description, window: Option<usize>) -> Vec<String> {
    let mut warnings = Vec::new();
    let gemma = matches!(name, "gemma2" | "gemma3");
    let windowed = keys.0["use_sliding_window"] != Json::Bool(false);
    if let Some(window) = window
        && !gemma
        && windowed
        && window < d.max_positions
    {
        warnings.push(format!(
            "llama.cpp's {name} attends to everything: beyond the sliding_window of {window} tokens it differs from the model"
        ));
    }
    warnings
}

fn number(size: usize) -> Value {
    Value::U32(u32::try_from(size).unwrap_or(u32::MAX))
}

struct Keys<'a>(&'a Json);

impl<'a> Keys<'a> {
    /// Settings of the rotary embedding in the keys of Transformers 5 or 4; of two, those of full attention.
    fn rope_table(&self) -> Option<&'a Map<String, Json>> {
        match (&self.0["rope_parameters"], &self.0["rope_scaling"]) {
            (Json::Object(table), _) => match table.get("full_attention") {
                Some(Json::Object(full)) => Some(full),
                _ => Some(table),
            },
            (_, Json::Object(table)) => Some(table),
            _ => None,
        }
    }

    fn rotary(&self, key: &str) -> Option<f64> {
        let inner = self.rope_table().and_then(|table| table.get(key)?.as_f64());
        inner.or_else(|| self.number(key))
    }

    /// Where a config leaves it out, Transformers' default of the family.
    fn rope_theta(&self) -> f64 {
        self.rotary("rope_theta")
            .unwrap_or(match self.0["model_type"].as_str() {
                Some("gemma3_text") => 1e6,
                Some("smollm3") => 2e6,
                _ => 1e4,
            })
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.0[key].as_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::names::{ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT, ROPE_FREQS};
    use serde_json::json;

    fn of(extra: Json) -> Result<Sizes, String> {
        let mut config = json!({
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 4, "vocab_size": 8, "rope_theta": 10_000.0, "max_position_embeddings": 256,
        });
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        let folder = tempfile::tempdir().unwrap();
        // What the decoder refuses is another's business: here the sizes alone count.
        let mut plain = config.clone();
        for key in ["rope_scaling", "rope_parameters", "sliding_window"] {
            plain.as_object_mut().unwrap().remove(key);
        }
        std::fs::write(folder.path().join("config.json"), plain.to_string()).unwrap();
        let description = Description::read(folder.path()).unwrap();
        let architecture = config["model_type"].as_str().unwrap();
        let architecture = Architecture::of_model_type(architecture).unwrap();
        sizes(architecture, &config, &description)
    }

    fn value<'a>(sizes: &'a Sizes, key: &str) -> &'a Value {
        let name = format!("llama.{key}");
        let found = sizes.metadata.iter().find(|(key, _)| *key == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn a_rotary_scaling_is_carried_or_refused_by_name() {
        let linear = of(json!({ "rope_scaling": { "type": "linear", "factor": 4.0 } })).unwrap();
        assert_eq!(
            value(&linear, "rope.scaling.type"),
            &Value::Text("linear".into())
        );
        assert_eq!(value(&linear, "rope.scaling.factor"), &Value::F32(4.0));

        let yarn = json!({ "rope_parameters": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 16.0,
        } });
        let yarn = of(yarn).unwrap();
        assert_eq!(
            value(&yarn, "rope.scaling.original_context_length"),
            &Value::U32(64)
        );
        assert_eq!(
            value(&yarn, "rope.scaling.yarn_beta_fast"),
            &Value::F32(16.0)
        );

        let long = json!({
            "model_type": "phi3", "pad_token_id": 0,
            "original_max_position_embeddings": 64,
            "rope_scaling": { "type": "longrope", "long_factor": [1.5, 2.0], "short_factor": [1.0, 1.0] },
        });
        let long = of(long).unwrap();
        assert_eq!(long.factors[0], (ROPE_FACTORS_LONG, vec![1.5, 2.0]));
        assert_eq!(long.factors[1], (ROPE_FACTORS_SHORT, vec![1.0, 1.0]));
        let name = "phi3.rope.scaling.attn_factor";
        let found = long.metadata.iter().find(|(key, _)| key == name);
        let Some((_, Value::F32(factor))) = found else {
            panic!("a number");
        };
        assert!((factor - (1.0f32 + 4f32.ln() / 64f32.ln()).sqrt()).abs() < 1e-6);

        // llama.cpp multiplies by 0.1 ln(2) + 1 by itself.
        let scaled = json!({ "type": "yarn", "factor": 2.0, "attention_factor": 1.5 });
        let scaled = of(json!({ "rope_scaling": scaled })).unwrap();
        let Value::F32(factor) = value(&scaled, "rope.scaling.attn_factor") else {
            panic!("a number");
        };
        assert!((factor * (0.1 * 2f32.ln() + 1.0) - 1.5).abs() < 1e-6);

        for scaling in [
            json!({ "type": "dynamic", "factor": 2.0 }),
            json!({ "type": "longrope", "long_factor": [1.5, 2.0], "short_factor": [1.0, 1.0] }),
        ] {
            let error = of(json!({ "rope_scaling": scaling })).unwrap_err();
            assert!(error.contains("export safetensors"), "{error}");
        }
    }

    #[test]
    fn llama_3_factors_stretch_long_waves_and_keep_short_ones() {
        let scaled = json!({ "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        } });
        let (name, factors) = of(scaled).unwrap().factors.remove(0);
        assert_eq!((name, factors.len()), (ROPE_FREQS, 8));
        // The first wave is 6.3 positions long, the last far longer than 64.
        assert_eq!((factors[0], factors[7]), (1.0, 8.0));
        assert!(factors.is_sorted());
    }

    #[test]
    fn a_window_that_llama_cpp_does_not_know_is_told() {
        assert!(of(json!({})).unwrap().warnings.is_empty());
        let warnings = of(json!({ "sliding_window": 32 })).unwrap().warnings;
        assert!(warnings[0].contains("32 tokens"), "{warnings:?}");
        let off = json!({ "sliding_window": 32, "use_sliding_window": false });
        assert!(of(off).unwrap().warnings.is_empty());
    }
}
