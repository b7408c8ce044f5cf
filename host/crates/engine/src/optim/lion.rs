use candle_core::{
    CpuStorage, InplaceOp2, InplaceOp3, Layout, Result as CandleResult, Tensor, bail,
};
use rayon::prelude::*;

use super::{Now, Rule, TASK};
use crate::Result;
use crate::ops::simd::vectorized;
use crate::ops::storage::{floats, floats_mut};

/// Lion (arXiv 2302.06675), as the package lion-pytorch computes it: each weight moves by the rate, up or down. Its
/// state is one moment of the parameter's shape.
pub(super) struct Lion {
    pub(super) beta1: f64,
    pub(super) beta2: f64,
}

struct Move {
    rate: f32,
    clip: f32,
    beta1: f32,
    keep: f32,
}

struct Moment {
    clip: f32,
    beta2: f32,
}

vectorized! {
    fn move_weights(p: &mut [f32], m: &[f32], g: &[f32], u: &Move) {
        let n = p.len();
        let (m, g) = (&m[..n], &g[..n]);
        for i in 0..n {
            let toward = m[i] * u.beta1 + g[i] * u.clip * (1.0 - u.beta1);
            let sign = f32::from(i8::from(toward > 0.0) - i8::from(toward < 0.0));
            p[i] = p[i] * u.keep - u.rate * sign;
        }
    }
}

vectorized! {
    fn move_moment(m: &mut [f32], g: &[f32], clip: f32, beta2: f32) {
        let n = m.len();
        let g = &g[..n];
        for i in 0..n {
            m[i] = m[i] * beta2 + g[i] * clip * (1.0 - beta2);
        }
    }
}

impl InplaceOp3 for Move {
    fn name(&self) -> &'static str {
        "lion-move"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        p_layout: &Layout,
        m: &CpuStorage,
        m_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> CandleResult<()> {
        let p = floats_mut("lion", p, p_layout)?;
        let (m, g) = (floats("lion", m, m_layout)?, floats("lion", g, g_layout)?);
        if m.len() != p.len() || g.len() != p.len() {
            bail!("lion: {} values, {} gradients", p.len(), g.len());
        }
        p.par_chunks_mut(TASK)
            .zip(m.par_chunks(TASK))
            .zip(g.par_chunks(TASK))
            .for_each(|((p, m), g)| move_weights(p, m, g, self));
        Ok(())
    }
}

impl InplaceOp2 for Moment {
    fn name(&self) -> &'static str {
        "lion-moment"
    }

    fn cpu_fwd(
        &self,
        m: &mut CpuStorage,
        m_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> CandleResult<()> {
        let m = floats_mut("lion", m, m_layout)?;
        let g = floats("lion", g, g_layout)?;
        m.par_chunks_mut(TASK)
            .zip(g.par_chunks(TASK))
            .for_each(|(m, g)| move_moment(m, g, self.clip, self.beta2));
        Ok(())
    }
}

impl Rule for Lion {
    fn state_shape(&self, shape: &[usize]) -> Vec<usize> {
        shape.to_vec()
    }

    fn update(&self, now: &Now, value: &Tensor, grad: &Tensor, state: &Tensor) -> Result<()> {
        value.inplace_op3(
            state,
            grad,
            &Move {
                rate: now.rate as f32,
                clip: now.clip,
                beta1: self.beta1 as f32,
                keep: (1.0 - now.rate * now.decay) as f32,
            },
        )?;
        state.inplace_op2(
            grad,
            &Moment {
                clip: now.clip,
                beta2: self.beta2 as f32,
            },
        )?;
        Ok(())
    }
}
