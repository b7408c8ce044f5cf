use super::inventory::Inventory;
use super::place::{DEVICE_LOGITS, DEVICE_PANEL, Place};
use super::shape::Shape;
use crate::model::{Description, LOGITS, PANEL};

/// What a forward and backward pass hold, by the widths that a token has.
pub(crate) struct Activations {
    shape: Shape,
    hidden: u64,
    vocab: u64,
    /// Tokens whose logits are computed once more, and their gradients.
    own_logits: u64,
    /// Floats that a layer keeps for a token.
    kept: u64,
    /// Floats that one layer's forward and backward take beside that, at most at a time.
    beside: u64,
    /// Bytes that do not depend on the tokens.
    scratch: u64,
    /// Elements of a device that do not.
    panel: u64,
}

impl Activations {
    pub(crate) fn of(
        description: &Description,
        inventory: &Inventory,
        shape: Shape,
        full: bool,
    ) -> Self {
        let d = description;
        let [hidden, inner, head] = [d.hidden, d.intermediate, d.head_dim].map(|size| size as u64);
        let (q, kv) = (d.heads as u64 * head, d.kv_heads as u64 * head);
        let entry = inner * d.inner_parts();
        // Inputs of both halves of a layer, queries, keys and values, attention's output, gate and up, low sides; with DoRA the
        // outputs of what it decomposes.
        let kept = 2 * hidden + q + 2 * kv + q + entry + d.normed_width();
        let kept = kept + inventory.ranks + inventory.decomposed;
        // Backward through the feed-forward: the product and its gradient; or through attention: a norm's output and its
        // gradient, the gradients of queries, keys, values and of attention's output. The stream's gradient beside both, with
        // DoRA a scaled gradient, with dropout what is left of an input.
        let scaled = u64::from(inventory.decomposed > 0);
        let thinned = u64::from(inventory.dropout);
        let beside = hidden
            + (2 * inner + hidden + scaled * hidden + thinned * inner)
                .max(2 * hidden + 2 * q + 2 * kv + scaled * q + thinned * hidden);
        let packed = inventory.bytes < 4 * inventory.parameters && !full;
        // 16 bits a weight are read as they are there.
        let unpacked = inventory.bytes < 2 * inventory.parameters && !full;
        Self {
            shape,
            hidden,
            vocab: inventory.tokens as u64,
            own_logits: inventory.head_tokens,
            kept,
            beside,
            scratch: if packed { 4 * PANEL as u64 } else { 0 },
            panel: if unpacked { DEVICE_PANEL as u64 } else { 0 },
        }
    }

    /// Bytes of the layers' activations with segments of so many layers (0: one of all), and those of the head beyond them.
    pub(crate) fn bytes_at(&self, place: Place, layers: usize, segment: usize) -> (u64, u64) {
        let (layers, head) = self.bytes(layers, segment);
        match place {
            Place::Processor => (layers + self.scratch, head.saturating_sub(layers)),
            // Those are bytes of f32, which logits are there too; their gradient is another copy.
            Place::Device { element } => {
                let logits = 2 * self.logits(DEVICE_LOGITS);
                let head = head.saturating_sub(layers);
                ((layers / 4 + self.panel) * element, logits.max(head))
            }
        }
    }

    /// Bytes in f32 of a forward and backward pass over the layers, and of the head with what is kept until it.
    ///
    /// The head comes before the backward pass, when the last segment is kept but no layer works yet.
    fn bytes(&self, layers: usize, segment: usize) -> (u64, u64) {
        let layers = layers as u64;
        let segment = match segment as u64 {
            0 => layers,
            n => n.min(layers),
        };
        let segments = layers.div_ceil(segment);
        let last = layers - (segments - 1) * segment;
        let floats = |whole: u64| whole * self.kept + (segments - 1) * self.hidden;
        let backward = 4 * self.shape.tokens * (floats(segment) + self.beside);
        let head = 4 * self.shape.tokens * floats(last) + self.logits(LOGITS);
        let evaluation = 4 * self.shape.evaluated * (self.kept + self.beside);
        (backward.max(evaluation), head)
    }

    /// Bytes of the logits that are held at a time, `held` at most, and of the rows that they come from.
    fn logits(&self, held: usize) -> u64 {
        let rows = self.shape.scored;
        let chunk = (held as u64 / 4 / self.vocab).max(16).min(rows);
        // Those of tokens with rows of their own stand beside the others.
        let columns = self.vocab + self.own_logits;
        4 * (chunk * columns + 2 * rows * self.hidden)
    }
}
