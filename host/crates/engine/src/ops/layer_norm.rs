//! Layer norm (arXiv 1607.06450): `y = w · (x - mean) / sqrt(variance + eps) + b`, row by row.

use candle_core::{CpuStorage, CustomOp3, InplaceOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::simd::{dot, sum, sum_of_squares, vectorized};
use super::storage::{floats, floats_mut, rows_per_task, unwritten, with_floats};

/// Writes `(x - mean) / sqrt(variance + eps)` and returns the factor.
#[inline(always)]
fn normalize(out: &mut [f32], x: &[f32], eps: f32) -> f32 {
    let width = x.len() as f32;
    let mean = sum(x) / width;
    for (out, x) in out.iter_mut().zip(x) {
        *out = x - mean;
    }
    let scale = 1.0 / (sum_of_squares(out) / width + eps).sqrt();
    for out in out {
        *out *= scale;
    }
    scale
}

vectorized! {
    fn forward_rows(y: &mut [f32], x: &[f32], w: &[f32], b: &[f32], eps: f32) {
        let width = w.len();
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            normalize(y, x, eps);
            for i in 0..width {
                y[i] = w[i].mul_add(y[i], b[i]);
            }
        }
    }
}

vectorized! {
    fn backward_rows(dx: &mut [f32], x: &[f32], dy: &[f32], w: &[f32], eps: f32) {
        let width = w.len();
        let (mut weighted, mut normal) = (vec![0f32; width], vec![0f32; width]);
        for ((dx, x), dy) in dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width)) {
            let scale = normalize(&mut normal, x, eps);
            for i in 0..width {
                weighted[i] = w[i] * dy[i];
            }
            let mean = sum(&weighted) / width as f32;
            let pull = dot(&weighted, &normal) / width as f32;
            for i in 0..width {
                dx[i] += scale * (weighted[i] - mean - normal[i] * pull);
            }
        }
    }
}

vectorized! {
    fn normalize_rows(y: &mut [f32], x: &[f32], width: usize, eps: f32) {
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            normalize(y, x, eps);
        }
    }
}

vectorized! {
    fn weight_gradient_columns(dw: &mut [f32], normal: &[f32], dy: &[f32], width: usize, start: usize) {
        let n = dw.len();
        for (normal, dy) in normal.chunks_exact(width).zip(dy.chunks_exact(width)) {
            let (normal, dy) = (&normal[start..][..n], &dy[start..][..n]);
            for i in 0..n {
                dw[i] += dy[i] * normal[i];
            }
        }
    }
}

struct Forward {
    eps: f32,
}

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = floats("layer-norm", x, x_layout)?;
        let w = floats("layer-norm", w, w_layout)?;
        let b = floats("layer-norm", b, b_layout)?;
        if x_layout.dims().last() != Some(&w.len()) || w.len() != b.len() {
            bail!(
                "layer-norm: rows of {:?}, a weight of {} and a bias of {}",
                x_layout.dims(),
                w.len(),
                b.len()
            );
        }
        let mut y = unwritten(x.len());
        let task = rows_per_task(w.len()) * w.len();
        y.par_chunks_mut(task)
            .zip(x.par_chunks(task))
            .for_each(|(y, x)| forward_rows(y, x, w, b, self.eps));
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }
}

/// Adds the gradient of the input to what the residual path brought.
struct Backward {
    weight: Tensor,
    eps: f32,
}

impl InplaceOp3 for Backward {
    fn name(&self) -> &'static str {
        "layer-norm-backward"
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

struct WeightGradient {
    eps: f32,
}

impl InplaceOp3 for WeightGradient {
    fn name(&self) -> &'static str {
        "layer-norm-weight-gradient"
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
        let mut normal = unwritten(x.len());
        let task = rows_per_task(width) * width;
        normal
            .par_chunks_mut(task)
            .zip(x.par_chunks(task))
            .for_each(|(normal, x)| normalize_rows(normal, x, width, self.eps));
        // Columns are shared out: each sum then runs over the rows in order, on any number of threads.
        let columns = 128;
        dw.par_chunks_mut(columns)
            .enumerate()
            .for_each(|(task, dw)| {
                weight_gradient_columns(dw, &normal, dy, width, task * columns);
            });
        Ok(())
    }
}

/// The norm of every row of `x` [T, H] with weight `w` and bias `b` [H].
pub(crate) fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op3_no_bwd(w, b, &Forward { eps })
}

/// Adds to `dx` the gradient of the norm's input `x`, given the gradient `dy` of its output.
pub(crate) fn layer_norm_backward(
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

/// Adds to `dw` the gradient of the norm's weight; that of its bias is a sum over rows.
pub(crate) fn layer_norm_weight_gradient(
    dw: &Tensor,
    x: &Tensor,
    dy: &Tensor,
    eps: f32,
) -> Result<()> {
    dw.inplace_op3(x, dy, &WeightGradient { eps })
}
