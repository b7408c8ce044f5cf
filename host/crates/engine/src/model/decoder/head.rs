//! From the final norm to the loss: logits are held some rows at a time, never whole.

use candle_core::Tensor;

use super::Decoder;
use crate::Result;
use crate::model::{Kept, Pass};
use crate::ops;

/// Bytes of logits that are held at a time. More rows at once make a better matrix product; the whole of them would
/// be the largest tensor of the run.
pub(crate) const LOGITS: usize = 64 << 20;

/// What the gradient of each supervised token's loss counts for.
pub(crate) enum Weigh<'a> {
    /// The same for all.
    Evenly(f32),
    /// Told once the losses are known: one weight for each, in the batch's order of rows.
    ByLosses(&'a mut dyn FnMut(&[f32]) -> Result<Vec<f32>>),
}

/// How well one supervised token was predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TokenLoss {
    /// In nats.
    pub(crate) loss: f32,
    /// No other token was likelier: greedy decoding would have written it.
    pub(crate) likeliest: bool,
}

/// Some rows behind the final norm, and their logits.
struct HeadChunk<'a> {
    from: usize,
    /// [n, H].
    normed: Tensor,
    /// [n].
    targets: Tensor,
    /// [n, V].
    logits: &'a Tensor,
    /// Of the head's adapter.
    kept: Option<Kept>,
    pass: Pass,
}

impl Decoder {
    /// Visits rows behind the final norm with their logits, a chunk at a time.
    fn head_chunks(
        &self,
        normed: &Tensor,
        targets: &Tensor,
        pass: Pass,
        visit: &mut dyn FnMut(HeadChunk<'_>) -> Result<()>,
    ) -> Result<()> {
        let rows = normed.dims()[0];
        let chunk = (LOGITS / 4 / self.description.vocab).clamp(16, rows.max(16));
        // One buffer for all chunks: it is the largest tensor of a step, too large for the allocator to keep.
        let buffer = ops::unwritten_tensor(&[chunk.min(rows), self.description.vocab])?;
        for from in (0..rows).step_by(chunk) {
            let len = chunk.min(rows - from);
            let (normed, targets) = (normed.narrow(0, from, len)?, targets.narrow(0, from, len)?);
            let logits = buffer.narrow(0, 0, len)?;
            // Each chunk drops other elements of its rows.
            let pass = Pass {
                dropout: pass.dropout.map(|seed| ops::seed_of(&[seed, from as u64])),
                ..pass
            };
            let kept = self.head_forward(&normed, &logits, pass)?;
            visit(HeadChunk {
                from,
                kept,
                pass,
                normed,
                targets,
                logits: &logits,
            })?;
        }
        Ok(())
    }

    /// Losses of rows behind the final norm.
    pub(super) fn head_losses(
        &self,
        normed: &Tensor,
        targets: &Tensor,
        pass: Pass,
    ) -> Result<Vec<TokenLoss>> {
        let mut losses = Vec::with_capacity(normed.dims()[0]);
        self.head_chunks(normed, targets, pass, &mut |chunk| {
            let statistics = ops::cross_entropy(chunk.logits, &chunk.targets)?.to_vec2::<f32>()?;
            let likeliest = ops::is_largest(chunk.logits, &chunk.targets)?.to_vec1::<f32>()?;
            losses.extend(
                statistics
                    .iter()
                    .zip(likeliest)
                    .map(|(row, likeliest)| TokenLoss {
                        loss: row[0],
                        likeliest: likeliest == 1.0,
                    }),
            );
            Ok(())
        })?;
        Ok(losses)
    }

    /// Summed loss of rows behind the final norm; fills `d_normed` and adds the head's gradient.
    pub(super) fn head_gradient(
        &self,
        normed: &Tensor,
        targets: &Tensor,
        d_normed: &Tensor,
        weigh: &mut Weigh<'_>,
        pass: Pass,
    ) -> Result<f64> {
        let d = &self.description;
        // Weights by losses need all losses first; the logits are computed again rather than kept.
        let weights = match weigh {
            Weigh::Evenly(scale) => vec![*scale; normed.dims()[0]],
            Weigh::ByLosses(weigh) => {
                let losses = self.head_losses(normed, targets, pass)?;
                weigh(&losses.iter().map(|token| token.loss).collect::<Vec<_>>())?
            }
        };
        let mut loss = 0f64;
        self.head_chunks(normed, targets, pass, &mut |chunk| {
            let statistics = ops::cross_entropy(chunk.logits, &chunk.targets)?;
            let losses = statistics.to_vec2::<f32>()?;
            loss += losses.iter().map(|row| f64::from(row[0])).sum::<f64>();
            let weights = &weights[chunk.from..chunk.from + losses.len()];
            // The gradient takes the logits' place, and a cap's slope depends on what it made of them.
            let capped = match d.logits_cap {
                Some(cap) => Some((cap, ops::copy(chunk.logits)?)),
                None => None,
            };
            ops::cross_entropy_gradient(chunk.logits, &statistics, &chunk.targets, weights)?;
            if let Some((cap, capped)) = capped {
                ops::soft_cap_backward(chunk.logits, &capped, cap)?;
            }
            let d_normed = d_normed.narrow(0, chunk.from, losses.len())?;
            let (kept, pass) = (chunk.kept.as_ref(), chunk.pass);
            self.head_backward(&chunk.normed, kept, chunk.logits, &d_normed, pass)?;
            Ok(())
        })?;
        Ok(loss)
    }
}
