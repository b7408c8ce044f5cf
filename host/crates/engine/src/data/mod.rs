//! What a model learns from: rows of a dataset become token sequences with labels.

/// One sequence: token ids and, for each, the label that it is trained to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// As long as `input_ids` and not shifted: position `t` is predicted from `t - 1`; -100 is not trained on.
    pub labels: Vec<i64>,
}
