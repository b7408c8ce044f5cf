//! SwiGLU (arXiv 2002.05202): `silu(gate) · up`, over rows that hold gate and up side by side.

use candle_core::{CpuStorage, CustomOp1, InplaceOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::simd::{sigmoid, vectorized};
use super::storage::{floats, floats_mut, rows_per_task, unwritten};

struct Forward;

struct Backward;

vectorized! {
    fn forward_rows(y: &mut [f32], gate_up: &[f32], width: usize) {
        for (y, row) in y.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
            let (gate, up) = row.split_at(width);
            for i in 0..width {
                y[i] = gate[i] * sigmoid(gate[i]) * up[i];
            }
        }
    }
}

vectorized! {
    fn backward_rows(gate_up: &mut [f32], dy: &[f32], width: usize) {
        for (row, dy) in gate_up.chunks_exact_mut(2 * width).zip(dy.chunks_exact(width)) {
            let (gate, up) = row.split_at_mut(width);
            for i in 0..width {
                let s = sigmoid(gate[i]);
                let silu = gate[i] * s;
                let d_up = dy[i] * silu;
                gate[i] = dy[i] * up[i] * (s + silu * (1.0 - s));
                up[i] = d_up;
            }
        }
    }
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, both) = layout.shape().dims2()?;
        let x = floats("swiglu", x, layout)?;
        let width = both / 2;
        let mut y = unwritten(rows * width);
        let task = rows_per_task(both);
        y.par_chunks_mut(task * width)
            .zip(x.par_chunks(task * both))
            .for_each(|(y, x)| forward_rows(y, x, width));
        Ok((CpuStorage::F32(y), Shape::from((rows, width))))
    }
}

impl InplaceOp2 for Backward {
    fn name(&self) -> &'static str {
        "swiglu-backward"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<()> {
        let (rows, both) = x_layout.shape().dims2()?;
        let width = both / 2;
        let x = floats_mut("swiglu-backward", x, x_layout)?;
        let dy = floats("swiglu-backward", dy, dy_layout)?;
        if dy.len() != rows * width {
            bail!(
                "swiglu-backward: {rows} rows of {both}, gradient of {}",
                dy.len()
            );
        }
        let task = rows_per_task(both);
        x.par_chunks_mut(task * both)
            .zip(dy.par_chunks(task * width))
            .for_each(|(x, dy)| backward_rows(x, dy, width));
        Ok(())
    }
}

/// [T, 2·I] (gate, then up) to [T, I].
pub(crate) fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
    gate_up.apply_op1_no_bwd(&Forward)
}

/// Overwrites `gate_up` [T, 2·I] with its gradient, given the gradient `dy` [T, I] of the output.
pub(crate) fn swiglu_backward(gate_up: &Tensor, dy: &Tensor) -> Result<()> {
    gate_up.inplace_op2(dy, &Backward)
}
