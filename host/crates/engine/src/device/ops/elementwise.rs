use super::super::machine::{Element, launch};
use super::super::rows::{Device, Rows};
use super::{BLOCK, Sums, blocks, fits, pieces, same};
use crate::Result;

impl Device {
    /// `y = x`.
    pub(crate) fn place(&self, y: &Rows, x: &Rows) -> Result<()> {
        same("place", y, x)?;
        let grid = blocks(pieces(x.rows, x.width, x.element));
        launch!(
            self,
            "place",
            x.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                y.stride as i64,
                x.address,
                x.stride as i64,
                x.rows as i64,
                x.width as i32,
            ]
        )
    }

    /// A copy without gaps.
    pub(crate) fn copy(&self, x: &Rows) -> Result<Rows> {
        let y = self.unwritten(x.rows, x.width, x.element)?;
        self.place(&y, x)?;
        Ok(y)
    }

    /// `y = own · y + factor · x`.
    pub(crate) fn add_scaled(&self, y: &Rows, x: &Rows, own: f32, factor: f32) -> Result<()> {
        same("add", y, x)?;
        let grid = blocks(pieces(x.rows, x.width, x.element));
        launch!(
            self,
            "add_scaled",
            x.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                y.stride as i64,
                x.address,
                x.stride as i64,
                x.rows as i64,
                x.width as i32,
                own,
                factor,
            ]
        )
    }

    /// `y += b`, row by row.
    pub(crate) fn add_bias(&self, y: &Rows, b: &Rows) -> Result<()> {
        fits("bias", b.len() == y.width)?;
        let grid = blocks(pieces(y.rows, y.width, y.element));
        launch!(
            self,
            "add_bias",
            y.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                y.stride as i64,
                b.address,
                y.rows as i64,
                y.width as i32,
            ]
        )
    }

    /// Drops a share `p` of the elements of `x` and scales the rest, as [`crate::ops::dropout`] draws; `add` adds to `y`.
    pub(crate) fn dropout(&self, y: &Rows, x: &Rows, p: f64, seed: u64, add: bool) -> Result<()> {
        same("dropout", y, x)?;
        fits("dropout", x.is_whole() && y.is_whole())?;
        let threshold = (p * f64::from(u32::MAX)) as u32;
        let scale = (1.0 / (1.0 - p)) as f32;
        launch!(
            self,
            "dropout",
            x.element,
            blocks(pieces(1, x.len(), x.element)),
            BLOCK,
            0,
            [
                y.address,
                x.address,
                x.len() as i64,
                seed,
                threshold,
                scale,
                i32::from(add),
            ]
        )
    }

    /// f32 values in the element type.
    pub(crate) fn narrow(&self, y: &Rows, x: &Rows) -> Result<()> {
        fits(
            "narrow",
            x.element == Element::F32 && x.len() == y.len() && x.is_whole() && y.is_whole(),
        )?;
        launch!(
            self,
            "narrow",
            y.element,
            blocks(pieces(1, x.len(), y.element)),
            BLOCK,
            0,
            [y.address, x.address, x.len() as i64]
        )
    }

    /// A matrix without gaps in the element type; itself where it is.
    pub(crate) fn as_activations(&self, x: Rows) -> Result<Rows> {
        if x.element == self.element {
            return Ok(x);
        }
        let y = self.activations(x.rows, x.width)?;
        self.narrow(&y, &x)?;
        Ok(y)
    }

    /// Adds noise that is uniform within a row's bound, as [`crate::ops::add_noise`] draws it.
    pub(crate) fn add_noise(&self, x: &Rows, bounds: &Rows, seed: u64) -> Result<()> {
        fits("noise", x.is_whole() && bounds.len() == x.rows)?;
        launch!(
            self,
            "noise",
            x.element,
            blocks(pieces(x.rows, x.width, x.element)),
            BLOCK,
            0,
            [
                x.address,
                bounds.address,
                x.rows as i64,
                x.width as i32,
                seed,
            ]
        )
    }

    /// Adds the sum of squares of f32 values, as many as fill pieces of 16 bytes, to one of the sums.
    pub(crate) fn add_squares(&self, sums: &Sums, at: usize, x: &Rows) -> Result<()> {
        let fit = x.element == Element::F32 && x.is_whole() && x.len().is_multiple_of(FOUR);
        fits("squares", fit)?;
        let blocks = x
            .len()
            .div_ceil(FOUR * BLOCK as usize)
            .clamp(1, MOST_BLOCKS);
        let parts = self.unwritten(1, blocks, Element::F32)?;
        launch!(
            self,
            "squares",
            self.element,
            [blocks as u32, 1],
            BLOCK,
            0,
            [parts.address, x.address, x.len() as i64,]
        )?;
        self.add_up(sums, at, &parts, 1)
    }
}

/// Numbers of 4 bytes in 16.
const FOUR: usize = 4;
/// Blocks that share a sum at most.
const MOST_BLOCKS: usize = 1024;
