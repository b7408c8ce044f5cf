//! The training step on a GPU: the decoder of `model` again, on matrices that lie in another memory.
//!
//! `machine` is the seam: memory, kernels by name, products of matrices. `cuda` is the machine that a driver gives;
//! in tests `emulated` runs the very same kernels, compiled as C++, on the processor, so that everything but the driver, cuBLAS
//! and speed is held to the CPU's engine and to the goldens without a GPU.
//!
//! Reading order: `machine`, `rows` (matrices), `ops` (one function for each kernel of `../kernels`), `matrix`, `linear`, `section` and
//! `block` (as their namesakes in `model`), `adapters` (all that trains, in flat buffers), `decoder` (a step).

mod adapters;
mod block;
#[cfg(feature = "cuda")]
mod cuda;
mod decoder;
mod linear;
mod machine;
mod matrix;
mod norm;
mod ops;
mod rows;
mod section;

#[cfg(test)]
mod emulated;
#[cfg(test)]
mod tests;

pub(crate) use adapters::{AdamWStep, Moments};
#[cfg(feature = "cuda")]
pub(crate) use cuda::open;
pub(crate) use decoder::Decoder;
#[cfg(test)]
pub(crate) use emulated::{Emulated, plug, plugged};
pub(crate) use machine::Element;
pub(crate) use rows::Device;
