//! What happens between gradients and weights: clipping, the learning-rate schedule, the optimizer.

mod adamw;
mod clip;
mod schedule;

pub(crate) use adamw::{AdamW, AdamWSettings};
pub(crate) use clip::{clip_factor, gradient_norm};
pub(crate) use schedule::Schedule;
