//! What a run will take in memory, before it starts: [`estimate()`], and how it is made to fit a limit.
//!
//! `inventory` counts the model's tensors from the heads of its files, `shape` the largest micro-batch of the run's
//! data, `activations` what a forward and backward pass over it hold. Nothing of the model is read.

mod activations;
mod inventory;
mod plan;
mod shape;

use domain::{Method, Optim, RunConfig};
use serde::Serialize;

use crate::Result;
use crate::data::Sample;

pub(crate) use plan::{Plan, plan};

/// Bytes that a run takes at its peak, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Weights of the base.
    pub base: u64,
    /// Weights of the adapter.
    pub adapter: u64,
    /// Gradients of what trains.
    pub gradients: u64,
    /// State of the optimizer.
    pub optimizer: u64,
    /// What the layers keep for the backward pass, and what one layer needs beside it.
    pub activations: u64,
    /// Logits of supervised tokens, a chunk at a time, beyond what the layers' backward pass takes after them.
    pub logits: u64,
    /// Tokens and labels of the data.
    pub data: u64,
    /// The program itself: code, threads, what the allocator leaves lying.
    pub program: u64,
    /// All of it: the peak.
    pub total: u64,
    /// Layers whose activations are kept at a time; 0 keeps those of all. Above 0, a segment of so many layers is computed
    /// again in the backward pass.
    pub segment: usize,
    /// Sequences of one forward pass.
    pub batch_size: u32,
    /// Forward passes of one optimizer step.
    pub gradient_accumulation_steps: u32,
}

/// Estimates the peak memory of a run; where `model.memory_limit` is set, of the run as it is made to fit.
///
/// # Errors
/// The config, the data or the heads of the model's files cannot be used, or no arrangement fits the limit.
pub fn estimate(config: &RunConfig) -> Result<Estimate> {
    config.validate()?;
    crate::check_config(config)?;
    if matches!(config.train.method, Method::Dpo | Method::Orpo) {
        let message = "dpo and orpo cannot be estimated yet";
        return Err(domain::FieldErrors::one("train.method", message).into());
    }
    if config.data.streaming {
        let message = "data that is read while training cannot be estimated; set it to false";
        return Err(domain::FieldErrors::one("data.streaming", message).into());
    }
    let folder = std::path::PathBuf::from(config.model.path.as_deref().unwrap_or_default());
    let data = crate::data::load(&config.data, &folder, config.train.seed)?;
    // As the run will; what it leaves out, it says itself.
    let learnable = |samples| crate::train::learnable(samples, &mut |_| {});
    let (train, eval) = (learnable(data.train), learnable(data.eval));
    if train.is_empty() {
        return Err(crate::Error::NoSupervisedToken(
            "no token would be trained on; check data.train_on and data.max_seq_length".into(),
        ));
    }
    Ok(plan(config, &train, &eval)?.estimate)
}

/// The program with its threads and libraries, and the allocator's slack.
const PROGRAM: u64 = 24 << 20;

/// Bytes of the optimizer's state for each parameter that trains.
fn optimizer_bytes(optim: Optim, parameters: u64) -> u64 {
    match optim {
        Optim::Adamw => 8 * parameters,
        Optim::Adafactor => parameters / 8,
        _ => 4 * parameters,
    }
}

/// What does not depend on the arrangement.
struct Fixed {
    base: u64,
    adapter: u64,
    gradients: u64,
    optimizer: u64,
    data: u64,
}

impl Fixed {
    fn of(config: &RunConfig, inventory: &inventory::Inventory, samples: &[&[Sample]]) -> Self {
        let full = config.train.method == Method::Full;
        let trained = if full {
            inventory.parameters
        } else {
            inventory.adapter_parameters
        };
        let samples = samples.iter().copied().flatten();
        Self {
            base: inventory.bytes,
            adapter: 4 * inventory.adapter_parameters,
            gradients: 4 * trained,
            optimizer: optimizer_bytes(config.train.optim, trained),
            data: samples
                .map(|sample| 12 * sample.input_ids.len() as u64 + 64)
                .sum(),
        }
    }

    fn sum(&self) -> u64 {
        self.base + self.adapter + self.gradients + self.optimizer + self.data + PROGRAM
    }
}
