//! Training steps and generation on a GPU: the decoder of `model` again, on matrices that lie in another memory.
//!
//! `machine` is the seam: memory, kernels by name, products of matrices. `cuda` is the machine that a driver gives;
//! in tests `emulated` runs the very same kernels, compiled as C++, on the processor, so that everything but the driver, cuBLAS
//! and speed is held to the CPU's engine and to the goldens without a GPU.
//!
//! Reading order: `machine`, `rows` (matrices), `ops` (one function for each kernel of `../kernels`), `adapters` (all that trains, in
//! flat buffers), `matrix`, `vector`, `norm`, `linear`, `section`, `block`, `tokens` and `ends` (as their namesakes in `model`), `decoder` (a
//! step), `cache` (texts, token by token).

mod adapters;
mod block;
mod cache;
#[cfg(feature = "cuda")]
mod cuda;
mod decoder;
mod ends;
mod linear;
mod machine;
mod matrix;
mod norm;
mod ops;
mod patience;
mod rows;
mod section;
mod setting;
mod tables;
mod tokens;
mod vector;

#[cfg(test)]
mod emulated;
#[cfg(test)]
mod meeting;
#[cfg(test)]
mod tests;

pub(crate) use adapters::{AdamWStep, Moments};
pub(crate) use decoder::Decoder;
#[cfg(test)]
pub(crate) use emulated::{Emulated, plug};
pub(crate) use machine::Element;
#[cfg(test)]
pub(crate) use meeting::Seat;
pub(crate) use ops::Sums;
pub(crate) use rows::Device;
#[cfg(test)]
pub(crate) use tests::fixtures;

use crate::Result;

/// Opens GPU `ordinal` for activations of a type; in tests the machine that stands in its place.
///
/// # Errors
/// What is missing for it, in words.
pub(crate) fn open(ordinal: usize, element: Element) -> Result<Device> {
    #[cfg(test)]
    if let Some(device) = emulated::plugged(element) {
        return Ok(device);
    }
    #[cfg(feature = "cuda")]
    return cuda::open(ordinal, element);
    #[cfg(not(feature = "cuda"))]
    {
        let message = format!("cuda:{ordinal} cannot be had: this build trains on the CPU");
        Err(domain::FieldErrors::one("model.device", message).into())
    }
}
