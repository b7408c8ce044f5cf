use serde::{Deserialize, Serialize};

use super::IntervalStrategy;

/// `[train]`: how it learns. Names and meanings are those of Transformers' `TrainingArguments`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Folder for adapter and checkpoints.
    pub output: String,
    /// What is trained, and on which loss.
    pub method: Method,
    /// Sequences in one forward.
    pub batch_size: u32,
    /// Forwards in one optimizer step.
    pub gradient_accumulation_steps: u32,
    /// Times the data is gone through.
    pub epochs: f64,
    /// Above 0 it wins over `epochs`, and the data goes round.
    pub max_steps: u64,
    /// Highest learning rate of the schedule.
    pub learning_rate: f64,
    /// Shape of the learning rate over the steps.
    pub lr_scheduler_type: LrSchedulerType,
    /// What else decides its shape.
    #[serde(skip_serializing_if = "LrSchedulerKwargs::is_empty")]
    pub lr_scheduler_kwargs: LrSchedulerKwargs,
    /// Steps in which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// The same as a share of all steps; used when `warmup_steps` is 0.
    pub warmup_ratio: f64,
    /// Weight decay: decoupled, but for `sgd`, which adds it to the gradient as `torch.optim.SGD` does.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub max_grad_norm: f64,
    /// Which optimizer.
    pub optim: Optim,
    /// Momentum of `sgd`, as in `torch.optim.SGD`.
    pub momentum: f64,
    /// Decay of the first moment (`adamw`, `lion`).
    pub adam_beta1: f64,
    /// Decay of the second moment (`adamw`); with `lion` that of its one moment, where 0.99 is usual.
    pub adam_beta2: f64,
    /// Added to the root of the second moment (`adamw`).
    pub adam_epsilon: f64,
    /// Seed of every random choice.
    pub seed: u64,
    /// Whether checkpoints come by `save_steps` or at the end of each epoch.
    pub save_strategy: IntervalStrategy,
    /// Steps between checkpoints; 0 saves at the end only.
    pub save_steps: u64,
    /// Checkpoints that are kept.
    pub save_total_limit: u32,
    /// Whether evaluations come by `eval_steps` or at the end of each epoch.
    pub eval_strategy: IntervalStrategy,
    /// Steps between evaluations; 0 evaluates at the end only, when there is held-out data.
    pub eval_steps: u64,
    /// Evaluations without a better loss after which the run ends; 0 switches it off.
    pub early_stopping_patience: u32,
    /// What a loss must fall by to count as better for that.
    pub early_stopping_threshold: f64,
    /// Save at the evaluation with the lowest loss, and take the result from there.
    pub load_best_model_at_end: bool,
    /// Held-out prompts that are answered at each evaluation, where the run has scorers.
    pub score_prompts: u32,
    /// Most tokens of such an answer.
    pub score_max_new_tokens: u32,
    /// Noise on the embeddings (NEFTune, arXiv 2310.05914); 0 switches it off.
    pub neftune_noise_alpha: f64,
    /// Strength of the preference losses.
    pub beta: f64,
    /// Which loss over pairs `dpo` and `cpo` minimize.
    pub loss_type: LossType,
    /// How likely it is that a pair is the wrong way round.
    pub label_smoothing: f64,
    /// What the likelihood of the chosen answers weighs in `cpo`.
    pub cpo_alpha: f64,
    /// By how much the chosen answer's reward is to be higher, for the loss `simpo`.
    pub simpo_gamma: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            output: String::new(),
            method: Method::Lora,
            batch_size: 4,
            gradient_accumulation_steps: 1,
            epochs: 3.0,
            max_steps: 0,
            learning_rate: 2e-4,
            lr_scheduler_type: LrSchedulerType::Linear,
            lr_scheduler_kwargs: LrSchedulerKwargs::default(),
            warmup_steps: 0,
            warmup_ratio: 0.0,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            optim: Optim::Adamw,
            momentum: 0.9,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            seed: 0,
            save_strategy: IntervalStrategy::Steps,
            save_steps: 0,
            save_total_limit: 3,
            eval_strategy: IntervalStrategy::Steps,
            eval_steps: 0,
            early_stopping_patience: 0,
            early_stopping_threshold: 0.0,
            load_best_model_at_end: false,
            score_prompts: 16,
            score_max_new_tokens: 128,
            neftune_noise_alpha: 0.0,
            beta: 0.1,
            loss_type: LossType::Sigmoid,
            label_smoothing: 0.0,
            cpo_alpha: 1.0,
            simpo_gamma: 0.5,
        }
    }
}

/// What is trained, and on which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A LoRA adapter over a frozen base.
    Lora,
    /// All weights.
    Full,
    /// Direct preference optimization (arXiv 2305.18290).
    Dpo,
    /// Contrastive preference optimization (arXiv 2401.08417), which needs no reference.
    Cpo,
    /// Odds-ratio preference optimization (arXiv 2403.07691).
    Orpo,
}

impl Method {
    /// It learns from pairs of answers.
    #[must_use]
    pub fn is_paired(self) -> bool {
        matches!(self, Self::Dpo | Self::Cpo | Self::Orpo)
    }
}

/// A loss over pairs, as TRL's `loss_type` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Logistic (arXiv 2305.18290).
    Sigmoid,
    /// A margin of 1 (SLiC, arXiv 2305.10425).
    Hinge,
    /// Squared, by the mean of the tokens (arXiv 2310.12036).
    Ipo,
    /// Logistic, unbiased where some pairs are the wrong way round (arXiv 2403.00409).
    Robust,
    /// Reverse Kullback-Leibler divergence (EXO, arXiv 2402.00856).
    ExoPair,
    /// Noise-contrastive alignment (arXiv 2402.05369).
    NcaPair,
    /// A binary classifier of both answers (arXiv 2404.04656).
    BcoPair,
    /// Self-play with hard labels (arXiv 2405.00675).
    SppoHard,
    /// Anchored, for answers that are better than the model's (arXiv 2408.06266).
    ApoZero,
    /// Anchored, for answers that are worse than the model's.
    ApoDown,
    /// Logistic, by the mean of the tokens.
    SigmoidNorm,
    /// The same without a reference and with a margin (arXiv 2405.14734); of `cpo`.
    Simpo,
}

/// Shape of the learning rate over the steps, as in Transformers' `get_scheduler`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// Level, without warmup.
    Constant,
    /// Level after the warmup.
    ConstantWithWarmup,
    /// Down to 0 in a straight line after the warmup.
    Linear,
    /// Down to 0 along half a cosine after the warmup.
    Cosine,
    /// Down along half a cosine after the warmup, but to `min_lr` or a share of the rate alone.
    CosineWithMinLr,
    /// Cosine, several times.
    CosineWithRestarts,
    /// Down along a power.
    Polynomial,
    /// Down along 1/sqrt(step).
    InverseSqrt,
    /// Warmup, stable, decay.
    WarmupStableDecay,
}

/// `[train.lr_scheduler_kwargs]`: what Transformers calls so. Each is for the schedules that it names only.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LrSchedulerKwargs {
    /// Waves of `cosine`, of `cosine_with_min_lr` and of the decay of `warmup_stable_decay` (0.5 where it is not set), or restarts of
    /// `cosine_with_restarts` (1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_cycles: Option<f64>,
    /// `cosine_with_min_lr`: the rate that it ends at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// `cosine_with_min_lr`: the same as a share of the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr_rate: Option<f64>,
    /// `polynomial`: its power (1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// `polynomial`: the rate that it ends at (1e-7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_end: Option<f64>,
    /// `inverse_sqrt`: steps after which the rate is a root lower (the warmup steps, or 10,000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timescale: Option<u64>,
    /// `warmup_stable_decay`: steps of its decay (a tenth of all).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_decay_steps: Option<u64>,
    /// `warmup_stable_decay`: steps at the full rate (what warmup and decay leave).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_stable_steps: Option<u64>,
    /// `warmup_stable_decay`: share of the rate that it begins and ends at (0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr_ratio: Option<f64>,
    /// `warmup_stable_decay`: shape of its warmup (linear).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_type: Option<LrCurve>,
    /// `warmup_stable_decay`: shape of its decay (cosine).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_type: Option<LrCurve>,
}

/// A way up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrCurve {
    /// A straight line.
    Linear,
    /// Half a cosine.
    Cosine,
    /// 1 minus a square root.
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

impl LrSchedulerKwargs {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl TrainConfig {
    /// Checks `lr_scheduler_kwargs` against the schedule and the ranges of its values.
    pub(super) fn check_schedule(&self, errors: &mut crate::FieldErrors) {
        use LrSchedulerType::*;
        let kwargs = &self.lr_scheduler_kwargs;
        let wave: &[LrSchedulerType] = &[
            Cosine,
            CosineWithMinLr,
            CosineWithRestarts,
            WarmupStableDecay,
        ];
        let lowest: &[LrSchedulerType] = &[CosineWithMinLr];
        let (polynomial, inverse): (&[_], &[_]) = (&[Polynomial], &[InverseSqrt]);
        let stable: &[LrSchedulerType] = &[WarmupStableDecay];
        for (key, is_set, kinds) in [
            ("num_cycles", kwargs.num_cycles.is_some(), wave),
            ("min_lr", kwargs.min_lr.is_some(), lowest),
            ("min_lr_rate", kwargs.min_lr_rate.is_some(), lowest),
            ("power", kwargs.power.is_some(), polynomial),
            ("lr_end", kwargs.lr_end.is_some(), polynomial),
            ("timescale", kwargs.timescale.is_some(), inverse),
            ("num_decay_steps", kwargs.num_decay_steps.is_some(), stable),
            (
                "num_stable_steps",
                kwargs.num_stable_steps.is_some(),
                stable,
            ),
            ("min_lr_ratio", kwargs.min_lr_ratio.is_some(), stable),
            ("warmup_type", kwargs.warmup_type.is_some(), stable),
            ("decay_type", kwargs.decay_type.is_some(), stable),
        ] {
            if is_set && !kinds.contains(&self.lr_scheduler_type) {
                errors.push(
                    format!("train.lr_scheduler_kwargs.{key}"),
                    "has no meaning for this train.lr_scheduler_type; remove it",
                );
            }
        }
        let is_lowest = self.lr_scheduler_type == CosineWithMinLr;
        if is_lowest && kwargs.min_lr.is_some() == kwargs.min_lr_rate.is_some() {
            errors.push(
                "train.lr_scheduler_kwargs.min_lr",
                "or min_lr_rate is needed for cosine_with_min_lr, one of both",
            );
        }
        let cycles_are_whole = kwargs.num_cycles.is_none_or(|cycles| cycles.fract() == 0.0);
        let lowest_cycles = if self.lr_scheduler_type == CosineWithRestarts {
            1.0
        } else {
            0.0
        };
        for (key, wrong, what) in [
            (
                "num_cycles",
                !within(kwargs.num_cycles, lowest_cycles, 1e6)
                    || self.lr_scheduler_type == CosineWithRestarts && !cycles_are_whole,
                "must be a number from 0 on, and a whole number from 1 on for cosine_with_restarts",
            ),
            (
                "min_lr",
                !within(kwargs.min_lr, 0.0, self.learning_rate),
                "must be from 0 to train.learning_rate",
            ),
            (
                "min_lr_rate",
                !within(kwargs.min_lr_rate, 0.0, 1.0),
                "must be a number from 0 to 1",
            ),
            (
                "power",
                !within(kwargs.power, 0.0, 100.0),
                "must be a number from 0 to 100",
            ),
            (
                "lr_end",
                // Transformers compares its default too.
                !within(Some(kwargs.lr_end.unwrap_or(1e-7)), 0.0, f64::MAX)
                    || self.lr_scheduler_type == Polynomial
                        && kwargs.lr_end.unwrap_or(1e-7) >= self.learning_rate,
                "must be from 0 to below train.learning_rate (1e-7 where it is not set)",
            ),
            (
                "timescale",
                kwargs.timescale == Some(0),
                "must be at least 1",
            ),
            (
                "min_lr_ratio",
                !within(kwargs.min_lr_ratio, 0.0, 1.0),
                "must be a number from 0 to 1",
            ),
        ] {
            if wrong {
                errors.push(format!("train.lr_scheduler_kwargs.{key}"), what);
            }
        }
    }
}

fn within(value: Option<f64>, least: f64, most: f64) -> bool {
    value.is_none_or(|value| value.is_finite() && (least..=most).contains(&value))
}

/// Which optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optim {
    /// AdamW as in `torch.optim.AdamW`.
    Adamw,
    /// Lion (arXiv 2302.06675).
    Lion,
    /// SGD with momentum.
    Sgd,
    /// Adafactor (arXiv 1804.04235).
    Adafactor,
}
