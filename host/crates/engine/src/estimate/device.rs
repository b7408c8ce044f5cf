//! How many layers' activations are kept on a device at a time, by the memory that it has left.

use domain::{Method, RunConfig};

use super::lengths::{Extent, Lengths, Train};
use super::shape::Shape;
use crate::data::{Pair, Sample};

#[cfg(any(test, feature = "cuda"))]
use {
    super::activations::Activations, super::inventory::Inventory, super::place::Place,
    crate::model::Decoder,
};

/// Memory of a device.
#[cfg(any(test, feature = "cuda"))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Bytes that can still be allocated.
    pub(crate) free: u64,
    /// Bytes of an activation's element.
    pub(crate) element: u64,
}

/// What of the free memory is counted on: the rest is for pieces too small to be used, and for what widths do not tell.
#[cfg(any(test, feature = "cuda"))]
const COUNTED_ON: f64 = 0.9;

#[cfg(any(test, feature = "cuda"))]
impl Room {
    /// Layers to keep at a time (0: all) so that a batch of this shape fits; 1 where nothing does.
    pub(crate) fn segment(self, decoder: &Decoder, shape: Shape) -> usize {
        let layers = decoder.blocks.len().max(1);
        let inventory = Inventory::of_layers(decoder);
        let activations = Activations::of(&decoder.description, &inventory, shape, false);
        let free = (self.free as f64 * COUNTED_ON) as u64;
        let place = Place::Device {
            element: self.element,
        };
        let fits = |segment: &usize| {
            let (kept, logits) = activations.bytes_at(place, layers, *segment);
            kept + logits <= free
        };
        std::iter::once(0)
            .chain((2..layers).rev())
            .find(fits)
            .unwrap_or(1)
    }
}

impl Shape {
    /// The largest micro-batch of a run whose samples are in memory or, with none there, are read on the way.
    pub(crate) fn of_samples(config: &RunConfig, train: &[Sample], eval: &[Sample]) -> Self {
        let extents =
            |samples: &[Sample]| -> Vec<Extent> { samples.iter().map(Extent::of).collect() };
        let longest = u64::from(config.data.max_seq_length);
        let lengths = Lengths {
            train: match train.is_empty() {
                false => Train::Held(extents(train)),
                true => Train::Streamed {
                    steps: Vec::new(),
                    rest: Some(Extent {
                        tokens: longest,
                        scored: longest,
                    }),
                },
            },
            eval: extents(eval),
            bytes: 0,
        };
        Self::of(config, &lengths, config.train.batch_size)
    }

    /// As [`Self::of_samples`], of a run over pairs.
    pub(crate) fn of_pairs(config: &RunConfig, train: &[Pair], eval: &[Pair]) -> Self {
        let orpo = config.train.method == Method::Orpo;
        let extents = |pairs: &[Pair]| -> Vec<Extent> {
            let extents = pairs.iter().map(|pair| Extent::of_pair(pair, orpo));
            extents.collect()
        };
        let lengths = Lengths {
            train: Train::Held(extents(train)),
            eval: extents(eval),
            bytes: 0,
        };
        Self::of(config, &lengths, config.train.batch_size)
    }

    /// A batch of sequences of one length, all supervised.
    pub(crate) fn of_batch(sequences: usize, length: usize) -> Self {
        let tokens = (sequences * length) as u64;
        Self {
            tokens,
            scored: tokens,
            evaluated: 0,
        }
    }
}
