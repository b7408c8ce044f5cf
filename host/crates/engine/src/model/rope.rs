//! The rotary embedding as a `config.json` describes it, and the tables that turn by it.
//!
//! Every kind of scaling follows Transformers' `modeling_rope_utils`.

use candle_core::{Device, Tensor};

use super::keys::Keys;
use crate::Result;
use crate::ops::RotaryTable;

/// One rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    theta: f64,
    /// Dimensions of a head that are turned, the first ones.
    dim: usize,
    /// Factor of cosines and sines.
    attention_factor: f64,
    scaling: Scaling,
}

/// How a rotary embedding is stretched beyond the positions that a model was first trained on.
#[derive(Debug, Clone, PartialEq)]
enum Scaling {
    None,
    /// All positions by one factor.
    Linear(f64),
    /// By a base that grows with the sequence beyond `trained` positions ("NTK").
    Dynamic {
        factor: f64,
        trained: f64,
    },
    /// By frequency, with a ramp between two (arXiv 2309.00071).
    Yarn {
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        trained: f64,
        truncate: bool,
    },
    /// By frequency, as in Llama 3.1.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        trained: f64,
    },
    /// By factors of their own for each frequency, other ones beyond `trained` positions (arXiv 2402.13753).
    LongRope {
        short: Vec<f64>,
        long: Vec<f64>,
        trained: usize,
    },
}

/// What of a model a rotary embedding depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct RotaryContext {
    pub(super) head_dim: usize,
    pub(super) max_positions: usize,
    /// Base of the frequencies where the config names none.
    pub(super) theta: f64,
    /// Whether a part of each head may stay unturned.
    pub(super) partial: bool,
    pub(super) phi3: bool,
}

impl Rotary {
    /// Reads one table of rotary parameters; `name` is its key, and `config` the whole file.
    pub(super) fn read(
        config: &Keys<'_>,
        table: &Keys<'_>,
        name: &str,
        context: RotaryContext,
    ) -> Result<Self, String> {
        let inside = |message: String| format!("{name}: {message}");
        let theta = table
            .positive("rope_theta")
            .map_err(inside)?
            .unwrap_or(context.theta);
        let share = match table.number("partial_rotary_factor").map_err(inside)? {
            Some(share) => share,
            None => config.number("partial_rotary_factor")?.unwrap_or(1.0),
        };
        let dim = (context.head_dim as f64 * share) as usize;
        if share != 1.0 && !context.partial {
            return Err(
                "partial_rotary_factor is not supported for this model_type; only a full rotary embedding is".into(),
            );
        }
        if dim < 2 || !dim.is_multiple_of(2) || dim > context.head_dim {
            return Err(format!(
                "partial_rotary_factor {share} of a head_dim of {} leaves no even number of dimensions to turn",
                context.head_dim
            ));
        }
        let kind = match table.text("rope_type").map_err(inside)? {
            Some(kind) => kind,
            None => table.text("type").map_err(inside)?.unwrap_or("default"),
        };
        // Phi-3's first checkpoints call it so.
        let kind = match kind {
            "su" | "yarn" if context.phi3 => "longrope",
            other => other,
        };
        let trained = match config.positive("original_max_position_embeddings")? {
            Some(trained) => trained,
            None if context.phi3 => 4096.0,
            None => table
                .positive("original_max_position_embeddings")
                .map_err(inside)?
                .unwrap_or(context.max_positions as f64),
        };
        let stretch = context.max_positions as f64 / trained;
        let needed = |key: &str| {
            table
                .positive(key)
                .map_err(inside)?
                .ok_or(format!("{name} has no {key}"))
        };
        let optional = |key: &str| table.positive(key).map_err(inside);
        let mut attention_factor = 1.0;
        let scaling = match kind {
            "default" => Scaling::None,
            "linear" => Scaling::Linear(needed("factor")?),
            "dynamic" => Scaling::Dynamic {
                factor: needed("factor")?,
                trained: context.max_positions as f64,
            },
            "llama3" => Scaling::Llama3 {
                factor: needed("factor")?,
                low_freq_factor: needed("low_freq_factor")?,
                high_freq_factor: needed("high_freq_factor")?,
                trained,
            },
            "yarn" => {
                let factor = optional("factor")?.unwrap_or(stretch);
                let scale = |mscale: f64| match factor <= 1.0 {
                    true => 1.0,
                    false => 0.1 * mscale * factor.ln() + 1.0,
                };
                let mscales = (table.number("mscale")?, table.number("mscale_all_dim")?);
                attention_factor = match (optional("attention_factor")?, mscales) {
                    (Some(factor), _) => factor,
                    (None, (Some(mscale), Some(all))) if mscale != 0.0 && all != 0.0 => {
                        scale(mscale) / scale(all)
                    }
                    (None, _) => scale(1.0),
                };
                Scaling::Yarn {
                    factor,
                    beta_fast: optional("beta_fast")?.unwrap_or(32.0),
                    beta_slow: optional("beta_slow")?.unwrap_or(1.0),
                    trained,
                    truncate: table.flag("truncate", true).map_err(inside)?,
                }
            }
            "longrope" => {
                let factor = optional("factor")?.unwrap_or(stretch);
                attention_factor = match optional("attention_factor")? {
                    Some(factor) => factor,
                    None if factor <= 1.0 => 1.0,
                    None => (1.0 + factor.ln() / trained.ln()).sqrt(),
                };
                let factors = |key: &str| {
                    let list = table.numbers(key).map_err(inside)?;
                    let list = list.ok_or(format!("{name} has no {key}"))?;
                    match list.len() == dim / 2 && list.iter().all(|x| *x > 0.0) {
                        true => Ok(list),
                        false => Err(format!(
                            "{name}: {key} must hold {} numbers above 0, one for each turned pair of dimensions, and holds {}",
                            dim / 2,
                            list.len()
                        )),
                    }
                };
                Scaling::LongRope {
                    short: factors("short_factor")?,
                    long: factors("long_factor")?,
                    trained: trained as usize,
                }
            }
            other => {
                return Err(format!(
                    "rope_type {other:?} in {name} is not supported; default, linear, dynamic, yarn, llama3 and longrope are"
                ));
            }
        };
        Ok(Self {
            theta,
            dim,
            attention_factor,
            scaling,
        })
    }

    /// Positions up to which a model with this embedding can be asked, where its config says `max_positions`.
    pub(super) fn reach(&self, max_positions: usize) -> usize {
        match self.scaling {
            // It is defined for any length.
            Scaling::Dynamic { .. } => usize::MAX >> 16,
            Scaling::Yarn {
                factor, trained, ..
            } => max_positions.max((factor * trained) as usize),
            _ => max_positions,
        }
    }

    /// Whether the angles hang on the length of the longest sequence of a forward, so that texts of different lengths
    /// cannot share a table.
    pub(crate) fn changes_with_length(&self) -> bool {
        matches!(
            self.scaling,
            Scaling::Dynamic { .. } | Scaling::LongRope { .. }
        )
    }

    /// Whether the angles of all positions are other ones in a text of `len` tokens than in one with a token less.
    pub(crate) fn changes_at(&self, len: usize) -> bool {
        matches!(self.scaling, Scaling::LongRope { trained, .. } if len == trained + 1)
    }

    /// Angle per position of every turned pair of dimensions, in a forward whose longest sequence has `len` tokens.
    pub(crate) fn frequencies(&self, len: usize) -> Vec<f32> {
        let dim = self.dim as f64;
        let power = |theta: f64, i: usize| theta.powf(2.0 * i as f64 / dim);
        let each = |f: &dyn Fn(usize, f64) -> f64| -> Vec<f32> {
            (0..self.dim / 2)
                .map(|i| f(i, 1.0 / power(self.theta, i)) as f32)
                .collect()
        };
        match &self.scaling {
            Scaling::None => each(&|_, plain| plain),
            Scaling::Linear(factor) => each(&|_, plain| plain / factor),
            Scaling::Dynamic { factor, trained } => {
                let len = (len as f64).max(*trained);
                let growth = (factor * len / trained - (factor - 1.0)).powf(dim / (dim - 2.0));
                each(&|i, _| 1.0 / power(self.theta * growth, i))
            }
            Scaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                trained,
                truncate,
            } => {
                let turns_at = |rotations: f64| {
                    dim * (trained / (rotations * 2.0 * std::f64::consts::PI)).ln()
                        / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (turns_at(*beta_fast), turns_at(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
                if low == high {
                    high += 0.001;
                }
                each(&|i, plain| {
                    let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    plain / factor * ramp + plain * (1.0 - ramp)
                })
            }
            Scaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                trained,
            } => each(&|_, plain| {
                // Long waves are stretched, short ones kept, those between blended.
                let wavelength = 2.0 * std::f64::consts::PI / plain;
                if wavelength > trained / low_freq_factor {
                    plain / factor
                } else if wavelength < trained / high_freq_factor {
                    plain
                } else {
                    let smooth = (trained / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * plain / factor + smooth * plain
                }
            }),
            Scaling::LongRope {
                short,
                long,
                trained,
            } => {
                let factors = if len > *trained { long } else { short };
                each(&|i, plain| plain / factors[i])
            }
        }
    }

    /// Cosines and sines for positions `from .. from + len`, where the longest sequence has `total` tokens.
    pub(crate) fn table(&self, from: usize, len: usize, total: usize) -> Result<RotaryTable> {
        let frequencies = self.frequencies(total);
        let half = frequencies.len();
        let factor = self.attention_factor as f32;
        let (mut cos, mut sin) = (
            Vec::with_capacity(len * half),
            Vec::with_capacity(len * half),
        );
        for position in from..from + len {
            for frequency in &frequencies {
                let (s, c) = (position as f32 * frequency).sin_cos();
                cos.push(c * factor);
                sin.push(s * factor);
            }
        }
        Ok(RotaryTable {
            cos: Tensor::from_vec(cos, (len, half), &Device::Cpu)?,
            sin: Tensor::from_vec(sin, (len, half), &Device::Cpu)?,
        })
    }
}
