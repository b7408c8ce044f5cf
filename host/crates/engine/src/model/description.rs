use std::path::Path;

use serde_json::{Map, Value};

use super::family::{AttentionScale, Bias, FAMILIES, Family, Names, Positions, QkNorm, Windows};
use super::keys::Keys;
use super::norm::NormKind;
use super::rope::{Rotary, RotaryContext};
use crate::ops::Activation;
use crate::{Error, Result};

/// Everything that tells one decoder from another, read from a `config.json`.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) model_type: String,
    pub(crate) names: Names,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocab: usize,
    /// The token whose row of the embedding gets no gradient of what is looked up (`padding_idx` of PyTorch).
    pub(crate) padding: Option<u32>,
    /// Tokens that a sequence may have.
    pub(crate) max_positions: usize,
    pub(crate) norm: NormKind,
    pub(crate) norm_eps: f32,
    pub(crate) qk_norm: QkNorm,
    /// On queries, keys and values.
    pub(crate) qkv_bias: bool,
    /// Queries, keys and values of one module come head by head, not all queries first.
    pub(crate) qkv_by_head: bool,
    /// On attention's output.
    pub(crate) output_bias: bool,
    /// On gate, up and down.
    pub(crate) mlp_bias: bool,
    pub(crate) activation: Activation,
    /// Whether the feed-forward has a gate.
    pub(crate) gated: bool,
    /// Factor of attention scores.
    pub(crate) attention_scale: f32,
    /// Soft cap of attention scores.
    pub(crate) score_cap: Option<f32>,
    /// Soft cap of logits.
    pub(crate) logits_cap: Option<f32>,
    /// Factor of embeddings.
    pub(crate) embedding_scale: f32,
    /// Factor of what attention and feed-forward add.
    pub(crate) residual_scale: f32,
    /// Factor of logits.
    pub(crate) logits_scale: f32,
    /// The head is the embedding.
    pub(crate) tied_head: bool,
    /// Rows of the table of learned positions; `None` for a rotary embedding.
    pub(crate) learned_positions: Option<usize>,
    pub(crate) rotaries: Vec<Rotary>,
    pub(crate) layers: Vec<Layer>,
    /// Standard deviation of random weights.
    pub(crate) initializer_range: f64,
    /// Ids that end a text.
    pub(crate) eos: Vec<u32>,
}

/// What tells the layers of one model apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Keys that a query sees; `None` for all before it.
    pub(crate) window: Option<usize>,
    /// Which of [`Description::rotaries`] turns; `None` for none.
    pub(crate) rotary: Option<usize>,
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

    /// Reads what describes a model: `config.json` of a folder, the metadata of a GGUF file.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn of_model(path: &Path) -> Result<Self> {
        super::check_folder(path)?;
        if crate::gguf::is_gguf(path) {
            let (_, config) = crate::gguf::config(&crate::gguf::Gguf::open(path)?)?;
            return Self::from_json(&config).map_err(|message| Error::file(path, message));
        }
        Self::read(path)
    }

    /// Number of layers.
    pub(crate) fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Floats that a layer's norms keep for a token beside its linear layers' inputs: those behind its two halves, and those of
    /// queries and keys.
    pub(crate) fn normed_width(&self) -> u64 {
        let behind = [self.names.after_attention, self.names.after_mlp];
        let heads = match self.qk_norm {
            QkNorm::None => 0,
            QkNorm::Head | QkNorm::Row => (self.heads + self.kv_heads) * self.head_dim,
        };
        (behind.iter().flatten().count() * self.hidden + heads) as u64
    }

    /// Matrices into the feed-forward: gate and up, or up alone.
    pub(crate) fn inner_parts(&self) -> u64 {
        1 + u64::from(self.gated)
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
        let keys = &family.keys;
        refuse_options(&config, family)?;
        let hidden = config.size(keys.hidden)?;
        let heads = config.size(keys.heads)?;
        let learned = family.positions == Positions::Learned;
        let kv_heads = match family.model_type {
            "gpt_bigcode" if config.flag("multi_query", true)? => 1,
            "gpt_bigcode" => heads,
            _ => config
                .optional_size("num_key_value_heads")?
                .unwrap_or(heads),
        };
        let head_dim = match config.optional_size("head_dim")?.or(family.head_dim) {
            Some(dim) => dim,
            None if hidden % heads == 0 => hidden / heads,
            None => {
                return Err(format!(
                    "{} {hidden} is no multiple of {} {heads}",
                    keys.hidden, keys.heads
                ));
            }
        };
        if heads % kv_heads != 0 || (head_dim % 2 != 0 && !learned) {
            return Err(format!(
                "{heads} attention heads, {kv_heads} key/value heads and a head_dim of {head_dim} do not fit together"
            ));
        }
        let intermediate = match config.optional_size(keys.intermediate)? {
            Some(size) => size,
            None if family.model_type == "gpt_bigcode" => 4 * hidden,
            None => return Err(format!("has no {}", keys.intermediate)),
        };
        let max_positions = config.optional_size(keys.max_positions)?.unwrap_or(2048);
        let context = RotaryContext {
            head_dim,
            max_positions,
            theta: family.rope_theta,
            partial: family.partial_rotary,
            phi3: family.model_type == "phi3",
        };
        let rotaries = rotaries(&config, family, context)?;
        let count = config.size(keys.layers)?;
        if count > 1 << 16 {
            return Err(format!("{} {count} is too many", keys.layers));
        }
        let layers = layers(&config, family, count)?;
        let bias = |bias: Bias| match bias {
            Bias::Never => Ok(false),
            Bias::Always => Ok(true),
            Bias::Key(key, default) => config.flag(key, default),
        };
        let multiplier = |key: &str| match family.multipliers {
            true => Ok(config.number(key)?.unwrap_or(1.0)),
            false => Ok::<_, String>(1.0),
        };
        let cap = |key: &str, default: Option<Option<f64>>| match default {
            None => Ok(None),
            // A cap that is null is switched off.
            Some(_) if config.has(key) => config.positive(key),
            Some(default) => Ok::<_, String>(default),
        };
        let logits_scaling = multiplier("logits_scaling")?;
        if logits_scaling == 0.0 {
            return Err("logits_scaling must not be 0".into());
        }
        let vocab = config.size("vocab_size")?;
        let embedding_scale = match family.scaled_embedding {
            true => (hidden as f64).sqrt(),
            false => multiplier("embedding_multiplier")?,
        };
        Ok(Self {
            model_type: model_type.to_owned(),
            names: family.names,
            hidden,
            intermediate,
            heads,
            kv_heads,
            head_dim,
            vocab,
            padding: padding(&config, model_type, vocab)?,
            max_positions: rotaries
                .iter()
                .map(|rotary| rotary.reach(max_positions))
                .max()
                .unwrap_or(max_positions),
            norm: family.norm,
            norm_eps: config.number(keys.eps)?.unwrap_or(family.eps) as f32,
            qk_norm: family.qk_norm,
            qkv_bias: bias(family.qkv_bias)?,
            qkv_by_head: model_type == "gpt_bigcode" && !config.flag("multi_query", true)?,
            output_bias: bias(family.output_bias)?,
            mlp_bias: bias(family.mlp_bias)?,
            activation: activation(&config, family)?,
            gated: family.gated,
            attention_scale: attention_scale(&config, family, head_dim)? as f32,
            score_cap: cap("attn_logit_softcapping", family.score_cap)?.map(|cap| cap as f32),
            logits_cap: cap("final_logit_softcapping", family.logits_cap)?.map(|cap| cap as f32),
            embedding_scale: embedding_scale as f32,
            residual_scale: multiplier("residual_multiplier")? as f32,
            logits_scale: (1.0 / logits_scaling) as f32,
            tied_head: config.flag("tie_word_embeddings", family.tied)?,
            learned_positions: learned.then_some(max_positions),
            rotaries,
            layers,
            initializer_range: config.number("initializer_range")?.unwrap_or(0.02),
            eos: ids(config.0.get("eos_token_id")),
        })
    }

    /// Parameters of the model without an adapter.
    pub(crate) fn parameters(&self) -> u64 {
        // Sizes may be what a broken config says: the product must not overflow before somebody looks at it.
        let [h, i, dim, q, kv] = [
            self.hidden,
            self.intermediate,
            self.head_dim,
            self.heads * self.head_dim,
            self.kv_heads * self.head_dim,
        ]
        .map(|size| size as u128);
        let ups = 1 + u128::from(self.gated);
        let bias = u128::from(self.qkv_bias) * (q + 2 * kv)
            + u128::from(self.output_bias) * h
            + u128::from(self.mlp_bias) * (ups * i + h);
        let norm = h * (1 + u128::from(self.norm == NormKind::Layer));
        let names = &self.names;
        let norms = [
            names.before_attention,
            names.after_attention,
            names.before_mlp,
            names.after_mlp,
        ];
        let norms = norms.iter().flatten().count() as u128 * norm;
        let qk_norm = match self.qk_norm {
            QkNorm::None => 0,
            QkNorm::Head => 2 * dim,
            QkNorm::Row => q + kv,
        };
        let layer = h * (2 * q + 2 * kv) + (ups + 1) * h * i + norms + qk_norm + bias;
        let heads = if self.tied_head { 1 } else { 2 };
        let tables = heads * self.vocab as u128 + self.learned_positions.unwrap_or(0) as u128;
        let all = layer * self.layers.len() as u128 + tables * h + norm;
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

/// Transformers' `pad_token_id`, and what its families take where a config does not say; gpt_bigcode's embedding has none.
fn padding(config: &Keys<'_>, model_type: &str, vocab: usize) -> Result<Option<u32>, String> {
    let id = match (model_type, config.has("pad_token_id")) {
        ("gpt_bigcode", _) => None,
        (_, true) => config.number("pad_token_id")?,
        ("gemma2" | "gemma3_text", false) => Some(0.0),
        ("phi3", false) => Some(32_000.0),
        ("olmo2", false) => Some(1.0),
        ("smollm3", false) => Some(128_004.0),
        _ => None,
    };
    // PyTorch counts negative ones from the end; one outside the vocabulary never stands in a text.
    let id = id.map(|id| if id < 0.0 { id + vocab as f64 } else { id });
    let inside = id.filter(|id| id.fract() == 0.0 && (0.0..vocab as f64).contains(id));
    Ok(inside.map(|id| id as u32))
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
fn refuse_options(config: &Keys<'_>, family: &Family) -> Result<(), String> {
    if matches!(family.windows, Windows::Never) {
        for key in ["use_sliding_window", "sliding_window"] {
            if config.get(key).is_some_and(|value| *value != false) {
                return Err(format!(
                    "{key} is not supported for model_type {:?}; only full attention is",
                    family.model_type
                ));
            }
        }
    }
    if config.get("quantization_config").is_some() {
        return Err(
            "quantization_config: packed checkpoints are not supported; use the unquantized model"
                .into(),
        );
    }
    // StarCoder's own config holds dropouts of 0.1: they belong to pretraining and are off here, as in evaluation.
    if family.model_type != "gpt_bigcode" {
        for key in [
            "attention_dropout",
            "residual_dropout",
            "embedding_dropout",
            "resid_pdrop",
            "embd_pdrop",
        ] {
            if config.number(key)?.unwrap_or(0.0) != 0.0 {
                return Err(format!("{key} is not supported; set it to 0"));
            }
        }
    }
    for key in [
        "rope_interleaved",
        "use_bidirectional_attention",
        "add_cross_attention",
    ] {
        if config.flag(key, false)? {
            return Err(format!("{key} is not supported; set it to false"));
        }
    }
    if family.score_cap.is_none() && config.get("attn_logit_softcapping").is_some() {
        return Err(format!(
            "attn_logit_softcapping is not supported for model_type {:?}",
            family.model_type
        ));
    }
    if family.logits_cap.is_none() && config.get("final_logit_softcapping").is_some() {
        return Err(format!(
            "final_logit_softcapping is not supported for model_type {:?}",
            family.model_type
        ));
    }
    if config.number("rotary_pct")?.unwrap_or(1.0) != 1.0 {
        return Err("rotary_pct is not supported; only a full rotary embedding is".into());
    }
    Ok(())
}

fn activation(config: &Keys<'_>, family: &Family) -> Result<Activation, String> {
    let key = family.keys.activation;
    Ok(match config.text(key)?.unwrap_or(family.activation) {
        "silu" | "swish" => Activation::Silu,
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        other => {
            return Err(format!(
                "{key} {other:?} is not supported; silu, gelu, gelu_pytorch_tanh and relu are"
            ));
        }
    })
}

fn attention_scale(config: &Keys<'_>, family: &Family, head_dim: usize) -> Result<f64, String> {
    let of_head = 1.0 / (head_dim as f64).sqrt();
    Ok(match family.attention_scale {
        AttentionScale::HeadDim => of_head,
        AttentionScale::QueryPreAttnScalar => {
            let scalar = config.positive("query_pre_attn_scalar")?;
            1.0 / scalar.unwrap_or(256.0).sqrt()
        }
        AttentionScale::Multiplier => config.number("attention_multiplier")?.unwrap_or(1.0),
        AttentionScale::Switched => match config.flag("scale_attn_weights", true)? {
            true => of_head,
            false => 1.0,
        },
    })
}

/// The rotary embeddings of a model: none, one, or Gemma 3's two (of layers that see everything, of those that do not).
fn rotaries(
    config: &Keys<'_>,
    family: &Family,
    context: RotaryContext,
) -> Result<Vec<Rotary>, String> {
    if family.positions == Positions::Learned {
        return Ok(Vec::new());
    }
    let empty = Map::new();
    // Transformers lets the older key win.
    let older = config
        .table("rope_scaling")?
        .filter(|table| !table.0.is_empty());
    let newer = config.table("rope_parameters")?;
    let theta = |key: &str, default: f64| Ok::<_, String>(config.positive(key)?.unwrap_or(default));
    if family.positions == Positions::RotaryByWindow {
        let of = |kind: &str| match newer {
            Some(tables) => tables.table(kind),
            None => Ok(None),
        };
        if let Some(key) = newer.and_then(|tables| {
            let known = ["full_attention", "sliding_attention"];
            tables
                .0
                .keys()
                .find(|key| !known.contains(&key.as_str()))
                .cloned()
        }) {
            return Err(format!(
                "rope_parameters holds {key:?}; this model_type needs a table for full_attention and one for sliding_attention"
            ));
        }
        let context = |theta: f64| RotaryContext { theta, ..context };
        let full = of("full_attention")?.or(older).unwrap_or(Keys(&empty));
        let local = of("sliding_attention")?.unwrap_or(Keys(&empty));
        return Ok(vec![
            Rotary::read(
                config,
                &full,
                "rope_parameters.full_attention",
                context(theta("rope_theta", 1_000_000.0)?),
            )?,
            Rotary::read(
                config,
                &local,
                "rope_parameters.sliding_attention",
                context(theta("rope_local_base_freq", 10_000.0)?),
            )?,
        ]);
    }
    let (table, name) = match (older, newer) {
        (Some(table), _) => (table, "rope_scaling"),
        (None, Some(table)) => (table, "rope_parameters"),
        (None, None) => (Keys(&empty), "rope_parameters"),
    };
    if let Some(nested) = table.0.values().find(|value| value.is_object()) {
        return Err(format!(
            "{name} holds {nested}, and one rotary embedding for each kind of layer is not supported for model_type {:?}",
            family.model_type
        ));
    }
    let context = RotaryContext {
        theta: theta("rope_theta", context.theta)?,
        ..context
    };
    Ok(vec![Rotary::read(config, &table, name, context)?])
}

/// Window and rotary embedding of each layer.
fn layers(config: &Keys<'_>, family: &Family, count: usize) -> Result<Vec<Layer>, String> {
    let turned = turned(config, family, count)?;
    let types = layer_types(config, count)?;
    let used = config.flag("use_sliding_window", false)?;
    let width = match family.windows {
        Windows::Never => None,
        // A window that is null is switched off.
        Windows::All(_) if config.has("sliding_window") => {
            config.optional_size("sliding_window")?
        }
        Windows::All(default) => default,
        Windows::Switched if !used => None,
        Windows::WithoutRotary if !used => None,
        Windows::WithoutRotary => config.optional_size("sliding_window")?,
        Windows::Switched | Windows::Pattern(_) => match config.has("sliding_window") {
            true => config.optional_size("sliding_window")?,
            false => Some(4096),
        },
    };
    let default = |layer: usize| -> Result<bool, String> {
        Ok(match family.windows {
            Windows::Never => false,
            Windows::All(_) => true,
            Windows::Switched => {
                let first = match config.get("max_window_layers") {
                    Some(value) => value
                        .as_u64()
                        .ok_or(format!("max_window_layers must be a number, not {value}"))?
                        as usize,
                    None => 28,
                };
                width.is_some() && layer >= first
            }
            Windows::Pattern(every) => {
                let every = config
                    .optional_size("sliding_window_pattern")?
                    .filter(|_| family.positions == Positions::RotaryByWindow)
                    .unwrap_or(every);
                !(layer + 1).is_multiple_of(every)
            }
            Windows::WithoutRotary => width.is_some() && !turned[layer],
        })
    };
    (0..count)
        .map(|layer| {
            let windowed = match (&types, family.windows) {
                (Some(types), Windows::All(_)) if width.is_some() && !types[layer] => {
                    return Err(format!(
                        "layer_types calls layer {layer} full_attention, but a sliding_window of model_type {:?} is that of every layer",
                        family.model_type
                    ));
                }
                (Some(types), _) => types[layer],
                (None, _) => default(layer)?,
            };
            if windowed && width.is_none() && !matches!(family.windows, Windows::All(_)) {
                return Err(format!(
                    "layer_types calls layer {layer} sliding_attention, but no sliding_window is in use"
                ));
            }
            let rotary = match family.positions {
                Positions::Learned => None,
                Positions::RotaryByWindow => Some(usize::from(windowed)),
                Positions::Rotary | Positions::RotaryInSome => turned[layer].then_some(0),
            };
            let window = width.filter(|_| windowed);
            Ok(Layer { window, rotary })
        })
        .collect()
}

/// Whether each layer has a window, where the config lists it.
fn layer_types(config: &Keys<'_>, count: usize) -> Result<Option<Vec<bool>>, String> {
    let Some(value) = config.get("layer_types") else {
        return Ok(None);
    };
    let types = value
        .as_array()
        .ok_or(format!("layer_types must be a list, not {value}"))?;
    if types.len() != count {
        return Err(format!(
            "layer_types holds {} layers of {count}",
            types.len()
        ));
    }
    let one = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(format!(
            "layer_types holds {kind}, which is not supported; full_attention and sliding_attention are"
        )),
    };
    types.iter().map(one).collect::<Result<_, _>>().map(Some)
}

/// Whether each layer turns queries and keys.
fn turned(config: &Keys<'_>, family: &Family, count: usize) -> Result<Vec<bool>, String> {
    if family.positions != Positions::RotaryInSome {
        return Ok(vec![true; count]);
    }
    match config.numbers("no_rope_layers")? {
        // 1 is a layer with a rotary embedding, whatever the key's name says.
        Some(list) if list.len() >= count => Ok(list[..count].iter().map(|x| *x != 0.0).collect()),
        Some(list) => Err(format!(
            "no_rope_layers holds {} layers of {count}",
            list.len()
        )),
        None => {
            let every = config.optional_size("no_rope_layer_interval")?.unwrap_or(4);
            Ok((1..=count).map(|layer| layer % every != 0).collect())
        }
    }
}
