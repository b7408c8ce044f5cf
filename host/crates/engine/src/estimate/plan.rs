use std::path::PathBuf;

use domain::{FieldErrors, Method, RunConfig, parse_size};

use super::activations::Activations;
use super::inventory::Inventory;
use super::shape::Shape;
use super::{Estimate, Fixed, Lengths, Place};
use crate::model::Description;
use crate::{Error, Result};

/// How a run is arranged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) estimate: Estimate,
    /// The limit that it was made to fit.
    pub(crate) limit: Option<u64>,
    /// Whose memory the limit is of.
    pub(crate) place: Place,
    /// It trains on pairs of sequences.
    pub(crate) paired: bool,
}

/// Arranges a run: as its config says where there is no limit or it fits, else with as few layers computed twice as
/// will do, else with smaller micro-batches and as many more of them.
///
/// # Errors
/// The model's files cannot be used, or the smallest arrangement is over the limit.
pub(crate) fn plan(config: &RunConfig, lengths: &Lengths, place: Place) -> Result<Plan> {
    let limit = match config.model.memory_limit.as_deref().map(parse_size) {
        None => None,
        Some(Ok(limit)) => Some(limit),
        Some(Err(message)) => return Err(FieldErrors::one("model.memory_limit", message).into()),
    };
    let folder = PathBuf::from(config.model.path.as_deref().unwrap_or_default());
    let description = Description::of_model(&folder)?;
    let inventory = Inventory::of(config, &folder, &description)?;
    let fixed = match place {
        Place::Processor => Fixed::of(config, &inventory, lengths),
        Place::Device { element } => Fixed::on_device(config, &inventory, element),
    };
    let layers = inventory.layers.max(1);
    let full = config.train.method == Method::Full;
    let paired = config.train.method.is_paired();
    let mut least: Option<Estimate> = None;
    let batch = config.train.batch_size;
    for smaller in (1..=batch)
        .rev()
        .filter(|smaller| batch.is_multiple_of(*smaller))
    {
        let shape = Shape::of(config, lengths, smaller);
        let activations = Activations::of(&description, &inventory, shape, full);
        let segments = std::iter::once(0).chain((1..layers).rev());
        for segment in segments {
            let (kept, logits) = activations.bytes_at(place, layers, segment);
            let estimate = Estimate {
                base: fixed.base,
                adapter: fixed.adapter,
                gradients: fixed.gradients,
                optimizer: fixed.optimizer,
                activations: kept,
                logits,
                data: fixed.data,
                program: fixed.program,
                total: fixed.sum() + kept + logits,
                segment,
                batch_size: smaller,
                gradient_accumulation_steps: config.train.gradient_accumulation_steps
                    * (batch / smaller),
            };
            if limit.is_none_or(|limit| estimate.total <= limit) {
                return Ok(Plan {
                    estimate,
                    limit,
                    place,
                    paired,
                });
            }
            if least.is_none_or(|least| estimate.total < least.total) {
                least = Some(estimate);
            }
        }
    }
    let least = least.map_or(0, |least| least.total);
    let message = format!(
        "is too small: with a micro-batch of 1 and activations kept as sparsely as can be, this run needs {}MiB; raise it to that, or lower data.max_seq_length or model.quantize the base",
        least.div_ceil(1 << 20)
    );
    Err(Error::Fields(FieldErrors::one(
        "model.memory_limit",
        message,
    )))
}

impl Plan {
    /// The config as it is run.
    pub(crate) fn apply(&self, config: &RunConfig) -> RunConfig {
        let mut config = config.clone();
        config.train.batch_size = self.estimate.batch_size;
        config.train.gradient_accumulation_steps = self.estimate.gradient_accumulation_steps;
        config
    }

    /// What was chosen, in a sentence.
    pub(crate) fn sentence(&self) -> String {
        let e = &self.estimate;
        let segment = match e.segment {
            0 => "the activations of all layers are kept".to_owned(),
            1 => "each layer is computed again in the backward pass".to_owned(),
            n => format!("segments of {n} layers are computed again in the backward pass"),
        };
        format!(
            "to stay under {} MiB: {segment}, micro-batches of {} {}, {} for a step; estimated peak {} MiB",
            self.limit.unwrap_or_default() >> 20,
            e.batch_size,
            if self.paired { "pairs" } else { "sequences" },
            e.gradient_accumulation_steps,
            e.total.div_ceil(1 << 20),
        )
    }
}
