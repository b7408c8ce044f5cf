use super::super::machine::launch;
use super::super::rows::{Bytes, Device, Rows};
use super::{BLOCK, blocks, fits};
use crate::Result;

impl Device {
    /// Turns the first `heads` heads of each row in place; tables are [positions, half].
    pub(crate) fn rotary(
        &self,
        x: &Rows,
        positions: &Bytes,
        (cos, sin): (&Rows, &Rows),
        (heads, dim): (usize, usize),
        inverse: bool,
    ) -> Result<()> {
        let half = cos.width;
        fits(
            "rotary",
            heads * dim <= x.width && 2 * half <= dim && sin.width == half,
        )?;
        let sign: f32 = if inverse { -1.0 } else { 1.0 };
        let grid = blocks(x.rows * heads * half.div_ceil(16 / x.element.size()));
        launch!(
            self,
            "rotary",
            x.element,
            grid,
            BLOCK,
            0,
            [
                x.address,
                x.stride as i64,
                positions.address(),
                cos.address,
                sin.address,
                x.rows as i32,
                heads as i32,
                dim as i32,
                half as i32,
                sign,
            ]
        )
    }
}
