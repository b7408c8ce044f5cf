use super::adapters::Adapters;
use super::ops::{HeadsArgument, Tiles};
use super::rows::{Bytes, Device, Rows};
use crate::model::Pass;

/// What every layer of a pass is given.
pub(crate) struct Setting<'a> {
    pub(crate) device: &'a Device,
    pub(crate) adapters: &'a Adapters,
    /// As every layer has them, but for the window.
    pub(crate) heads: HeadsArgument,
    pub(crate) tiles: &'a Tiles,
    /// Cosines and sines, one pair for each rotary embedding that the model has.
    pub(crate) tables: &'a [(Rows, Rows)],
    pub(crate) positions: &'a Bytes,
    pub(crate) pass: Pass,
}
