//! Operations that passes over a decoder need: those of products, two for each multiplication; nothing that is computed twice.

use super::{Decoder, Description, Linear, Matrix};

/// What a pass goes over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    tokens: f64,
    /// Sum of the squares of the sequences' lengths.
    squares: f64,
    /// Tokens that the head works for.
    scored: f64,
}

impl Work {
    /// Sequences of these lengths.
    pub(crate) fn of(sequences: impl Iterator<Item = usize>, scored: usize) -> Self {
        let (mut tokens, mut squares) = (0.0, 0.0);
        for length in sequences.map(|length| length as f64) {
            tokens += length;
            squares += length * length;
        }
        Self {
            tokens,
            squares,
            scored: scored as f64,
        }
    }
}

impl Description {
    /// Those of a forward pass without an adapter; attention is causal.
    pub(crate) fn forward_operations(&self, work: Work) -> f64 {
        let width = (self.heads * self.head_dim) as f64;
        let linear = (2.0 * width + 2.0 * (self.kv_heads * self.head_dim) as f64)
            * self.hidden as f64
            + (2.0 + f64::from(u8::from(self.gated))) * (self.hidden * self.intermediate) as f64;
        let layers = self.layers.len() as f64;
        let head = (self.vocab * self.hidden) as f64;
        2.0 * linear * layers * work.tokens
            + 2.0 * head * work.scored
            + 2.0 * work.squares * width * layers
    }
}

impl Decoder {
    /// Those of a training pass: forward, gradients of inputs, and gradients of what trains.
    pub(crate) fn operations(&self, work: Work) -> f64 {
        let d = &self.description;
        let width = (d.heads * d.head_dim) as f64;
        // Attention has four products on the way back for its two.
        let attention = 2.0 * work.squares * width * d.layers.len() as f64;
        let base = 2.0 * d.forward_operations(work) + attention;
        let loras = self.linears().filter_map(|linear| linear.lora.as_ref());
        let loras = loras.chain(self.end_loras());
        let adapter: u64 = loras
            .flat_map(|lora| lora.parameters())
            .map(|parameter| parameter.len())
            .sum();
        let trained = |matrix: &Matrix| match matrix.grad() {
            Some(_) => matrix.len(),
            None => 0,
        };
        let own = |linear: &Linear| {
            let saved = linear.saved.as_ref();
            trained(saved.map_or(&linear.weight, |saved| &saved.weight))
        };
        let whole: u64 = self.linears().map(own).sum();
        let head = trained(self.head_in_use(true));
        base + 6.0 * adapter as f64 * work.tokens
            + 2.0 * whole as f64 * work.tokens
            + 2.0 * head as f64 * work.scored
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::DType;

    use super::*;
    use crate::model::Loading;

    #[test]
    fn all_weights_take_half_as_much_again_as_a_frozen_base() {
        let folder = "../../../tests/fixtures/goldens/qwen3/model";
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let loaded = |trainable| {
            let loading = Loading {
                trainable,
                ..Loading::frozen(DType::F32)
            };
            Decoder::load(&folder, loading).unwrap()
        };
        let work = Work::of([7, 9].into_iter(), 16);
        let (frozen, full) = (loaded(false), loaded(true));
        let d = &frozen.description;
        let weights: u64 = frozen.linears().map(|linear| linear.weight.len()).sum();
        let products = 2.0 * (weights as f64 + (d.vocab * d.hidden) as f64) * 16.0;
        let scores = 2.0 * (49.0 + 81.0) * (d.heads * d.head_dim * d.layers.len()) as f64;
        assert_eq!(d.forward_operations(work), products + scores);
        assert_eq!(frozen.operations(work), 2.0 * products + 3.0 * scores);
        assert_eq!(full.operations(work), 3.0 * (products + scores));
    }
}
