use candle_core::Tensor;

use super::Pass;
use crate::ops::{Heads, RotaryTable};

/// What all layers of one forward share.
pub(crate) struct Setting<'a> {
    pub(crate) heads: &'a Heads,
    /// One for each rotary embedding that the model has.
    pub(crate) tables: &'a [RotaryTable],
    /// Rows of the tables: [T].
    pub(crate) positions: &'a Tensor,
    pub(crate) pass: Pass,
}
