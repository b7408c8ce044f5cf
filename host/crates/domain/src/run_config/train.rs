use serde::{Deserialize, Serialize};

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
    pub epochs: u32,
    /// Above 0 it wins over `epochs`, and the data goes round.
    pub max_steps: u64,
    /// Highest learning rate of the schedule.
    pub learning_rate: f64,
    /// Shape of the learning rate over the steps.
    pub lr_scheduler_type: LrSchedulerType,
    /// Steps in which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// The same as a share of all steps; used when `warmup_steps` is 0.
    pub warmup_ratio: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub max_grad_norm: f64,
    /// Which optimizer.
    pub optim: Optim,
    /// Decay of the first moment.
    pub adam_beta1: f64,
    /// Decay of the second moment.
    pub adam_beta2: f64,
    /// Added to the root of the second moment.
    pub adam_epsilon: f64,
    /// Seed of every random choice.
    pub seed: u64,
    /// Steps between checkpoints; 0 saves at the end only.
    pub save_steps: u64,
    /// Checkpoints that are kept.
    pub save_total_limit: u32,
    /// Steps between evaluations; 0 evaluates at the end only, when there is held-out data.
    pub eval_steps: u64,
    /// Evaluations without a better loss after which the run ends; 0 switches it off.
    pub early_stopping_patience: u32,
    /// Noise on the embeddings (NEFTune, arXiv 2310.05914); 0 switches it off.
    pub neftune_noise_alpha: f64,
    /// Strength of the preference losses.
    pub beta: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            output: String::new(),
            method: Method::Lora,
            batch_size: 4,
            gradient_accumulation_steps: 1,
            epochs: 3,
            max_steps: 0,
            learning_rate: 2e-4,
            lr_scheduler_type: LrSchedulerType::Linear,
            warmup_steps: 0,
            warmup_ratio: 0.0,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            optim: Optim::Adamw,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            seed: 0,
            save_steps: 0,
            save_total_limit: 3,
            eval_steps: 0,
            early_stopping_patience: 0,
            neftune_noise_alpha: 0.0,
            beta: 0.1,
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
    /// Odds-ratio preference optimization (arXiv 2403.07691).
    Orpo,
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
    /// Cosine, several times.
    CosineWithRestarts,
    /// Down along a power.
    Polynomial,
    /// Down along 1/sqrt(step).
    InverseSqrt,
    /// Warmup, stable, decay.
    WarmupStableDecay,
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
