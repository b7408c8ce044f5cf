use std::path::Path;

use candle_core::DType;
use domain::Quantize;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::source::{Source, Values};
use super::{Block, Decoder, Description, Linear, Weights};
use crate::gguf::{Gguf, GgufWeights, is_gguf};
use crate::{Error, Result};

/// How a model is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loading {
    /// Type in which frozen weights are held.
    pub(crate) dtype: DType,
    /// Pack frozen matrices instead, one tensor at a time.
    pub(crate) quantize: Option<Quantize>,
    /// Every weight gets a gradient, and is held in f32.
    pub(crate) trainable: bool,
    /// Draw the weights from this seed instead of reading them.
    pub(crate) random: Option<u64>,
}

/// Parameters up to which random weights are drawn: a slip of the pen in `config.json` must not take all memory.
const LARGEST_RANDOM: u64 = 20_000_000_000;

impl Loading {
    /// Frozen weights, read from files and held in `dtype`.
    pub(crate) fn frozen(dtype: DType) -> Self {
        Self {
            dtype,
            quantize: None,
            trainable: false,
            random: None,
        }
    }
}

impl Decoder {
    /// Reads a Hugging Face folder, or draws its weights where `random` is set.
    ///
    /// # Errors
    /// The config names what is not supported, or the weights are missing, damaged or of other shapes.
    pub(crate) fn load(folder: &Path, loading: Loading) -> Result<Self> {
        check_folder(folder)?;
        if is_gguf(folder) {
            return Self::load_gguf(folder, loading);
        }
        let description = Description::read(folder)?;
        if loading.random.is_some() && description.parameters() > LARGEST_RANDOM {
            let message = format!(
                "describes {} parameters, too many to draw",
                description.parameters()
            );
            return Err(Error::file(folder.join("config.json"), message));
        }
        let values = match loading.random {
            None => Values::Files(Weights::open_folder(folder)?),
            Some(seed) => Values::Random {
                seed,
                deviation: description.initializer_range,
            },
        };
        Reader {
            source: Source { values, loading },
            description,
        }
        .read()
    }
}

impl Decoder {
    /// Reads a GGUF file; what it holds packed stays packed.
    fn load_gguf(path: &Path, loading: Loading) -> Result<Self> {
        if loading.trainable {
            let message = "is a GGUF file, whose weights can only be a frozen base: set train.method = \"lora\", or give a Hugging Face folder";
            return Err(Error::file(path, message));
        }
        let file = Gguf::open(path)?;
        let (architecture, config) = crate::gguf::config(&file)?;
        let description =
            Description::from_json(&config).map_err(|message| Error::file(path, message))?;
        let weights = GgufWeights::new(file, architecture, description.heads, description.kv_heads);
        Reader {
            source: Source {
                values: Values::Gguf(weights),
                loading,
            },
            description,
        }
        .read()
    }
}

/// Refuses what is no model folder, each kind with its own sentence.
pub(crate) fn check_folder(path: &Path) -> Result<()> {
    if path.is_file() && super::weights::is_pickle(path) {
        return Err(super::weights::refuse_pickle(path));
    }
    if is_gguf(path) {
        return match path.is_file() {
            true => Ok(()),
            false => Err(Error::file(path, "no such file")),
        };
    }
    if path.is_file() {
        return Err(Error::file(
            path,
            "is a file; give the Hugging Face folder that holds it",
        ));
    }
    if !path.is_dir() {
        return Err(Error::file(path, "no such folder"));
    }
    Ok(())
}

struct Reader {
    source: Source,
    description: Description,
}

impl Reader {
    fn read(mut self) -> Result<Decoder> {
        let d = self.description.clone();
        let embedding = self
            .source
            .matrix("model.embed_tokens.weight", &[d.vocab, d.hidden])?;
        let mut blocks = Vec::new();
        for layer in 0..d.layers {
            blocks.push(self.block(layer, &d)?);
        }
        let norm = self.source.vector("model.norm.weight", d.hidden)?;
        let head = match d.tied_head {
            true => None,
            false => Some(self.source.matrix("lm_head.weight", &[d.vocab, d.hidden])?),
        };
        self.source.finish(|name| {
            name.ends_with("rotary_emb.inv_freq") || (d.tied_head && name == "lm_head.weight")
        })?;
        Ok(Decoder::new(d, embedding, blocks, norm, head))
    }

    fn block(&mut self, layer: usize, d: &Description) -> Result<Block> {
        let prefix = format!("model.layers.{layer}");
        let (q, kv) = (d.heads * d.head_dim, d.kv_heads * d.head_dim);
        let mut linear = |name: &str, out: usize, input: usize, bias: bool| {
            let name = format!("{prefix}.{name}");
            Ok::<_, Error>(Linear {
                weight: self
                    .source
                    .matrix(&format!("{name}.weight"), &[out, input])?,
                bias: bias
                    .then(|| self.source.vector(&format!("{name}.bias"), out))
                    .transpose()?,
                lora: None,
                name,
            })
        };
        Ok(Block {
            q: linear("self_attn.q_proj", q, d.hidden, d.qkv_bias)?,
            k: linear("self_attn.k_proj", kv, d.hidden, d.qkv_bias)?,
            v: linear("self_attn.v_proj", kv, d.hidden, d.qkv_bias)?,
            o: linear("self_attn.o_proj", d.hidden, q, d.output_bias)?,
            gate: linear("mlp.gate_proj", d.intermediate, d.hidden, d.mlp_bias)?,
            up: linear("mlp.up_proj", d.intermediate, d.hidden, d.mlp_bias)?,
            down: linear("mlp.down_proj", d.hidden, d.intermediate, d.mlp_bias)?,
            input_norm: self
                .source
                .vector(&format!("{prefix}.input_layernorm.weight"), d.hidden)?,
            post_norm: self.source.vector(
                &format!("{prefix}.post_attention_layernorm.weight"),
                d.hidden,
            )?,
            eps: d.norm_eps,
        })
    }
}

/// A generator for one tensor, so that its values depend on the seed and its name alone.
pub(crate) fn named_generator(seed: u64, name: &str) -> ChaCha8Rng {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(name.as_bytes());
    ChaCha8Rng::from_seed(hasher.finalize().into())
}

/// Normal values by Box and Muller.
pub(crate) fn normal(generator: &mut ChaCha8Rng, count: usize, deviation: f64) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt() * deviation;
        let (sin, cos) = (2.0 * std::f64::consts::PI * generator.random::<f64>()).sin_cos();
        values.push((radius * cos) as f32);
        values.push((radius * sin) as f32);
    }
    values.truncate(count);
    values
}

/// Values between `-bound` and `bound`.
pub(crate) fn uniform(generator: &mut ChaCha8Rng, count: usize, bound: f64) -> Vec<f32> {
    (0..count)
        .map(|_| ((generator.random::<f64>() * 2.0 - 1.0) * bound) as f32)
        .collect()
}
