use candle_core::Tensor;

use super::attention::SavedAttention;
use super::feed_forward::SavedFeedForward;
use super::{Attention, FeedForward, Linear, Norm, Pass, Setting};
use crate::Result;

/// One decoder layer: attention, then a feed-forward, each beside a residual.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) attention: Attention,
    pub(crate) feed_forward: FeedForward,
}

/// What the backward pass of a layer needs.
pub(crate) struct Saved {
    attention: SavedAttention,
    feed_forward: SavedFeedForward,
}

impl Block {
    /// `x` [T, H] to [T, H], with what the backward pass needs.
    pub(crate) fn forward(&self, x: Tensor, setting: &Setting<'_>) -> Result<(Tensor, Saved)> {
        let (middle, attention) = self.attention.forward(x, setting)?;
        let (out, feed_forward) = self.feed_forward.forward(middle, setting.pass)?;
        let saved = Saved {
            attention,
            feed_forward,
        };
        Ok((out, saved))
    }

    /// The rest of the layer after the softmax, outside training: [T, H].
    pub(crate) fn finish(&self, x: &Tensor, attended: &Tensor, pass: Pass) -> Result<Tensor> {
        let middle = self.attention.finish(x, attended, pass)?.0;
        Ok(self.feed_forward.forward(middle, pass)?.0)
    }

    /// Turns the gradient `dx` [T, H] of the output into that of the input, in place, and adds the gradients of what
    /// trains. With `below` false nothing under this layer trains, and `dx` is left unfinished.
    pub(crate) fn backward(
        &self,
        dx: &Tensor,
        saved: Saved,
        setting: &Setting<'_>,
        below: bool,
    ) -> Result<()> {
        let Saved {
            attention,
            feed_forward,
        } = saved;
        self.feed_forward.backward(dx, feed_forward, setting.pass)?;
        self.attention.backward(dx, attention, setting, below)
    }

    /// The linear layers, in the order in which PEFT finds them.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        let (attention, feed_forward) = (&self.attention, &self.feed_forward);
        let inner = attention.entry.linears.iter();
        inner
            .chain(std::iter::once(&attention.exit.linear))
            .chain(&feed_forward.entry.linears)
            .chain(std::iter::once(&feed_forward.exit.linear))
    }

    /// As [`Self::linears`].
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let (attention, feed_forward) = (&mut self.attention, &mut self.feed_forward);
        let inner = attention.entry.linears.iter_mut();
        inner
            .chain(std::iter::once(&mut attention.exit.linear))
            .chain(&mut feed_forward.entry.linears)
            .chain(std::iter::once(&mut feed_forward.exit.linear))
    }

    /// The norms, in the order in which they are computed.
    pub(crate) fn norms(&self) -> impl Iterator<Item = &Norm> {
        let (attention, feed_forward) = (&self.attention, &self.feed_forward);
        [
            &attention.entry.norm,
            &attention.q_norm,
            &attention.k_norm,
            &attention.exit.norm,
            &feed_forward.entry.norm,
            &feed_forward.exit.norm,
        ]
        .into_iter()
        .flatten()
    }

    /// As [`Self::norms`].
    pub(crate) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        let (attention, feed_forward) = (&mut self.attention, &mut self.feed_forward);
        [
            &mut attention.entry.norm,
            &mut attention.q_norm,
            &mut attention.k_norm,
            &mut attention.exit.norm,
            &mut feed_forward.entry.norm,
            &mut feed_forward.exit.norm,
        ]
        .into_iter()
        .flatten()
    }
}
