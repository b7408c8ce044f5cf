use domain::{LrSchedulerType, TrainConfig};

/// The learning rate over the steps, as in Transformers' `get_scheduler`.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    kind: LrSchedulerType,
    peak: f64,
    warmup: u64,
    total: u64,
}

impl Schedule {
    /// The schedule of a run of `total` steps.
    pub(crate) fn new(train: &TrainConfig, total: u64) -> Self {
        let warmup = match train.warmup_steps {
            0 => (total as f64 * train.warmup_ratio).ceil() as u64,
            steps => steps,
        };
        Self {
            kind: train.lr_scheduler_type,
            peak: train.learning_rate,
            warmup,
            total,
        }
    }

    /// Whether this engine has the schedule.
    pub(crate) fn is_supported(kind: LrSchedulerType) -> bool {
        use LrSchedulerType::*;
        matches!(kind, Constant | ConstantWithWarmup | Linear | Cosine)
    }

    /// Rate of the update of `step`, counted from 0.
    pub(crate) fn rate(&self, step: u64) -> f64 {
        let rising = step as f64 / self.warmup.max(1) as f64;
        let warm = step < self.warmup;
        let left = self.total.saturating_sub(self.warmup).max(1) as f64;
        let factor = match self.kind {
            LrSchedulerType::Constant => 1.0,
            _ if warm => rising,
            LrSchedulerType::Linear => (self.total.saturating_sub(step) as f64 / left).max(0.0),
            LrSchedulerType::Cosine => {
                let progress = (step - self.warmup) as f64 / left;
                (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0)
            }
            _ => 1.0,
        };
        self.peak * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(kind: LrSchedulerType, warmup_steps: u64, warmup_ratio: f64) -> Vec<f64> {
        let train = TrainConfig {
            lr_scheduler_type: kind,
            learning_rate: 1.0,
            warmup_steps,
            warmup_ratio,
            ..Default::default()
        };
        let schedule = Schedule::new(&train, 8);
        (0..8)
            .map(|step| (schedule.rate(step) * 1e4).round() / 1e4)
            .collect()
    }

    /// transformers.get_scheduler(kind, optimizer, num_warmup_steps=2, num_training_steps=8), get_last_lr() before
    /// each of the 8 steps.
    #[test]
    fn rates_are_those_of_transformers() {
        use LrSchedulerType::*;
        assert_eq!(rates(Constant, 2, 0.0), [1.0; 8]);
        assert_eq!(
            rates(ConstantWithWarmup, 2, 0.0),
            [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        );
        assert_eq!(
            rates(Linear, 2, 0.0),
            [0.0, 0.5, 1.0, 0.8333, 0.6667, 0.5, 0.3333, 0.1667]
        );
        assert_eq!(
            rates(Cosine, 2, 0.0),
            [0.0, 0.5, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
        );
        assert_eq!(rates(Linear, 0, 0.25), rates(Linear, 2, 0.0));
        assert_eq!(rates(Linear, 0, 0.0)[..2], [1.0, 0.875]);
    }
}
