use domain::RunConfig;

use crate::data::Sample;
use crate::train::Order;

/// The largest micro-batch of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    /// Tokens of all its sequences.
    pub(crate) tokens: u64,
    /// Supervised ones.
    pub(crate) supervised: u64,
    /// Tokens of the longest batch of an evaluation, of which nothing is kept.
    pub(crate) evaluated: u64,
}

/// Steps that are looked at; a longer run meets larger micro-batches hardly ever.
const STEPS: u64 = 100_000;

impl Shape {
    /// Looks at the micro-batches that the run will make, of `batch` sequences each.
    pub(crate) fn of(config: &RunConfig, train: &[Sample], eval: &[Sample], batch: u32) -> Self {
        let mut smaller = config.clone();
        smaller.train.batch_size = batch;
        smaller.train.gradient_accumulation_steps *= config.train.batch_size / batch;
        let lengths: Vec<usize> = train.iter().map(|sample| sample.input_ids.len()).collect();
        let mut order = Order::new(&smaller, &lengths);
        let mut shape = Self::default();
        for step in 0..order.total_steps(&smaller).min(STEPS) {
            for micro in order.step(step).0 {
                let tokens = micro.iter().map(|&i| lengths[i] as u64).sum();
                let supervised = micro
                    .iter()
                    .map(|&i| train[i].supervised_tokens() as u64)
                    .sum();
                shape.tokens = shape.tokens.max(tokens);
                shape.supervised = shape.supervised.max(supervised);
            }
        }
        for samples in eval.chunks(batch as usize) {
            let tokens = samples
                .iter()
                .map(|sample| sample.input_ids.len() as u64)
                .sum();
            shape.evaluated = shape.evaluated.max(tokens);
        }
        shape
    }
}
