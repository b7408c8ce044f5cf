use serde::{Deserialize, Serialize};

use super::TrainConfig;
use crate::FieldErrors;

/// What evaluations and checkpoints on the way are counted in, as Transformers' `eval_strategy` and `save_strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntervalStrategy {
    /// So many optimizer steps, or none on the way.
    #[default]
    Steps,
    /// Times that the data is gone through.
    Epoch,
}

impl IntervalStrategy {
    /// Something is due after a step, where `steps` are those of its setting.
    pub fn is_due(self, step: u64, steps: u64, ends_epoch: bool) -> bool {
        match self {
            Self::Steps => steps > 0 && step.is_multiple_of(steps),
            Self::Epoch => ends_epoch,
        }
    }
}

impl TrainConfig {
    /// The run is evaluated before its end too, where there is held-out data.
    pub fn evaluates_on_the_way(&self) -> bool {
        self.eval_strategy == IntervalStrategy::Epoch || self.eval_steps > 0
    }

    /// Somebody has to know where an epoch ends.
    pub fn counts_epochs(&self) -> bool {
        [self.eval_strategy, self.save_strategy].contains(&IntervalStrategy::Epoch)
    }

    /// A number of steps beside `epoch` could only be ignored.
    pub(super) fn check_intervals(&self, errors: &mut FieldErrors) {
        for (key, strategy, steps) in [
            ("eval", self.eval_strategy, self.eval_steps),
            ("save", self.save_strategy, self.save_steps),
        ] {
            if strategy == IntervalStrategy::Epoch && steps > 0 {
                errors.push(
                    format!("train.{key}_steps"),
                    format!(
                        "has no meaning with train.{key}_strategy = \"epoch\"; leave one of them out"
                    ),
                );
            }
        }
    }
}
