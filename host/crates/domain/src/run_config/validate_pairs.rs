//! Rules between the settings of preference losses.

use super::{LossType, Method, TrainConfig};
use crate::FieldErrors;

impl TrainConfig {
    pub(super) fn check_pairs(&self, errors: &mut FieldErrors) {
        use LossType::{ExoPair, Hinge, Ipo, Robust, Sigmoid, SigmoidNorm, Simpo};
        let mut refuse = |wrong: bool, key: &str, message: &str| {
            if wrong {
                errors.push(format!("train.{key}"), message);
            }
        };
        let (method, loss, default) = (self.method, self.loss_type, Self::default());
        let of_cpo = [Sigmoid, Hinge, Ipo, Simpo].contains(&loss);
        match method {
            Method::Dpo => refuse(
                loss == Simpo,
                "loss_type",
                "simpo needs train.method = \"cpo\"",
            ),
            Method::Cpo => refuse(
                !of_cpo,
                "loss_type",
                "must be sigmoid, hinge, ipo or simpo with train.method = \"cpo\"",
            ),
            _ => refuse(
                loss != default.loss_type,
                "loss_type",
                "needs train.method = \"dpo\" or \"cpo\"",
            ),
        }
        let smoothed = match method {
            Method::Dpo => [Sigmoid, SigmoidNorm, Robust, ExoPair].contains(&loss),
            Method::Cpo => [Sigmoid, Simpo].contains(&loss),
            _ => false,
        };
        refuse(
            self.label_smoothing > 0.0 && !smoothed,
            "label_smoothing",
            "has no meaning for this train.method and train.loss_type; remove it",
        );
        refuse(
            loss == ExoPair && self.label_smoothing == 0.0,
            "label_smoothing",
            "must be above 0 for exo_pair; 0.001 is usual",
        );
        refuse(
            method != Method::Cpo && self.cpo_alpha != default.cpo_alpha,
            "cpo_alpha",
            "needs train.method = \"cpo\"",
        );
        refuse(
            loss != Simpo && self.simpo_gamma != default.simpo_gamma,
            "simpo_gamma",
            "needs train.loss_type = \"simpo\"",
        );
    }
}
