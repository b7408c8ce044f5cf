use super::super::machine::launch;
use super::super::rows::{Device, Rows};
use super::{BLOCK, blocks, fits, pieces};
use crate::Result;
use crate::ops::Activation;

impl Device {
    /// `f(x)` of every element, or of the gates in the first half of each row times the second half.
    pub(crate) fn activate(
        &self,
        y: &Rows,
        x: &Rows,
        activation: Activation,
        gated: bool,
    ) -> Result<()> {
        let wide = if gated { 2 * y.width } else { y.width };
        fits(
            "activate",
            x.is_whole() && y.is_whole() && (x.rows, x.width) == (y.rows, wide),
        )?;
        let grid = blocks(pieces(y.rows, y.width, y.element));
        launch!(
            self,
            "activate",
            x.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                x.address,
                y.rows as i64,
                y.width as i32,
                kind(activation),
                i32::from(gated),
            ]
        )
    }

    /// Overwrites `x`, which [`Self::activate`] was given, with its gradient.
    pub(crate) fn activate_backward(
        &self,
        x: &Rows,
        dy: &Rows,
        activation: Activation,
        gated: bool,
    ) -> Result<()> {
        let wide = if gated { 2 * dy.width } else { dy.width };
        fits(
            "activate backward",
            x.is_whole() && dy.is_whole() && (x.rows, x.width) == (dy.rows, wide),
        )?;
        let grid = blocks(pieces(dy.rows, dy.width, dy.element));
        launch!(
            self,
            "activate_backward",
            x.element,
            grid,
            BLOCK,
            0,
            [
                x.address,
                dy.address,
                dy.rows as i64,
                dy.width as i32,
                kind(activation),
                i32::from(gated),
            ]
        )
    }
}

/// The kernels' number for an activation.
fn kind(activation: Activation) -> i32 {
    match activation {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Relu => 3,
    }
}
