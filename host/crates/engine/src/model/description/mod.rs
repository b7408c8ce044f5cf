//! What a model is, read from its `config.json`: sizes and factors here, single options and the layers beside.

mod layers;
mod options;

use std::path::Path;

use serde_json::Value;

use self::layers::{layers, rotaries};
use self::options::{activation, attention_scale, ids, padding, refuse_options};
use super::family::{Bias, FAMILIES, Names, Positions, QkNorm};
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

    /// Whether a text that grows to `len` tokens must be read anew, since all its tokens turn otherwise then. Transformers does so
    /// for Phi-3 alone; other families go on with what they kept, there and here.
    pub(crate) fn turns_anew(&self, len: usize) -> bool {
        self.model_type == "phi3" && self.rotaries.iter().any(|rotary| rotary.changes_at(len))
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
