//! What a run will take in memory, before it starts: [`estimate()`], and how it is made to fit a limit.
//!
//! `place` is whose memory, `inventory` counts the model's tensors from the heads of its files, `adapter` those of its adapter,
//! `lengths` the tokens of the run's data, `shape` those
//! of its largest micro-batch, `activations` what a forward and backward pass over it hold. Nothing of the model is read.

mod activations;
mod adapter;
mod device;
mod inventory;
mod lengths;
mod place;
mod plan;
mod shape;

use domain::{Method, Optim, RunConfig};
use serde::Serialize;

use crate::Result;

#[cfg(any(test, feature = "cuda"))]
pub(crate) use device::Room;
pub(crate) use lengths::{Lengths, held};
pub(crate) use place::Place;
#[cfg(any(test, feature = "cuda"))]
pub(crate) use place::{DEVICE_LOGITS, DEVICE_PANEL};
pub(crate) use plan::{Plan, plan};
pub(crate) use shape::Shape;

/// Bytes that a run takes at its peak, of the process or of a GPU, by what they are for.
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
    /// The program itself: code, threads, what the allocator leaves lying. 0 of a GPU, where the driver takes some hundred MB
    /// for itself.
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

/// Estimates the peak memory of a run; where `model.memory_limit` is set, of the run as it is made to fit. Of a run whose
/// `model.device` names a GPU it is that GPU's memory.
///
/// Data that is read while training is looked through up to some millions of tokens; what comes after those counts as long as
/// `data.max_seq_length` allows.
///
/// # Errors
/// The config, the data or the heads of the model's files cannot be used, or no arrangement fits the limit.
pub fn estimate(config: &RunConfig) -> Result<Estimate> {
    config.validate()?;
    crate::check_config(config)?;
    Ok(plan(config, &Lengths::of_run(config)?, Place::of(config))?.estimate)
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
    program: u64,
}

impl Fixed {
    fn of(config: &RunConfig, inventory: &inventory::Inventory, lengths: &Lengths) -> Self {
        let full = config.train.method == Method::Full;
        let trained = if full {
            inventory.parameters
        } else {
            inventory.adapter_parameters
        };
        // DPO that goes on with an adapter keeps it as it began; PiSSA keeps what it took out of the base.
        let kept = config.train.method == Method::Dpo && config.lora.init_adapter.is_some();
        let copies = 1 + u64::from(kept);
        Self {
            base: inventory.bytes,
            adapter: 4 * (copies * inventory.adapter_parameters + inventory.split_parameters),
            gradients: 4 * trained,
            optimizer: optimizer_bytes(config.train.optim, trained),
            data: lengths.bytes,
            program: PROGRAM,
        }
    }

    /// The same on a device: what trains is there in f32 and, where elements are smaller, as these; data and the state of
    /// every optimizer but AdamW stay with the process.
    fn on_device(config: &RunConfig, inventory: &inventory::Inventory, element: u64) -> Self {
        let full = config.train.method == Method::Full;
        let trained = if full {
            inventory.parameters
        } else {
            inventory.adapter_parameters
        };
        let rounded = if element < 4 { element } else { 0 };
        // The adapter as it began is lent its place for the time of a pass.
        let lent = match config.train.method == Method::Dpo && config.lora.init_adapter.is_some() {
            true => 4,
            false => 0,
        };
        Self {
            base: inventory.bytes + if full { rounded * trained } else { 0 },
            adapter: (4 + rounded + lent) * inventory.adapter_parameters
                + element * inventory.split_parameters,
            gradients: 4 * trained,
            optimizer: match config.train.optim {
                Optim::Adamw => optimizer_bytes(Optim::Adamw, trained),
                _ => 0,
            },
            data: 0,
            program: 0,
        }
    }

    fn sum(&self) -> u64 {
        self.base + self.adapter + self.gradients + self.optimizer + self.data + self.program
    }
}
