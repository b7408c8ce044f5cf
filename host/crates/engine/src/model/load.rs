use std::path::Path;

use candle_core::DType;
use domain::Quantize;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::family::QkNorm;
use super::norm::NormKind;
use super::section::{Entry, Exit};
use super::source::{Source, Values};
use super::{Attention, Block, Decoder, Description, FeedForward, Linear, Norm, Weights};
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
        let names = d.names;
        let weight = |module: &str| format!("{module}.weight");
        if d.tied_head {
            self.source
                .check_tied(&weight(names.embedding), "lm_head.weight")?;
        }
        let embedding = self
            .source
            .matrix(&weight(names.embedding), &[d.vocab, d.hidden])?;
        let positions = match d.learned_positions {
            Some(rows) => Some(
                self.source
                    .matrix(&weight(names.positions), &[rows, d.hidden])?,
            ),
            None => None,
        };
        let mut blocks = Vec::new();
        for layer in 0..d.layers.len() {
            blocks.push(self.block(layer, &d)?);
        }
        let norm = self.norm(names.norm, d.hidden, &d)?;
        let head = match d.tied_head {
            true => None,
            false => Some(self.source.matrix("lm_head.weight", &[d.vocab, d.hidden])?),
        };
        // Tables that can be computed, and causal masks of old GPT checkpoints.
        let computed = [
            "rotary_emb.inv_freq",
            ".attn.bias",
            ".attn.masked_bias",
            ".embed_scale",
        ];
        self.source.finish(|name| {
            computed.iter().any(|ending| name.ends_with(ending))
                || (d.tied_head && name == "lm_head.weight")
        })?;
        Ok(Decoder {
            description: d,
            embedding,
            positions,
            blocks,
            norm,
            head,
            saved_embedding: None,
            saved_head: None,
            saved_positions: None,
            ties_saved: false,
            embedding_lora: None,
            head_lora: None,
            embedding_tokens: None,
            head_tokens: None,
            replaced_ends: false,
            neftune_noise_alpha: 0.0,
            segment: 0,
        })
    }

    fn block(&mut self, layer: usize, d: &Description) -> Result<Block> {
        let names = d.names;
        let prefix = format!("{}.{layer}", names.layers);
        let (q, kv) = (d.heads * d.head_dim, d.kv_heads * d.head_dim);
        let qkv = [q, kv, kv];
        let ups = [d.intermediate, d.intermediate];
        let ups = if d.gated { &ups[..] } else { &ups[..1] };
        let mut norms = [
            names.before_attention,
            names.after_attention,
            names.before_mlp,
            names.after_mlp,
        ]
        .into_iter()
        .map(|name| match name {
            Some(name) => self
                .norm(&format!("{prefix}.{name}"), d.hidden, d)
                .map(Some),
            None => Ok(None),
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter();
        let mut norm = || norms.next().flatten();
        let (before_attention, after_attention, before_mlp, after_mlp) =
            (norm(), norm(), norm(), norm());
        let (q_norm, k_norm) = match d.qk_norm {
            QkNorm::None => (None, None),
            kind => {
                let widths = match kind {
                    QkNorm::Row => (q, kv),
                    _ => (d.head_dim, d.head_dim),
                };
                let mut norm =
                    |name: &str, width| self.norm(&format!("{prefix}.{name}"), width, d).map(Some);
                (norm(names.q_norm, widths.0)?, norm(names.k_norm, widths.1)?)
            }
        };
        let attention = Attention {
            entry: Entry {
                norm: before_attention,
                linears: self.side_by_side(&prefix, names.qkv, &qkv, d.hidden, d.qkv_bias)?,
            },
            q_norm,
            k_norm,
            exit: Exit {
                linear: self.linear(&prefix, names.output, d.hidden, q, d.output_bias)?,
                norm: after_attention,
                factor: d.residual_scale,
            },
            by_head: d.qkv_by_head,
            window: d.layers[layer].window,
            rotary: d.layers[layer].rotary,
        };
        let feed_forward = FeedForward {
            entry: Entry {
                norm: before_mlp,
                linears: self.side_by_side(&prefix, names.up, ups, d.hidden, d.mlp_bias)?,
            },
            activation: d.activation,
            gated: d.gated,
            exit: Exit {
                linear: self.linear(&prefix, names.down, d.hidden, d.intermediate, d.mlp_bias)?,
                norm: after_mlp,
                factor: d.residual_scale,
            },
        };
        Ok(Block {
            attention,
            feed_forward,
        })
    }

    /// Modules whose outputs lie side by side: one for each width, or one for all.
    fn side_by_side(
        &mut self,
        prefix: &str,
        names: &[&str],
        widths: &[usize],
        input: usize,
        bias: bool,
    ) -> Result<Vec<Linear>> {
        match names {
            [one] => Ok(vec![self.linear(
                prefix,
                one,
                widths.iter().sum(),
                input,
                bias,
            )?]),
            each => each
                .iter()
                .zip(widths)
                .map(|(name, width)| self.linear(prefix, name, *width, input, bias))
                .collect(),
        }
    }

    fn linear(
        &mut self,
        prefix: &str,
        name: &str,
        out: usize,
        input: usize,
        bias: bool,
    ) -> Result<Linear> {
        let name = format!("{prefix}.{name}");
        Ok(Linear {
            weight: self
                .source
                .matrix(&format!("{name}.weight"), &[out, input])?,
            bias: bias
                .then(|| self.source.vector(&format!("{name}.bias"), out, 0.0))
                .transpose()?,
            lora: None,
            principal: None,
            saved: None,
            own_bias: None,
            name,
        })
    }

    fn norm(&mut self, name: &str, width: usize, d: &Description) -> Result<Norm> {
        let neutral = match d.norm {
            NormKind::RmsPlusOne => 0.0,
            NormKind::Rms | NormKind::Layer => 1.0,
        };
        Ok(Norm {
            kind: d.norm,
            weight: self
                .source
                .vector(&format!("{name}.weight"), width, neutral)?,
            bias: match d.norm {
                NormKind::Layer => Some(self.source.vector(&format!("{name}.bias"), width, 0.0)?),
                NormKind::Rms | NormKind::RmsPlusOne => None,
            },
            eps: d.norm_eps,
            saved: None,
            own_bias: None,
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

/// Normal values by Box and Muller: pairs, each of two draws, so that every task knows where in the draws it begins. A model of
/// billions is drawn for a benchmark.
pub(crate) fn normal(generator: &mut ChaCha8Rng, count: usize, deviation: f64) -> Vec<f32> {
    const TASK: usize = 1 << 14;
    // Words of 32 bits for each value.
    const WORDS: u128 = 2;
    let begun = generator.get_word_pos();
    let mut values = vec![0f32; count];
    let of_task = |(task, values): (usize, &mut [f32])| {
        let mut generator = generator.clone();
        generator.set_word_pos(begun + WORDS * (task * TASK) as u128);
        for pair in values.chunks_mut(2) {
            let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt() * deviation;
            let (sin, cos) = (2.0 * std::f64::consts::PI * generator.random::<f64>()).sin_cos();
            for (value, drawn) in pair.iter_mut().zip([cos, sin]) {
                *value = (radius * drawn) as f32;
            }
        }
    };
    values.par_chunks_mut(TASK).enumerate().for_each(of_task);
    generator.set_word_pos(begun + WORDS * count.next_multiple_of(2) as u128);
    values
}

/// Values between `-bound` and `bound`.
pub(crate) fn uniform(generator: &mut ChaCha8Rng, count: usize, bound: f64) -> Vec<f32> {
    (0..count)
        .map(|_| ((generator.random::<f64>() * 2.0 - 1.0) * bound) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_drawn_at_once_are_those_drawn_one_after_the_other() {
        let (mut at_once, mut apart) = (named_generator(1, "w"), named_generator(1, "w"));
        let all = normal(&mut at_once, 100_001, 1.0);
        for stretch in all.chunks(2) {
            assert_eq!(normal(&mut apart, stretch.len(), 1.0), stretch);
        }
        assert_eq!(at_once.random::<u64>(), apart.random::<u64>());
    }
}
