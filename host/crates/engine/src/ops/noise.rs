//! Noise on embeddings while training.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::elementwise::mix;
use super::simd::vectorized;
use super::storage::floats_mut;
use super::{Span, seed_of};

struct Noise<'a> {
    spans: &'a [Span],
    alpha: f64,
    seed: u64,
}

vectorized! {
    fn add_uniform(x: &mut [f32], first: u64, seed: u64, magnitude: f32) {
        for (i, x) in x.iter_mut().enumerate() {
            // 24 bits fill an f32: uniform in [-1, 1).
            let drawn = (mix(seed, first + i as u64) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            *x += drawn * magnitude;
        }
    }
}

impl InplaceOp1 for Noise<'_> {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (rows, width) = layout.shape().dims2()?;
        let x = floats_mut("noise", x, layout)?;
        if self.spans.iter().any(|span| span.start + span.len > rows) {
            bail!("noise: a span ends behind row {rows}");
        }
        for span in self.spans {
            let magnitude = noise_bound(self.alpha, span.len, width);
            x[span.start * width..(span.start + span.len) * width]
                .par_chunks_mut(width)
                .enumerate()
                .for_each(|(row, x)| {
                    let first = ((span.start + row) * width) as u64;
                    add_uniform(x, first, self.seed, magnitude);
                });
        }
        Ok(())
    }
}

/// Adds noise that is uniform within `alpha / sqrt(L * d)` to embeddings `x` [T, d], L being the length of a token's
/// own sequence (NEFTune, arXiv 2310.05914). It is a function of `seed` and the place alone.
pub(crate) fn add_noise(x: &Tensor, spans: &[Span], alpha: f64, seed: u64) -> Result<()> {
    let seed = noise_seed(seed);
    x.inplace_op1(&Noise { spans, alpha, seed })
}

/// What the noise on embeddings of `width` of a sequence of `len` tokens stays within.
pub(crate) fn noise_bound(alpha: f64, len: usize, width: usize) -> f32 {
    (alpha / ((len * width) as f64).sqrt()) as f32
}

/// The seed that noise is drawn by in a pass with this seed: not the stream of the dropout masks.
pub(crate) fn noise_seed(seed: u64) -> u64 {
    seed_of(&[seed, 0x6e_6f69_7365])
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn noise_is_uniform_within_the_bound_of_each_sequence_and_comes_again_with_its_seed() {
        let spans = [Span { start: 0, len: 4 }, Span { start: 4, len: 100 }];
        let drawn = |seed| {
            let x = Tensor::zeros((104, 64), DType::F32, &Device::Cpu).unwrap();
            add_noise(&x, &spans, 5.0, seed).unwrap();
            x.to_vec2::<f32>().unwrap()
        };
        let x = drawn(1);
        for span in &spans {
            let bound = 5.0 / ((span.len * 64) as f32).sqrt();
            let rows = x[span.start..span.start + span.len].concat();
            let largest = rows.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            assert!(
                largest <= bound && largest > 0.9 * bound,
                "{largest} {bound}"
            );
            let mean = rows.iter().sum::<f32>() / rows.len() as f32;
            let spread = (rows.iter().map(|x| x * x).sum::<f32>() / rows.len() as f32).sqrt();
            assert!(mean.abs() < 0.1 * bound, "{mean}");
            // A uniform draw within b deviates by b / sqrt(3).
            assert!((spread / bound - 0.577).abs() < 0.05, "{spread}");
        }
        assert_eq!(x, drawn(1));
        assert_ne!(x, drawn(2));
    }
}
