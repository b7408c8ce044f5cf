use super::super::machine::launch;
use super::super::rows::{Device, Rows};
use super::{BLOCK, fits, same, warps};
use crate::Result;

/// Parameters of a norm on the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormShape {
    /// Norms side by side in each row.
    pub(crate) pieces: usize,
    /// Added to the weight (Gemma).
    pub(crate) offset: f32,
    pub(crate) eps: f32,
}

impl Device {
    /// Norm of every row, or of every piece of it: root mean square, or with a bias layer norm.
    pub(crate) fn norm(
        &self,
        y: &Rows,
        x: &Rows,
        w: &Rows,
        b: Option<&Rows>,
        norm: NormShape,
    ) -> Result<()> {
        same("norm", y, x)?;
        fits("norm", x.width == norm.pieces * w.len())?;
        let (rows, width) = (x.rows * norm.pieces, w.len() as i32);
        match b {
            None => launch!(
                self,
                "rms_norm",
                x.element,
                warps(rows),
                BLOCK,
                0,
                [
                    y.address,
                    y.stride as i64,
                    x.address,
                    x.stride as i64,
                    w.address,
                    norm.offset,
                    rows as i32,
                    norm.pieces as i32,
                    width,
                    norm.eps,
                ]
            ),
            Some(b) => {
                fits("layer norm", norm.pieces == 1 && b.len() == w.len())?;
                launch!(
                    self,
                    "layer_norm",
                    x.element,
                    warps(rows),
                    BLOCK,
                    0,
                    [
                        y.address,
                        y.stride as i64,
                        x.address,
                        x.stride as i64,
                        w.address,
                        b.address,
                        rows as i32,
                        width,
                        norm.eps,
                    ]
                )
            }
        }
    }

    /// Writes the gradient of a norm's input `x` into `dx`, or adds it; `dx` may be the output's gradient `dy`.
    pub(crate) fn norm_backward(
        &self,
        dx: &Rows,
        (x, dy): (&Rows, &Rows),
        (w, layer): (&Rows, bool),
        norm: NormShape,
        add: bool,
    ) -> Result<()> {
        same("norm backward", dx, x)?;
        same("norm backward", dy, x)?;
        fits("norm backward", x.width == norm.pieces * w.len())?;
        let (rows, width, add) = (x.rows * norm.pieces, w.len() as i32, i32::from(add));
        match layer {
            false => launch!(
                self,
                "rms_norm_backward",
                x.element,
                warps(rows),
                BLOCK,
                0,
                [
                    dx.address,
                    dx.stride as i64,
                    x.address,
                    x.stride as i64,
                    dy.address,
                    dy.stride as i64,
                    w.address,
                    norm.offset,
                    rows as i32,
                    norm.pieces as i32,
                    width,
                    norm.eps,
                    add,
                ]
            ),
            true => {
                fits("layer norm backward", norm.pieces == 1)?;
                launch!(
                    self,
                    "layer_norm_backward",
                    x.element,
                    warps(rows),
                    BLOCK,
                    0,
                    [
                        dx.address,
                        dx.stride as i64,
                        x.address,
                        x.stride as i64,
                        dy.address,
                        dy.stride as i64,
                        w.address,
                        rows as i32,
                        width,
                        norm.eps,
                        add,
                    ]
                )
            }
        }
    }
}
