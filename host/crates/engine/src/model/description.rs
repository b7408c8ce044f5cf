use std::path::Path;

use serde_json::{Map, Value};

use super::family::{Bias, FAMILIES, Family};
use crate::{Error, Result};

/// Everything that tells one decoder from another, read from a `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Description {
    pub(crate) model_type: String,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocab: usize,
    pub(crate) max_positions: usize,
    pub(crate) norm_eps: f32,
    /// On queries, keys and values.
    pub(crate) qkv_bias: bool,
    /// On attention's output.
    pub(crate) output_bias: bool,
    /// On gate, up and down.
    pub(crate) mlp_bias: bool,
    /// The head is the embedding.
    pub(crate) tied_head: bool,
    pub(crate) rope_theta: f64,
    pub(crate) rope_scaling: RopeScaling,
    /// Standard deviation of random weights.
    pub(crate) initializer_range: f64,
    /// Ids that end a text.
    pub(crate) eos: Vec<u32>,
}

/// How the rotary embedding is stretched beyond the positions that a model was first trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RopeScaling {
    /// Not at all.
    None,
    /// All positions by one factor, as in DeepSeek-Coder.
    Linear(f64),
    /// By frequency, as in Llama 3.1.
    Llama3(Llama3Scaling),
}

/// The frequency-dependent stretching of Llama 3.1's rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Llama3Scaling {
    pub(crate) factor: f64,
    pub(crate) low_freq_factor: f64,
    pub(crate) high_freq_factor: f64,
    pub(crate) original_max_positions: f64,
}

impl Description {
    /// Reads `config.json` of a Hugging Face folder, in the keys of Transformers 4 or 5.
    ///
    /// # Errors
    /// The file is missing or no JSON, names a family or an option that is not implemented, or has sizes that
    /// cannot be.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        if !path.is_file() {
            let message = "is missing; model.path must be a Hugging Face folder with config.json, tokenizer.json and safetensors";
            return Err(Error::file(&path, message));
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
        Self::from_json(&value).map_err(|message| Error::file(&path, message))
    }

    pub(super) fn from_json(value: &Value) -> Result<Self, String> {
        let config = Keys(value.as_object().ok_or("must hold a JSON object")?);
        let model_type = config.text("model_type")?.ok_or("has no model_type")?;
        let family = FAMILIES
            .iter()
            .find(|family| family.model_type == model_type)
            .ok_or_else(|| {
                let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
                format!(
                    "model_type {model_type:?} is not supported; these are: {}",
                    known.join(", ")
                )
            })?;
        refuse_options(&config)?;
        let hidden = config.size("hidden_size")?;
        let heads = config.size("num_attention_heads")?;
        let kv_heads = config
            .optional_size("num_key_value_heads")?
            .unwrap_or(heads);
        let head_dim = match config.optional_size("head_dim")? {
            Some(dim) => dim,
            None if hidden % heads == 0 => hidden / heads,
            None => {
                return Err(format!(
                    "hidden_size {hidden} is no multiple of num_attention_heads {heads}"
                ));
            }
        };
        if heads % kv_heads != 0 || head_dim % 2 != 0 {
            return Err(format!(
                "{heads} attention heads, {kv_heads} key/value heads and a head_dim of {head_dim} do not fit together"
            ));
        }
        let (rope_theta, rope_scaling) = rope(&config, family)?;
        let bias = |bias: Bias| match bias {
            Bias::Never => Ok(false),
            Bias::Always => Ok(true),
            Bias::Key(key) => config.flag(key, false),
        };
        Ok(Self {
            model_type: model_type.to_owned(),
            hidden,
            intermediate: config.size("intermediate_size")?,
            layers: config.size("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            vocab: config.size("vocab_size")?,
            max_positions: config
                .optional_size("max_position_embeddings")?
                .unwrap_or(2048),
            norm_eps: config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            qkv_bias: bias(family.qkv_bias)?,
            output_bias: bias(family.output_bias)?,
            mlp_bias: bias(family.mlp_bias)?,
            tied_head: config.flag("tie_word_embeddings", false)?,
            rope_theta,
            rope_scaling,
            initializer_range: config.number("initializer_range")?.unwrap_or(0.02),
            eos: ids(config.0.get("eos_token_id")),
        })
    }

    /// Parameters of the model without an adapter.
    pub(crate) fn parameters(&self) -> u64 {
        // Sizes may be what a broken config says: the product must not overflow before somebody looks at it.
        let [h, i, q, kv] = [
            self.hidden,
            self.intermediate,
            self.heads * self.head_dim,
            self.kv_heads * self.head_dim,
        ]
        .map(|size| size as u128);
        let bias = u128::from(self.qkv_bias) * (q + 2 * kv)
            + u128::from(self.output_bias) * h
            + u128::from(self.mlp_bias) * (2 * i + h);
        let layer = h * (2 * q + 2 * kv) + 3 * h * i + 2 * h + bias;
        let heads = if self.tied_head { 1 } else { 2 };
        let all = layer * self.layers as u128 + heads * self.vocab as u128 * h + h;
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

/// Ids that a `config.json` gives as one number or a list.
fn ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// What would change the computation and is not done here is refused by its name, never passed over.
fn refuse_options(config: &Keys<'_>) -> Result<(), String> {
    if let Some(activation) = config.text("hidden_act")?
        && !matches!(activation, "silu" | "swish")
    {
        return Err(format!(
            "hidden_act {activation:?} is not supported; silu is"
        ));
    }
    if config.flag("use_sliding_window", false)? {
        return Err("use_sliding_window is not supported; only full attention is".into());
    }
    // Qwen2 writes a window that use_sliding_window switches off.
    let windowed = config
        .0
        .get("sliding_window")
        .is_some_and(|window| !window.is_null());
    if windowed && !config.0.contains_key("use_sliding_window") {
        return Err("sliding_window is not supported; only full attention is".into());
    }
    if let Some(Value::Array(types)) = config.0.get("layer_types")
        && let Some(other) = types.iter().find(|kind| *kind != "full_attention")
    {
        return Err(format!(
            "layer_types holds {other}, which is not supported; full_attention is"
        ));
    }
    if config
        .0
        .get("quantization_config")
        .is_some_and(|value| !value.is_null())
    {
        return Err(
            "quantization_config: packed checkpoints are not supported; use the unquantized model"
                .into(),
        );
    }
    if config.number("attention_dropout")?.unwrap_or(0.0) != 0.0 {
        return Err("attention_dropout is not supported; set it to 0".into());
    }
    if config.flag("rope_interleaved", false)? {
        return Err(
            "rope_interleaved is not supported; only the rotary embedding in halves is".into(),
        );
    }
    for key in ["partial_rotary_factor", "rotary_pct"] {
        if config.number(key)?.unwrap_or(1.0) != 1.0 {
            return Err(format!(
                "{key} is not supported; only a full rotary embedding is"
            ));
        }
    }
    Ok(())
}

fn rope(config: &Keys<'_>, family: &Family) -> Result<(f64, RopeScaling), String> {
    let empty = Map::new();
    let table = |key: &str| match config.0.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(table)) => Ok(Some(table)),
        Some(other) => Err(format!("{key} must be a table, not {other}")),
    };
    let (parameters, key) = match (table("rope_parameters")?, table("rope_scaling")?) {
        (Some(table), _) => (table, "rope_parameters"),
        (None, Some(table)) => (table, "rope_scaling"),
        (None, None) => (&empty, "rope_scaling"),
    };
    let inner = Keys(parameters);
    let theta = match inner.number("rope_theta")? {
        Some(theta) => theta,
        None => config.number("rope_theta")?.unwrap_or(family.rope_theta),
    };
    if !(theta.is_finite() && theta > 0.0) {
        return Err(format!("rope_theta must be above 0, not {theta}"));
    }
    if inner.number("partial_rotary_factor")?.unwrap_or(1.0) != 1.0 {
        return Err(
            "partial_rotary_factor is not supported; only a full rotary embedding is".into(),
        );
    }
    let kind = match inner.text("rope_type")? {
        Some(kind) => Some(kind),
        None => inner.text("type")?,
    };
    let needed = |name: &str| match inner.number(name)? {
        Some(number) if number.is_finite() && number > 0.0 => Ok(number),
        Some(number) => Err(format!("{name} in {key} must be above 0, not {number}")),
        None => Err(format!("{key} has no {name}")),
    };
    let scaling = match kind {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear(needed("factor")?),
        Some("llama3") => RopeScaling::Llama3(Llama3Scaling {
            factor: needed("factor")?,
            low_freq_factor: needed("low_freq_factor")?,
            high_freq_factor: needed("high_freq_factor")?,
            original_max_positions: needed("original_max_position_embeddings")?,
        }),
        Some(other) => {
            return Err(format!(
                "rope_type {other:?} in {key} is not supported; default, linear and llama3 are"
            ));
        }
    };
    Ok((theta, scaling))
}

/// Typed look-ups whose errors name the key.
struct Keys<'a>(&'a Map<String, Value>);

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{key} must be a word, not {other}")),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or(format!("{key} must be a number, not {value}")),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or(format!("{key} must be true or false, not {value}")),
        }
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(size) if (1..=1 << 24).contains(&size) => Ok(Some(size as usize)),
                _ => Err(format!(
                    "{key} must be a whole number from 1 to 16777216, not {value}"
                )),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize, String> {
        self.optional_size(key)?.ok_or(format!("has no {key}"))
    }
}
