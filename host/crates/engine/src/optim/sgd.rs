use candle_core::{
    CpuStorage, InplaceOp2, InplaceOp3, Layout, Result as CandleResult, Tensor, bail,
};
use rayon::prelude::*;

use super::{Now, Rule, TASK};
use crate::Result;
use crate::ops::simd::vectorized;
use crate::ops::storage::{floats, floats_mut};

/// SGD with momentum as in `torch.optim.SGD` (no dampening, no Nesterov); weight decay is added to the gradient there,
/// not decoupled. Its state is the momentum buffer, of the parameter's shape.
pub(super) struct Sgd {
    pub(super) momentum: f64,
}

/// Takes the gradient and the decay into the buffer.
struct Gather {
    momentum: f32,
    clip: f32,
    decay: f32,
}

struct Move {
    rate: f32,
}

vectorized! {
    fn gather(buffer: &mut [f32], g: &[f32], p: &[f32], u: &Gather) {
        let n = buffer.len();
        let (g, p) = (&g[..n], &p[..n]);
        for i in 0..n {
            buffer[i] = buffer[i] * u.momentum + (g[i] * u.clip + p[i] * u.decay);
        }
    }
}

vectorized! {
    fn move_weights(p: &mut [f32], buffer: &[f32], rate: f32) {
        for (p, x) in p.iter_mut().zip(buffer) {
            *p -= rate * x;
        }
    }
}

impl InplaceOp3 for Gather {
    fn name(&self) -> &'static str {
        "sgd-buffer"
    }

    fn cpu_fwd(
        &self,
        buffer: &mut CpuStorage,
        buffer_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
        p: &CpuStorage,
        p_layout: &Layout,
    ) -> CandleResult<()> {
        let buffer = floats_mut("sgd", buffer, buffer_layout)?;
        let (g, p) = (floats("sgd", g, g_layout)?, floats("sgd", p, p_layout)?);
        if g.len() != buffer.len() || p.len() != buffer.len() {
            bail!("sgd: {} values, {} gradients", p.len(), g.len());
        }
        buffer
            .par_chunks_mut(TASK)
            .zip(g.par_chunks(TASK))
            .zip(p.par_chunks(TASK))
            .for_each(|((buffer, g), p)| gather(buffer, g, p, self));
        Ok(())
    }
}

impl InplaceOp2 for Move {
    fn name(&self) -> &'static str {
        "sgd-move"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        p_layout: &Layout,
        buffer: &CpuStorage,
        buffer_layout: &Layout,
    ) -> CandleResult<()> {
        let p = floats_mut("sgd", p, p_layout)?;
        let buffer = floats("sgd", buffer, buffer_layout)?;
        p.par_chunks_mut(TASK)
            .zip(buffer.par_chunks(TASK))
            .for_each(|(p, buffer)| move_weights(p, buffer, self.rate));
        Ok(())
    }
}

impl Rule for Sgd {
    fn state_shape(&self, shape: &[usize]) -> Vec<usize> {
        shape.to_vec()
    }

    fn update(&self, now: &Now, value: &Tensor, grad: &Tensor, state: &Tensor) -> Result<()> {
        // torch begins the buffer as the first gradient: the same as adding it to a buffer of zeros.
        state.inplace_op3(
            grad,
            value,
            &Gather {
                momentum: self.momentum as f32,
                clip: now.clip,
                decay: now.decay as f32,
            },
        )?;
        value.inplace_op2(
            state,
            &Move {
                rate: now.rate as f32,
            },
        )?;
        Ok(())
    }
}
