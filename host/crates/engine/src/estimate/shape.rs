use domain::RunConfig;

use super::lengths::{Extent, Lengths, Train};
use crate::data::Order;

/// The largest micro-batch of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    /// Tokens of all its sequences.
    pub(crate) tokens: u64,
    /// Those of which logits are computed.
    pub(crate) scored: u64,
    /// Tokens of the longest batch of an evaluation, of which nothing is kept.
    pub(crate) evaluated: u64,
}

/// Steps that are looked at; a longer run meets larger micro-batches hardly ever.
const STEPS: u64 = 100_000;

impl Shape {
    /// Looks at the micro-batches that the run will make, of `batch` sequences each.
    pub(crate) fn of(config: &RunConfig, lengths: &Lengths, batch: u32) -> Self {
        let mut shape = Self::default();
        match &lengths.train {
            Train::Held(extents) => shape.meet_held(config, extents, batch),
            Train::Streamed { steps, rest } => {
                for step in steps {
                    for micro in step.chunks(batch as usize) {
                        shape.meet(micro.iter().copied());
                    }
                }
                if let Some(longest) = rest {
                    shape.meet(std::iter::repeat_n(*longest, batch as usize));
                }
            }
        }
        for extents in lengths.eval.chunks(batch as usize) {
            let tokens = extents.iter().map(|extent| extent.tokens).sum();
            shape.evaluated = shape.evaluated.max(tokens);
        }
        shape
    }

    fn meet_held(&mut self, config: &RunConfig, extents: &[Extent], batch: u32) {
        let mut smaller = config.clone();
        smaller.train.batch_size = batch;
        smaller.train.gradient_accumulation_steps *= config.train.batch_size / batch;
        let lengths: Vec<usize> = extents
            .iter()
            .map(|extent| extent.tokens as usize)
            .collect();
        let mut order = Order::new(&smaller, &lengths);
        for step in 0..order.total_steps(&smaller).min(STEPS) {
            for micro in order.step(step).0 {
                self.meet(micro.iter().map(|&at| extents[at]));
            }
        }
    }

    fn meet(&mut self, micro: impl Iterator<Item = Extent>) {
        let mut sum = Extent::default();
        micro.for_each(|extent| sum += extent);
        self.tokens = self.tokens.max(sum.tokens);
        self.scored = self.scored.max(sum.scored);
    }
}
