use std::path::Path;

use candle_core::{DType, Result as CandleResult, Tensor};
use domain::{Optim, RunConfig};

use super::adafactor::Adafactor;
use super::adamw::AdamW;
use super::lion::Lion;
use super::sgd::Sgd;
use super::{Now, Rule};
use crate::model::{Parameter, Weights, weights};
use crate::{Error, Result};

/// Moves parameters against their gradients, and remembers what it needs for that.
pub(crate) struct Optimizer {
    pub(super) rule: Box<dyn Rule>,
    weight_decay: f64,
    /// Learning rate of B and of vectors over that of all else (LoRA+).
    loraplus_lr_ratio: f64,
    /// Updates done.
    pub(super) step: u64,
    /// What the rule remembers of each parameter, in the parameters' order.
    pub(super) states: Vec<Tensor>,
}

impl Optimizer {
    /// The optimizer of a run, which has seen nothing yet.
    pub(crate) fn new(config: &RunConfig, parameters: &[&Parameter]) -> Result<Self> {
        let train = &config.train;
        let rule: Box<dyn Rule> = match train.optim {
            Optim::Adamw => Box::new(AdamW {
                beta1: train.adam_beta1,
                beta2: train.adam_beta2,
                epsilon: train.adam_epsilon,
            }),
            Optim::Lion => Box::new(Lion {
                beta1: train.adam_beta1,
                beta2: train.adam_beta2,
            }),
            Optim::Sgd => Box::new(Sgd {
                momentum: train.momentum,
            }),
            Optim::Adafactor => Box::new(Adafactor),
        };
        let states = parameters.iter().map(|parameter| {
            let shape = rule.state_shape(parameter.value.dims());
            Tensor::zeros(shape, DType::F32, parameter.value.device())
        });
        let embedding = |parameter: &&Parameter| parameter.name.contains("lora_embedding");
        if config.lora.loraplus_lr_ratio.is_some() && parameters.iter().any(embedding) {
            let message = "is not supported with an adapter of the embedding; leave it or the embedding in lora.target_modules out";
            return Err(domain::FieldErrors::one("lora.loraplus_lr_ratio", message).into());
        }
        Ok(Self {
            states: states.collect::<CandleResult<_>>()?,
            weight_decay: train.weight_decay,
            loraplus_lr_ratio: config.lora.loraplus_lr_ratio.unwrap_or(1.0),
            step: 0,
            rule,
        })
    }

    /// One update of all parameters at learning rate `rate`, with their gradients times `clip`.
    ///
    /// Decay spares norms and biases, as Transformers' Trainer does, but not DoRA's magnitudes. With
    /// LoRA+ (arXiv 2402.12354) B and vectors go at `loraplus_lr_ratio` times the rate, as in PEFT's
    /// `create_loraplus_optimizer`.
    pub(crate) fn step(&mut self, parameters: &[&Parameter], rate: f64, clip: f32) -> Result<()> {
        self.step += 1;
        for (parameter, state) in parameters.iter().zip(&self.states) {
            if let Some(grad) = &parameter.grad {
                let now = self.now(parameter, rate, clip);
                self.rule.update(&now, &parameter.value, grad, state)?;
            }
        }
        Ok(())
    }

    /// What the update of this step is for one parameter.
    pub(super) fn now(&self, parameter: &Parameter, rate: f64, clip: f32) -> Now {
        let vector = parameter.value.rank() < 2;
        let fast = vector || parameter.name.contains("lora_B");
        let spared = vector && !parameter.name.ends_with("lora_magnitude_vector");
        Now {
            step: self.step,
            rate: if fast {
                rate * self.loraplus_lr_ratio
            } else {
                rate
            },
            clip,
            decay: if spared { 0.0 } else { self.weight_decay },
        }
    }

    /// Writes what is remembered by the parameters' names.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, path: &Path, parameters: &[&Parameter]) -> Result<()> {
        let tensors = parameters.iter().zip(&self.states);
        let tensors = tensors
            .map(|(parameter, state)| (parameter.name.clone(), state.clone()))
            .collect();
        weights::write(path, tensors, DType::F32)
    }

    /// An optimizer that goes on after `step` updates from what [`Self::save`] wrote.
    ///
    /// # Errors
    /// The file is damaged or belongs to other parameters or another optimizer.
    pub(crate) fn load(
        config: &RunConfig,
        parameters: &[&Parameter],
        path: &Path,
        step: u64,
    ) -> Result<Self> {
        let mut optimizer = Self::new(config, parameters)?;
        let mut file = Weights::open(&[path.to_owned()])?;
        for (parameter, state) in parameters.iter().zip(&mut optimizer.states) {
            let wrong = |error: Error| Error::Checkpoint {
                path: path.to_owned(),
                message: format!(
                    "does not belong to this run ({error}); start anew without --resume"
                ),
            };
            *state = file
                .take(&parameter.name, state.dims(), DType::F32)
                .map_err(wrong)?;
        }
        file.finish(|_| false)?;
        optimizer.step = step;
        Ok(optimizer)
    }
}
