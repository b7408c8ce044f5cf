use candle_core::Tensor;

use super::Pass;
use super::linear::Kept;
use super::section::{Entry, Exit, SavedExit};
use crate::Result;
use crate::ops::{self, Activation};

/// The feed-forward of one layer, from the residual stream and back to it.
#[derive(Debug)]
pub(crate) struct FeedForward {
    /// Gate and up side by side, or up alone.
    pub(crate) entry: Entry,
    pub(crate) activation: Activation,
    /// Whether the activation of the first half is multiplied by the second half.
    pub(crate) gated: bool,
    pub(crate) exit: Exit,
}

/// What the backward pass needs. The norm's output and the activation's are made anew: that costs a pass over
/// memory, where keeping them would cost a third more memory.
pub(crate) struct SavedFeedForward {
    x: Tensor,
    inner: Tensor,
    kept: Vec<Option<Kept>>,
    exit: SavedExit,
}

impl FeedForward {
    /// `x` [T, H] to [T, H], with what the backward pass needs.
    pub(crate) fn forward(&self, x: Tensor, pass: Pass) -> Result<(Tensor, SavedFeedForward)> {
        let (inner, kept) = self.entry.forward(&x, pass)?;
        let product = ops::activate(&inner, self.activation, self.gated)?;
        let (out, exit) = self.exit.forward(&x, &product, pass)?;
        Ok((
            out,
            SavedFeedForward {
                x,
                inner,
                kept,
                exit,
            },
        ))
    }

    /// Turns the gradient `dx` [T, H] of the output into that of the input, in place.
    pub(crate) fn backward(&self, dx: &Tensor, saved: SavedFeedForward, pass: Pass) -> Result<()> {
        let SavedFeedForward {
            x,
            inner,
            kept,
            exit,
        } = saved;
        let product = ops::activate(&inner, self.activation, self.gated)?;
        let d_product = self.exit.backward(&product, &exit, dx, pass)?;
        drop((product, exit));
        ops::activate_backward(&inner, &d_product, self.activation, self.gated)?;
        drop(d_product);
        self.entry.backward(&x, &kept, &inner, dx, true, pass)
    }
}
