//! Root-mean-square norm (arXiv 1910.07467): `y = w · x / sqrt(mean(x²) + eps)`, row by row.

use candle_core::{CpuStorage, CustomOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::simd::{dot, sum_of_squares, vectorized};
use super::storage::{floats, floats_mut, rows_per_task, unwritten, with_floats};

struct Forward {
    eps: f32,
}

/// Adds the gradient of the input to what the residual path brought.
struct Backward {
    weight: Tensor,
    eps: f32,
}

struct WeightGradient {
    eps: f32,
}

vectorized! {
    fn forward_rows(y: &mut [f32], x: &[f32], w: &[f32], eps: f32) {
        let width = w.len();
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let scale = 1.0 / (sum_of_squares(x) / width as f32 + eps).sqrt();
            for i in 0..width {
                y[i] = w[i] * (x[i] * scale);
            }
        }
    }
}

vectorized! {
    fn backward_rows(dx: &mut [f32], x: &[f32], dy: &[f32], w: &[f32], eps: f32) {
        let width = w.len();
        let mut weighted = vec![0f32; width];
        for ((dx, x), dy) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width)) {
            let scale = 1.0 / (sum_of_squares(x) / width as f32 + eps).sqrt();
            for i in 0..width {
                weighted[i] = w[i] * dy[i];
            }
            let pull = dot(&weighted, x) * scale * scale / width as f32;
            for i in 0..width {
                dx[i] += scale * (weighted[i] - x[i] * pull);
            }
        }
    }
}

vectorized! {
    fn weight_gradient_columns(dw: &mut [f32], x: &[f32], dy: &[f32], scales: &[f32], width: usize, start: usize) {
        let n = dw.len();
        for (row, scale) in scales.iter().enumerate() {
            let x = &x[row * width + start..][..n];
            let dy = &dy[row * width + start..][..n];
            for i in 0..n {
                dw[i] += dy[i] * (x[i] * scale);
            }
        }
    }
}

vectorized! {
    fn row_scales(scales: &mut [f32], x: &[f32], width: usize, eps: f32) {
        for (scale, x) in scales.iter_mut().zip(x.chunks_exact(width)) {
            *scale = 1.0 / (sum_of_squares(x) / width as f32 + eps).sqrt();
        }
    }
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (
            floats("rms-norm", x, x_layout)?,
            floats("rms-norm", w, w_layout)?,
        );
        if x_layout.dims().last() != Some(&w.len()) {
            bail!(
                "rms-norm: rows of {:?} and a weight of {}",
                x_layout.dims(),
                w.len()
            );
        }
        let mut y = unwritten(x.len());
        let task = rows_per_task(w.len()) * w.len();
        y.par_chunks_mut(task)
            .zip(x.par_chunks(task))
            .for_each(|(y, x)| forward_rows(y, x, w, self.eps));
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }
}

impl InplaceOp3 for Backward {
    fn name(&self) -> &'static str {
        "rms-norm-backward"
    }

    fn cpu_fwd(
        &self,
        dx: &mut CpuStorage,
        dx_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<()> {
        let name = InplaceOp3::name(self);
        let dx = floats_mut(name, dx, dx_layout)?;
        let (x, dy) = (floats(name, x, x_layout)?, floats(name, dy, dy_layout)?);
        if dx.len() != x.len() || dx.len() != dy.len() {
            bail!(
                "{name}: {} values, input {}, gradient {}",
                dx.len(),
                x.len(),
                dy.len()
            );
        }
        with_floats(name, &self.weight, |w| {
            let task = rows_per_task(w.len()) * w.len();
            dx.par_chunks_mut(task)
                .zip(x.par_chunks(task))
                .zip(dy.par_chunks(task))
                .for_each(|((dx, x), dy)| backward_rows(dx, x, dy, w, self.eps));
            Ok(())
        })
    }
}

impl InplaceOp3 for WeightGradient {
    fn name(&self) -> &'static str {
        "rms-norm-weight-gradient"
    }

    fn cpu_fwd(
        &self,
        dw: &mut CpuStorage,
        dw_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<()> {
        let name = InplaceOp3::name(self);
        let dw = floats_mut(name, dw, dw_layout)?;
        let (x, dy) = (floats(name, x, x_layout)?, floats(name, dy, dy_layout)?);
        let width = dw.len();
        if x.len() != dy.len() || x.len() % width != 0 {
            bail!(
                "{name}: width {width}, input {}, gradient {}",
                x.len(),
                dy.len()
            );
        }
        let mut scales = vec![0f32; x.len() / width];
        row_scales(&mut scales, x, width, self.eps);
        // Columns, not rows, are shared out: each sum then runs over the rows in order, on any number of threads.
        let columns = 128;
        dw.par_chunks_mut(columns)
            .enumerate()
            .for_each(|(task, dw)| {
                weight_gradient_columns(dw, x, dy, &scales, width, task * columns);
            });
        Ok(())
    }
}

/// The norm of every row of `x` [T, H] with weight `w` [H].
pub(crate) fn rms_norm(x: &Tensor, w: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op2_no_bwd(w, &Forward { eps })
}

/// Adds to `dx` the gradient of the norm's input `x`, given the gradient `dy` of its output.
pub(crate) fn rms_norm_backward(
    dx: &Tensor,
    x: &Tensor,
    w: &Tensor,
    dy: &Tensor,
    eps: f32,
) -> Result<()> {
    dx.inplace_op3(
        x,
        dy,
        &Backward {
            weight: w.clone(),
            eps,
        },
    )
}

/// Adds to `dw` the gradient of the norm's weight.
pub(crate) fn rms_norm_weight_gradient(
    dw: &Tensor,
    x: &Tensor,
    dy: &Tensor,
    eps: f32,
) -> Result<()> {
    dw.inplace_op3(x, dy, &WeightGradient { eps })
}
