//! The fused kernels, one file each: forward and backward over detached tensors, never through candle's autograd.
//!
//! Every op is a candle custom op with a CPU kernel, so a device gets one by implementing its forward beside it.
//! Sums run in an order that depends on shapes alone: the same run gives the same bits on any number of threads.

mod activation;
pub(crate) mod attention;
mod cross_entropy;
mod elementwise;
mod embedding;
mod layer_norm;
mod matmul;
mod noise;
mod product;
mod rms_norm;
mod rotary;
mod scaling;
pub(crate) mod simd;
pub(crate) mod storage;
mod swiglu;

#[cfg(test)]
mod tests;

pub(crate) use activation::{Activation, activate, activate_backward};
pub(crate) use attention::{Heads, Span, attention, attention_backward, attention_cached};
pub(crate) use cross_entropy::{cross_entropy, cross_entropy_gradient, is_largest};
pub(crate) use elementwise::{
    add, add_bias, add_row_sum, assign, copy, dropout, seed_of, squared_norm, widen, widen_into,
    zero,
};
pub(crate) use embedding::{gather, put_columns, scatter_add};
pub(crate) use layer_norm::{layer_norm, layer_norm_backward, layer_norm_weight_gradient};
pub(crate) use matmul::{Update, half_products, matmul, matmul_into, matmul_with};
pub(crate) use noise::add_noise;
#[cfg(any(test, feature = "cuda"))]
pub(crate) use noise::{noise_bound, noise_seed};
pub(crate) use rms_norm::{rms_norm, rms_norm_backward, rms_norm_weight_gradient};
pub(crate) use rotary::{RotaryTable, rotary};
pub(crate) use scaling::{
    add_scaled, column_dots, columns, place, row_norms, scale, soft_cap, soft_cap_backward,
};
pub(crate) use storage::unwritten_tensor;
pub(crate) use swiglu::{swiglu, swiglu_backward};
