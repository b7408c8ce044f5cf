use candle_core::{CpuStorage, InplaceOp2, Layout, Result as CandleResult, Tensor, bail};
use rayon::prelude::*;

use super::{Now, Rule, TASK};
use crate::Result;
use crate::ops::simd::vectorized;
use crate::ops::storage::{floats, floats_mut};

/// AdamW with decoupled decay (arXiv 1711.05101), as `torch.optim.AdamW` computes it. Its state is the first and the
/// second moment behind one another: [2, ...].
pub(super) struct AdamW {
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    pub(super) epsilon: f64,
}

/// Moves the moments towards a gradient.
struct Moments {
    clip: f32,
    beta1: f32,
    beta2: f32,
}

/// Moves a parameter against its moments.
struct Move {
    /// Rate over the first moment's bias correction.
    rate: f32,
    /// 1 over the root of the second moment's bias correction.
    inverse_root: f32,
    epsilon: f32,
    /// What decay leaves of the weight.
    keep: f32,
}

vectorized! {
    fn update_moments(m: &mut [f32], v: &mut [f32], g: &[f32], clip: f32, beta1: f32, beta2: f32) {
        let n = g.len();
        let (m, v) = (&mut m[..n], &mut v[..n]);
        for i in 0..n {
            let g = g[i] * clip;
            m[i] += (g - m[i]) * (1.0 - beta1);
            v[i] = v[i] * beta2 + g * g * (1.0 - beta2);
        }
    }
}

vectorized! {
    fn update_weights(p: &mut [f32], m: &[f32], v: &[f32], u: &Move) {
        let n = p.len();
        let (m, v) = (&m[..n], &v[..n]);
        for i in 0..n {
            let denominator = v[i].sqrt() * u.inverse_root + u.epsilon;
            p[i] = p[i] * u.keep - u.rate * (m[i] / denominator);
        }
    }
}

impl InplaceOp2 for Moments {
    fn name(&self) -> &'static str {
        "adamw-moments"
    }

    fn cpu_fwd(
        &self,
        moments: &mut CpuStorage,
        moments_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> CandleResult<()> {
        let moments = floats_mut("adamw", moments, moments_layout)?;
        let g = floats("adamw", g, g_layout)?;
        if moments.len() != 2 * g.len() {
            bail!("adamw: {} moments and {} gradients", moments.len(), g.len());
        }
        let (m, v) = moments.split_at_mut(g.len());
        m.par_chunks_mut(TASK)
            .zip(v.par_chunks_mut(TASK))
            .zip(g.par_chunks(TASK))
            .for_each(|((m, v), g)| update_moments(m, v, g, self.clip, self.beta1, self.beta2));
        Ok(())
    }
}

impl InplaceOp2 for Move {
    fn name(&self) -> &'static str {
        "adamw-move"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        p_layout: &Layout,
        moments: &CpuStorage,
        moments_layout: &Layout,
    ) -> CandleResult<()> {
        let p = floats_mut("adamw", p, p_layout)?;
        let moments = floats("adamw", moments, moments_layout)?;
        if moments.len() != 2 * p.len() {
            bail!("adamw: {} moments and {} values", moments.len(), p.len());
        }
        let (m, v) = moments.split_at(p.len());
        p.par_chunks_mut(TASK)
            .zip(m.par_chunks(TASK))
            .zip(v.par_chunks(TASK))
            .for_each(|((p, m), v)| update_weights(p, m, v, self));
        Ok(())
    }
}

impl Rule for AdamW {
    fn state_shape(&self, shape: &[usize]) -> Vec<usize> {
        [&[2], shape].concat()
    }

    fn update(&self, now: &Now, value: &Tensor, grad: &Tensor, state: &Tensor) -> Result<()> {
        let count = now.step as f64;
        let first = 1.0 - self.beta1.powf(count);
        let second = 1.0 - self.beta2.powf(count);
        state.inplace_op2(
            grad,
            &Moments {
                clip: now.clip,
                beta1: self.beta1 as f32,
                beta2: self.beta2 as f32,
            },
        )?;
        value.inplace_op2(
            state,
            &Move {
                rate: (now.rate / first) as f32,
                inverse_root: (1.0 / second.sqrt()) as f32,
                epsilon: self.epsilon as f32,
                keep: (1.0 - now.rate * now.decay) as f32,
            },
        )?;
        Ok(())
    }

    #[cfg(any(test, feature = "cuda"))]
    fn adamw(&self) -> Option<[f64; 3]> {
        Some([self.beta1, self.beta2, self.epsilon])
    }
}
