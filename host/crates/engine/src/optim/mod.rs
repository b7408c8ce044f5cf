//! What happens between gradients and weights: clipping, the learning-rate schedule, the optimizer.
//!
//! [`Optimizer`] keeps what all optimizers share (which parameters, rates, saving); each [`Rule`] is a file.

mod adafactor;
mod adamw;
mod clip;
#[cfg(any(test, feature = "cuda"))]
mod elsewhere;
mod finite;
mod lion;
mod optimizer;
mod schedule;
mod sgd;

#[cfg(test)]
mod goldens;

pub(crate) use clip::{clip_factor, gradient_norm};
pub(crate) use finite::all_finite;
pub(crate) use optimizer::Optimizer;
pub(crate) use schedule::Schedule;

use candle_core::Tensor;

use crate::Result;

/// Elements of one task of an elementwise update.
const TASK: usize = 1 << 14;

/// How one optimizer moves one parameter.
trait Rule: Send + Sync {
    /// Shape of what it remembers of a parameter of this shape; f32, zero at first.
    fn state_shape(&self, shape: &[usize]) -> Vec<usize>;

    /// One update of `value` and its `state` in place. All three are contiguous f32.
    fn update(&self, now: &Now, value: &Tensor, grad: &Tensor, state: &Tensor) -> Result<()>;

    /// Both betas and epsilon, of AdamW.
    #[cfg(any(test, feature = "cuda"))]
    fn adamw(&self) -> Option<[f64; 3]> {
        None
    }
}

/// One update of one parameter.
#[derive(Debug, Clone, Copy)]
struct Now {
    /// Updates with this one.
    step: u64,
    /// This parameter's learning rate.
    rate: f64,
    /// Factor of its gradient.
    clip: f32,
    /// This parameter's weight decay.
    decay: f64,
}
