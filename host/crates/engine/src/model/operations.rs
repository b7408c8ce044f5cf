use super::Description;

impl Description {
    /// Operations that a step needs over sequences of these lengths: forward and input gradients of frozen weights, all
    /// three of `adapter` parameters, causal attention; nothing that is computed twice. The head works for `scored` tokens.
    pub(crate) fn operations(
        &self,
        sequences: impl Iterator<Item = usize>,
        scored: usize,
        adapter: u64,
    ) -> f64 {
        let width = (self.heads * self.head_dim) as f64;
        let linear = (2.0 * width + 2.0 * (self.kv_heads * self.head_dim) as f64)
            * self.hidden as f64
            + (2.0 + f64::from(u8::from(self.gated))) * (self.hidden * self.intermediate) as f64;
        let layers = self.layers.len() as f64;
        let (mut tokens, mut squares) = (0.0, 0.0);
        for length in sequences.map(|length| length as f64) {
            tokens += length;
            squares += length * length;
        }
        let head = 4.0 * (self.vocab * self.hidden) as f64 * scored as f64;
        (4.0 * linear * layers + 6.0 * adapter as f64) * tokens
            + head
            + 6.0 * squares * width * layers
    }
}
