//! The sizes in a GGUF file's metadata as the `config.json` that Hugging Face would have for the model.

use serde_json::{Map, Value as Json, json};

use super::names::{Architecture, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT, ROPE_FREQS, key};
use super::read::Gguf;
use super::sizes::yarn_mscale;
use super::value::Value;
use super::weights::floats;
use crate::{Error, Result};

/// The architecture of a file, and its config in Hugging Face's keys.
///
/// # Errors
/// The architecture is not supported, or a key is missing or of the wrong kind.
pub(crate) fn config(file: &Gguf) -> Result<(&'static Architecture, Json)> {
    let fault = |message: String| Error::file(file.path(), message);
    let name = file
        .text(key::ARCHITECTURE)?
        .ok_or_else(|| fault(format!("has no {} in its metadata", key::ARCHITECTURE)))?;
    if let Some(kind) = file.text(key::TYPE)?.filter(|kind| *kind != "model") {
        return Err(fault(format!(
            "is a GGUF of type {kind:?}; give one of a model"
        )));
    }
    let architecture = Architecture::of_name(name).ok_or_else(|| {
        let known: Vec<&str> = super::names::ARCHITECTURES
            .iter()
            .map(|known| known.name)
            .collect();
        fault(format!(
            "is of architecture {name:?}, which is not supported; these are: {}",
            known.join(", ")
        ))
    })?;
    let mut reader = Reader {
        file,
        name,
        config: Map::new(),
    };
    reader.sizes(architecture)?;
    reader.rope()?;
    reader.family()?;
    Ok((architecture, Json::Object(reader.config)))
}

struct Reader<'a> {
    file: &'a Gguf,
    name: &'a str,
    config: Map<String, Json>,
}

impl Reader<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn put(&mut self, name: &str, value: impl Into<Json>) {
        self.config.insert(name.to_owned(), value.into());
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        self.file.number(&self.key(key))
    }

    /// A size; some files give one for each layer, which must then all be the same.
    fn size(&self, key: &str) -> Result<Option<u64>> {
        let name = self.key(key);
        match self.file.get(&name) {
            Some(Value::Numbers(all)) => match all.first() {
                Some(first) if all.iter().all(|each| each == first) && *first >= 0.0 => {
                    Ok(Some(*first as u64))
                }
                _ => Err(self.fault(format!(
                    "{name} differs from layer to layer, which is not supported"
                ))),
            },
            _ => self.file.whole(&name),
        }
    }

    fn needed(&self, key: &str) -> Result<u64> {
        self.size(key)?
            .ok_or_else(|| self.fault(format!("has no {} in its metadata", self.key(key))))
    }

    fn fault(&self, message: String) -> Error {
        Error::file(self.file.path(), message)
    }

    fn has(&self, tensor: &str) -> bool {
        self.file.tensors().contains_key(tensor)
    }

    fn sizes(&mut self, architecture: &Architecture) -> Result<()> {
        let embedding = self
            .file
            .tensors()
            .get("token_embd.weight")
            .filter(|entry| entry.shape.len() == 2)
            .ok_or_else(|| self.fault("holds no matrix token_embd.weight".into()))?;
        let (vocab, hidden) = (embedding.shape[0], embedding.shape[1]);
        let (heads, positions) = (
            self.needed(key::HEAD_COUNT)?,
            self.needed(key::CONTEXT_LENGTH)?,
        );
        let (layers, wide) = (
            self.needed(key::BLOCK_COUNT)?,
            self.needed(key::FEED_FORWARD_LENGTH)?,
        );
        // GPT's names of a time before the others.
        let old = architecture.model_types[0] == "gpt_bigcode";
        self.put("model_type", architecture.model_types[0]);
        self.put("vocab_size", vocab);
        self.put(if old { "n_embd" } else { "hidden_size" }, hidden);
        self.put(if old { "n_head" } else { "num_attention_heads" }, heads);
        self.put(if old { "n_layer" } else { "num_hidden_layers" }, layers);
        self.put(if old { "n_inner" } else { "intermediate_size" }, wide);
        self.put(
            if old {
                "n_positions"
            } else {
                "max_position_embeddings"
            },
            positions,
        );
        if old {
            if self.size(key::HEAD_COUNT_KV)? != Some(1) {
                return Err(self.fault(format!("{} of this family is 1", key::HEAD_COUNT_KV)));
            }
            self.put("multi_query", true);
        } else {
            self.put(
                "num_key_value_heads",
                self.size(key::HEAD_COUNT_KV)?.unwrap_or(heads),
            );
        }
        if self.needed(key::EMBEDDING_LENGTH)? != hidden as u64 {
            return Err(self.fault(format!(
                "{} is not the width of token_embd.weight",
                self.key(key::EMBEDDING_LENGTH)
            )));
        }
        let head = self.size(key::KEY_LENGTH)?;
        if head != self.size(key::VALUE_LENGTH)? {
            return Err(self.fault(
                "heads of keys and of values differ in width, which is not supported".into(),
            ));
        }
        if let Some(head) = head {
            self.put("head_dim", head);
        }
        if let Some(eps) = self.number(key::RMS_EPS)? {
            self.put("rms_norm_eps", short(eps));
        }
        if let Some(eps) = self.number(key::LAYER_NORM_EPS)? {
            self.put("norm_epsilon", short(eps));
            self.put("layer_norm_epsilon", short(eps));
        }
        self.put("tie_word_embeddings", !self.has("output.weight"));
        let ends: Vec<u64> = [key::EOS, key::EOT]
            .into_iter()
            .filter_map(|key| self.file.whole(key).transpose())
            .collect::<Result<_>>()?;
        if !ends.is_empty() {
            self.put("eos_token_id", ends);
        }
        Ok(())
    }

    fn rope(&mut self) -> Result<()> {
        if let Some(base) = self.number(key::ROPE_BASE)? {
            self.put("rope_theta", short(base));
        }
        if let Some(turned) = self.size(key::ROPE_DIMENSIONS)? {
            let heads = self.needed(key::HEAD_COUNT)?.max(1);
            let head = match self.size(key::KEY_LENGTH)? {
                Some(head) => head,
                None => self.needed(key::EMBEDDING_LENGTH)? / heads,
            };
            if turned != head && head > 0 {
                self.put("partial_rotary_factor", turned as f64 / head as f64);
            }
        }
        let original = self.size(key::ROPE_ORIGINAL_CONTEXT)?;
        let mut scaling = Map::new();
        let factors = |tensor: &str| {
            let entry = self.file.tensors().get(tensor)?;
            floats(self.file, entry)
        };
        let (short_factors, long_factors) = match factors(ROPE_FREQS) {
            // Llama 3's stretching, worked out: each frequency by its own factor at every length, which is what longrope
            // does with two lists that are the same.
            Some(factors) => {
                scaling.insert("attention_factor".into(), json!(1.0));
                (Some(factors.clone()), Some(factors))
            }
            None => (factors(ROPE_FACTORS_SHORT), factors(ROPE_FACTORS_LONG)),
        };
        let kind = self
            .file
            .text(&self.key(key::ROPE_SCALING))?
            .unwrap_or("none");
        match (short_factors, long_factors, kind) {
            (Some(short), Some(long), _) => {
                scaling.insert("rope_type".into(), json!("longrope"));
                scaling.insert("short_factor".into(), json!(short));
                scaling.insert("long_factor".into(), json!(long));
            }
            (_, _, "none") => {}
            (_, _, "linear" | "yarn") => {
                let factor = self.number(key::ROPE_FACTOR)?.ok_or_else(|| {
                    self.fault(format!(
                        "has no {} in its metadata",
                        self.key(key::ROPE_FACTOR)
                    ))
                })?;
                scaling.insert("rope_type".into(), json!(kind));
                scaling.insert("factor".into(), json!(short(factor)));
                for (name, key) in [
                    ("beta_fast", key::ROPE_YARN_BETA_FAST),
                    ("beta_slow", key::ROPE_YARN_BETA_SLOW),
                ] {
                    if let Some(beta) = self.number(key)? {
                        scaling.insert(name.into(), json!(short(beta)));
                    }
                }
            }
            (_, _, other) => {
                return Err(self.fault(format!(
                    "{} is {other:?}, which is not supported; none, linear, yarn and longrope (with its factors) are",
                    self.key(key::ROPE_SCALING)
                )));
            }
        }
        if !scaling.is_empty() {
            if let Some(original) = original {
                scaling.insert("original_max_position_embeddings".into(), json!(original));
                // Phi-3 has it beside the table.
                self.put("original_max_position_embeddings", original);
            }
            if let Some(own) = self.number(key::ROPE_ATTENTION_FACTOR)? {
                // Of yarn, llama.cpp multiplies it by what yarn's paper has.
                let stretch = self.number(key::ROPE_FACTOR)?.unwrap_or(1.0);
                let factor = match scaling.get("rope_type") == Some(&json!("yarn")) {
                    true => own * yarn_mscale(stretch, 1.0),
                    false => own,
                };
                scaling.insert("attention_factor".into(), json!(short(factor)));
            }
            self.put("rope_scaling", Json::Object(scaling));
        }
        Ok(())
    }

    /// What only some families have.
    fn family(&mut self) -> Result<()> {
        let bias = self.has("blk.0.attn_q.bias");
        match self.name {
            "llama" | "granite" | "smollm3" => {
                self.put("attention_bias", bias);
                self.put("mlp_bias", self.has("blk.0.ffn_gate.bias"));
            }
            "starcoder2" => {
                self.put("use_bias", bias);
                self.put("hidden_act", "gelu_pytorch_tanh");
            }
            "starcoder" => self.put("activation_function", "gelu_pytorch_tanh"),
            "gemma2" | "gemma3" => {
                self.put("hidden_activation", "gelu_pytorch_tanh");
                // llama.cpp scales by the width of a head, but for the model of 27 B.
                let head = self.size(key::KEY_LENGTH)?.unwrap_or(256);
                let (layers, heads) = (
                    self.needed(key::BLOCK_COUNT)?,
                    self.needed(key::HEAD_COUNT)?,
                );
                let largest = layers == if self.name == "gemma2" { 46 } else { 62 };
                let scalar = if largest {
                    self.needed(key::EMBEDDING_LENGTH)? / heads.max(1)
                } else {
                    head
                };
                self.put("query_pre_attn_scalar", scalar);
            }
            _ => {}
        }
        let mut multipliers = vec![
            ("attn_logit_softcapping", key::ATTENTION_SOFTCAP),
            ("final_logit_softcapping", key::FINAL_SOFTCAP),
        ];
        if self.name == "granite" {
            multipliers.extend([
                ("embedding_multiplier", key::EMBEDDING_SCALE),
                ("residual_multiplier", key::RESIDUAL_SCALE),
                ("logits_scaling", key::LOGIT_SCALE),
                ("attention_multiplier", key::ATTENTION_SCALE),
            ]);
        }
        for (name, key) in multipliers {
            if let Some(number) = self.number(key)?.filter(|number| *number != 0.0) {
                self.put(name, short(number));
            }
        }
        if let Some(window) = self.size(key::SLIDING_WINDOW)?.filter(|window| *window > 0) {
            self.put("sliding_window", window);
        }
        Ok(())
    }
}

/// An f32 of the file as the decimal that was meant: 1e-5, not 0.000009999999747.
fn short(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap_or(number)
}
