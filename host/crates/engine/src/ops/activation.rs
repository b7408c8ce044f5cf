//! Activations of a feed-forward: applied to rows, or to the first half of rows whose second half they gate.

use candle_core::{CpuStorage, CustomOp1, InplaceOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::simd::{erf, exp, sigmoid, tanh, vectorized};
use super::storage::{floats, floats_mut, rows_per_task, unwritten};
use super::{swiglu, swiglu_backward};

/// What a feed-forward does to each element, by Transformers' names in `ACT2FN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `silu`, also called `swish`.
    Silu,
    /// `gelu`: with the error function.
    Gelu,
    /// `gelu_pytorch_tanh`, `gelu_new`: with the hyperbolic tangent.
    GeluTanh,
    /// `relu`.
    Relu,
}

const ROOT_2_OVER_PI: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s + x * s * (1.0 - s)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    const ONE_OVER_ROOT_2_PI: f32 = 0.398_942_3;
    0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
        + x * exp(-0.5 * x * x) * ONE_OVER_ROOT_2_PI
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    0.5 * x * (1.0 + tanh(ROOT_2_OVER_PI * (x + CUBE * x * x * x)))
}

#[inline(always)]
fn gelu_tanh_slope(x: f32) -> f32 {
    let t = tanh(ROOT_2_OVER_PI * (x + CUBE * x * x * x));
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT_2_OVER_PI * (1.0 + 3.0 * CUBE * x * x)
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

#[inline(always)]
fn relu_slope(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

#[inline(always)]
fn map_gated(y: &mut [f32], gate_up: &[f32], width: usize, f: impl Fn(f32) -> f32) {
    for (y, row) in y
        .chunks_exact_mut(width)
        .zip(gate_up.chunks_exact(2 * width))
    {
        let (gate, up) = row.split_at(width);
        for i in 0..width {
            y[i] = f(gate[i]) * up[i];
        }
    }
}

#[inline(always)]
fn map_gated_back(
    gate_up: &mut [f32],
    dy: &[f32],
    width: usize,
    f: impl Fn(f32) -> f32,
    slope: impl Fn(f32) -> f32,
) {
    for (row, dy) in gate_up
        .chunks_exact_mut(2 * width)
        .zip(dy.chunks_exact(width))
    {
        let (gate, up) = row.split_at_mut(width);
        for i in 0..width {
            let x = gate[i];
            gate[i] = dy[i] * up[i] * slope(x);
            up[i] = dy[i] * f(x);
        }
    }
}

#[inline(always)]
fn map(y: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = f(*x);
    }
}

#[inline(always)]
fn map_back(x: &mut [f32], dy: &[f32], slope: impl Fn(f32) -> f32) {
    for (x, dy) in x.iter_mut().zip(dy) {
        *x = dy * slope(*x);
    }
}

vectorized! {
    fn gated_rows(y: &mut [f32], gate_up: &[f32], width: usize, activation: Activation) {
        match activation {
            Activation::Silu => map_gated(y, gate_up, width, silu),
            Activation::Gelu => map_gated(y, gate_up, width, gelu),
            Activation::GeluTanh => map_gated(y, gate_up, width, gelu_tanh),
            Activation::Relu => map_gated(y, gate_up, width, relu),
        }
    }
}

vectorized! {
    fn gated_rows_back(gate_up: &mut [f32], dy: &[f32], width: usize, activation: Activation) {
        match activation {
            Activation::Silu => map_gated_back(gate_up, dy, width, silu, silu_slope),
            Activation::Gelu => map_gated_back(gate_up, dy, width, gelu, gelu_slope),
            Activation::GeluTanh => map_gated_back(gate_up, dy, width, gelu_tanh, gelu_tanh_slope),
            Activation::Relu => map_gated_back(gate_up, dy, width, relu, relu_slope),
        }
    }
}

vectorized! {
    fn all(y: &mut [f32], x: &[f32], activation: Activation) {
        match activation {
            Activation::Silu => map(y, x, silu),
            Activation::Gelu => map(y, x, gelu),
            Activation::GeluTanh => map(y, x, gelu_tanh),
            Activation::Relu => map(y, x, relu),
        }
    }
}

vectorized! {
    fn all_back(x: &mut [f32], dy: &[f32], activation: Activation) {
        match activation {
            Activation::Silu => map_back(x, dy, silu_slope),
            Activation::Gelu => map_back(x, dy, gelu_slope),
            Activation::GeluTanh => map_back(x, dy, gelu_tanh_slope),
            Activation::Relu => map_back(x, dy, relu_slope),
        }
    }
}

struct Forward {
    activation: Activation,
    gated: bool,
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let x = floats("activation", x, layout)?;
        let out = if self.gated { width / 2 } else { width };
        let mut y = unwritten(rows * out);
        let task = rows_per_task(width);
        y.par_chunks_mut(task * out)
            .zip(x.par_chunks(task * width))
            .for_each(|(y, x)| match self.gated {
                true => gated_rows(y, x, out, self.activation),
                false => all(y, x, self.activation),
            });
        Ok((CpuStorage::F32(y), Shape::from((rows, out))))
    }
}

struct Backward {
    activation: Activation,
    gated: bool,
}

impl InplaceOp2 for Backward {
    fn name(&self) -> &'static str {
        "activation-backward"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<()> {
        let (rows, width) = x_layout.shape().dims2()?;
        let out = if self.gated { width / 2 } else { width };
        let x = floats_mut("activation-backward", x, x_layout)?;
        let dy = floats("activation-backward", dy, dy_layout)?;
        if dy.len() != rows * out {
            bail!(
                "activation-backward: {rows} rows of {width}, gradient of {}",
                dy.len()
            );
        }
        let task = rows_per_task(width);
        x.par_chunks_mut(task * width)
            .zip(dy.par_chunks(task * out))
            .for_each(|(x, dy)| match self.gated {
                true => gated_rows_back(x, dy, out, self.activation),
                false => all_back(x, dy, self.activation),
            });
        Ok(())
    }
}

/// `f(x)` of every element, or, where the rows hold gate and up side by side, `f(gate) · up`: [T, 2·I] to [T, I].
pub(crate) fn activate(x: &Tensor, activation: Activation, gated: bool) -> Result<Tensor> {
    match (activation, gated) {
        (Activation::Silu, true) => swiglu(x),
        _ => x.apply_op1_no_bwd(&Forward { activation, gated }),
    }
}

/// Overwrites `x`, which [`activate`] was given, with its gradient, given the gradient `dy` of the output.
pub(crate) fn activate_backward(
    x: &Tensor,
    dy: &Tensor,
    activation: Activation,
    gated: bool,
) -> Result<()> {
    match (activation, gated) {
        (Activation::Silu, true) => swiglu_backward(x, dy),
        _ => x.inplace_op2(dy, &Backward { activation, gated }),
    }
}
