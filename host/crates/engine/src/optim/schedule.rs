use std::f64::consts::PI;

use domain::{LrCurve, LrSchedulerKwargs, LrSchedulerType, TrainConfig};

/// The learning rate over the steps, as in Transformers' `get_scheduler` with its `lr_scheduler_kwargs`.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    kind: LrSchedulerType,
    kwargs: LrSchedulerKwargs,
    peak: f64,
    warmup: f64,
    total: f64,
}

impl Schedule {
    /// The schedule of a run of `total` steps.
    pub(crate) fn new(train: &TrainConfig, total: u64) -> Self {
        let warmup = match train.warmup_steps {
            0 => (total as f64 * train.warmup_ratio).ceil(),
            steps => steps as f64,
        };
        Self {
            kind: train.lr_scheduler_type,
            kwargs: train.lr_scheduler_kwargs.clone(),
            peak: train.learning_rate,
            warmup,
            total: total as f64,
        }
    }

    /// Rate of the update of `step`, counted from 0.
    pub(crate) fn rate(&self, step: u64) -> f64 {
        self.peak * self.factor(step as f64)
    }

    fn factor(&self, step: f64) -> f64 {
        use LrSchedulerType::*;
        let rising = step / self.warmup.max(1.0);
        if self.kind == WarmupStableDecay {
            return self.stable_then_decay(step, rising);
        }
        if self.kind == Constant {
            return 1.0;
        }
        if step < self.warmup {
            return rising;
        }
        let left = (self.total - self.warmup).max(1.0);
        let progress = (step - self.warmup) / left;
        match self.kind {
            Constant | ConstantWithWarmup | WarmupStableDecay => 1.0,
            Linear => ((self.total - step) / left).max(0.0),
            Cosine => wave(self.kwargs.num_cycles.unwrap_or(0.5) * 2.0 * progress),
            CosineWithMinLr => {
                let least = match (self.kwargs.min_lr, self.kwargs.min_lr_rate) {
                    (Some(rate), _) => rate / self.peak,
                    (None, share) => share.unwrap_or(0.0),
                };
                let halves = self.kwargs.num_cycles.unwrap_or(0.5) * 2.0 * progress;
                (wave(halves) * (1.0 - least) + least).max(0.0)
            }
            CosineWithRestarts if progress >= 1.0 => 0.0,
            CosineWithRestarts => wave((self.kwargs.num_cycles.unwrap_or(1.0) * progress) % 1.0),
            Polynomial => {
                let end = self.kwargs.lr_end.unwrap_or(1e-7) / self.peak;
                let remaining = (1.0 - progress).max(0.0);
                (1.0 - end) * remaining.powf(self.kwargs.power.unwrap_or(1.0)) + end
            }
            InverseSqrt => {
                let timescale = match self.kwargs.timescale {
                    Some(steps) => steps as f64,
                    None if self.warmup > 0.0 => self.warmup,
                    None => 10_000.0,
                };
                1.0 / ((step + timescale - self.warmup) / timescale).sqrt()
            }
        }
    }

    fn stable_then_decay(&self, step: f64, rising: f64) -> f64 {
        let kwargs = &self.kwargs;
        let least = kwargs.min_lr_ratio.unwrap_or(0.0);
        let lifted = |factor: f64| (factor * (1.0 - least) + least).max(0.0);
        if step < self.warmup {
            return lifted(match kwargs.warmup_type.unwrap_or(LrCurve::Linear) {
                LrCurve::Linear => rising,
                LrCurve::Cosine => 0.5 * (1.0 - (PI * rising).cos()),
                LrCurve::OneMinusSqrt => 1.0 - (1.0 - rising).sqrt(),
            });
        }
        let decay = match kwargs.num_decay_steps {
            Some(steps) => steps as f64,
            None => (self.total / 10.0).ceil(),
        };
        let stable = match kwargs.num_stable_steps {
            Some(steps) => steps as f64,
            None => self.total - self.warmup - decay,
        };
        let falling = step - self.warmup - stable;
        if falling < 0.0 {
            return 1.0;
        }
        if falling >= decay {
            return least;
        }
        let progress = falling / decay.max(1.0);
        lifted(match kwargs.decay_type.unwrap_or(LrCurve::Cosine) {
            LrCurve::Linear => 1.0 - progress,
            LrCurve::Cosine => {
                0.5 * (1.0 + (PI * kwargs.num_cycles.unwrap_or(0.5) * 2.0 * progress).cos())
            }
            LrCurve::OneMinusSqrt => 1.0 - progress.sqrt(),
        })
    }
}

/// Half of a cosine for every 1 of `halves`, from 1 down to 0 and up again.
fn wave(halves: f64) -> f64 {
    (0.5 * (1.0 + (PI * halves).cos())).max(0.0)
}
