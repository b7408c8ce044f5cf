use domain::RunConfig;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::pack;

/// Which samples make which step: a function of the seed, the samples' lengths and the step alone, so that a
/// resumed run needs nothing but its step.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Rows of a batch: a sample each, or with packing several that fill `max_seq_length` tokens.
    rows: Vec<Vec<usize>>,
    batch: usize,
    accumulation: usize,
    shuffle: bool,
    seed: u64,
    /// The last epoch that was asked for, and its order.
    current: Option<(u64, Vec<usize>)>,
}

impl Order {
    /// `lengths` are those of the samples in tokens.
    pub(crate) fn new(config: &RunConfig, lengths: &[usize]) -> Self {
        let rows = match config.data.packing {
            true => pack(lengths, config.data.max_seq_length as usize),
            false => (0..lengths.len()).map(|sample| vec![sample]).collect(),
        };
        Self {
            rows,
            batch: config.train.batch_size as usize,
            accumulation: config.train.gradient_accumulation_steps as usize,
            shuffle: config.data.shuffle,
            seed: config.train.seed,
            current: None,
        }
    }

    /// Optimizer steps of one epoch. The last may be smaller; none reaches into the next epoch.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.rows
            .len()
            .div_ceil(self.batch)
            .div_ceil(self.accumulation) as u64
    }

    /// Optimizer steps of the run.
    pub(crate) fn total_steps(&self, config: &RunConfig) -> u64 {
        match config.train.max_steps {
            // As Transformers: a part of an epoch ends with a whole step.
            0 => (self.steps_per_epoch() as f64 * config.train.epochs).ceil() as u64,
            steps => steps,
        }
    }

    /// Samples of each row of a step, counted from 0, and the epochs done when it is done.
    pub(crate) fn rows(&mut self, step: u64) -> (Vec<Vec<usize>>, f64) {
        let per_epoch = self.steps_per_epoch();
        let (epoch, place) = (step / per_epoch, (step % per_epoch) as usize);
        let per_step = self.batch * self.accumulation;
        let from = place * per_step;
        let to = (from + per_step).min(self.rows.len());
        self.draw(epoch);
        let order = self.current.as_ref().map_or(&[][..], |(_, order)| order);
        let rows = order[from..to].iter().map(|row| self.rows[*row].clone());
        let epochs = epoch as f64 + to as f64 / self.rows.len() as f64;
        (rows.collect(), epochs)
    }

    /// Samples of the micro-batches of a step, as one process takes them, and the epochs done when it is done.
    pub(crate) fn step(&mut self, step: u64) -> (Vec<Vec<usize>>, f64) {
        let (rows, epochs) = self.rows(step);
        let micro_batches = rows.chunks(self.batch).map(<[_]>::concat).collect();
        (micro_batches, epochs)
    }

    /// Draws the order of an epoch, where it is not the last that was drawn.
    fn draw(&mut self, epoch: u64) {
        if self
            .current
            .as_ref()
            .is_none_or(|(known, _)| *known != epoch)
        {
            let mut order: Vec<usize> = (0..self.rows.len()).collect();
            if self.shuffle {
                let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
                generator.set_stream(epoch);
                for i in (1..order.len()).rev() {
                    order.swap(i, generator.random_range(0..=i as u64) as usize);
                }
            }
            self.current = Some((epoch, order));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(samples: usize, batch: u32, accumulation: u32) -> Order {
        let mut config = RunConfig::default();
        config.train.batch_size = batch;
        config.train.gradient_accumulation_steps = accumulation;
        Order::new(&config, &vec![8; samples])
    }

    #[test]
    fn every_epoch_takes_each_sample_once_in_an_order_of_its_own() {
        let mut order = order(11, 2, 2);
        assert_eq!(order.steps_per_epoch(), 3);
        let mut epochs = Vec::new();
        for epoch in 0..2 {
            let steps: Vec<_> = (0..3).map(|step| order.step(epoch * 3 + step)).collect();
            assert_eq!(steps[2].0.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
            assert_eq!(steps[2].1, epoch as f64 + 1.0);
            epochs.push(
                steps
                    .into_iter()
                    .flat_map(|step| step.0.concat())
                    .collect::<Vec<_>>(),
            );
        }
        assert_ne!(epochs[0], epochs[1]);
        for epoch in &mut epochs {
            epoch.sort_unstable();
            assert_eq!(*epoch, (0..11).collect::<Vec<_>>());
        }
    }

    #[test]
    fn max_steps_wins_over_epochs_and_the_data_goes_round() {
        let mut config = RunConfig::default();
        config.train.batch_size = 4;
        config.train.epochs = 2.0;
        config.train.max_steps = 7;
        let mut order = Order::new(&config, &[8; 4]);
        assert_eq!(order.total_steps(&config), 7);
        assert_eq!(order.step(6).1, 7.0);
        config.train.max_steps = 0;
        assert_eq!(order.total_steps(&config), 2);
    }

    #[test]
    fn half_an_epoch_ends_with_a_whole_step() {
        let mut config = RunConfig::default();
        config.train.batch_size = 4;
        let order = Order::new(&config, &[8; 20]);
        for (epochs, steps) in [(0.5, 3), (1.0, 5), (1.5, 8), (3.0, 15), (0.001, 1)] {
            config.train.epochs = epochs;
            assert_eq!(order.total_steps(&config), steps, "{epochs}");
        }
    }

    #[test]
    fn a_packed_row_counts_as_one_of_the_batch() {
        let mut config = RunConfig::default();
        config.train.batch_size = 2;
        config.data.packing = true;
        config.data.max_seq_length = 16;
        config.data.shuffle = false;
        let mut order = Order::new(&config, &[8, 16, 4, 4, 8]);
        assert_eq!(order.steps_per_epoch(), 2);
        assert_eq!(order.step(0).0, [vec![0, 4, 1]]);
        assert_eq!(order.step(1), (vec![vec![2, 3]], 1.0));
    }
}
