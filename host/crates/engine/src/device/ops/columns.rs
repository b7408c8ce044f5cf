use super::super::machine::{Element, launch};
use super::super::rows::{Device, Rows};
use super::{BLOCK, WARP, blocks, fits, pieces, same, warps};
use crate::Result;

impl Device {
    /// `y = x · (factors + offset)`, column by column, or adds that.
    pub(crate) fn times_columns(
        &self,
        y: &Rows,
        x: &Rows,
        factors: &Rows,
        offset: f32,
        add: bool,
    ) -> Result<()> {
        same("columns", y, x)?;
        fits("columns", factors.len() == x.width)?;
        let grid = blocks(pieces(x.rows, x.width, x.element));
        launch!(
            self,
            "columns",
            x.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                y.stride as i64,
                x.address,
                x.stride as i64,
                factors.address,
                offset,
                x.rows as i64,
                x.width as i32,
                i32::from(add),
            ]
        )
    }

    /// `out += factors · Σ over rows of x · z`, column by column, in f32.
    pub(crate) fn column_dots(&self, out: &Rows, factors: &Rows, x: &Rows, z: &Rows) -> Result<()> {
        same("column dots", x, z)?;
        fits("column dots", factors.len() == x.width)?;
        self.sum_columns(out, factors.address, x, (z.address, z.stride))
    }

    /// `out += Σ over rows of x`, column by column, in f32.
    pub(crate) fn column_sums(&self, out: &Rows, x: &Rows) -> Result<()> {
        self.sum_columns(out, 0, x, (0, 0))
    }

    /// As [`Self::column_dots`]; factors and `z` count as ones where their address is 0.
    fn sum_columns(
        &self,
        out: &Rows,
        factors: u64,
        x: &Rows,
        (z, z_stride): (u64, usize),
    ) -> Result<()> {
        fits(
            "column sums",
            out.len() == x.width && out.element == Element::F32,
        )?;
        launch!(
            self,
            "column_sums",
            x.element,
            [x.width.div_ceil(WARP) as u32, 1],
            BLOCK,
            0,
            [
                out.address,
                factors,
                x.address,
                x.stride as i64,
                z,
                z_stride as i64,
                x.rows as i64,
                x.width as i32,
            ]
        )
    }

    /// 1 over the roots of squares, and magnitudes times that.
    pub(crate) fn root_factors(
        &self,
        inverse: &Rows,
        factors: &Rows,
        magnitudes: &Rows,
        squares: &Rows,
    ) -> Result<()> {
        let lens = [inverse.len(), factors.len(), magnitudes.len()];
        fits("root factors", lens == [squares.len(); 3])?;
        launch!(
            self,
            "root_factors",
            self.element,
            blocks(squares.len()),
            BLOCK,
            0,
            [
                inverse.address,
                factors.address,
                magnitudes.address,
                squares.address,
                squares.len() as i64,
            ]
        )
    }

    /// 1 over the length of each row, and magnitudes times that.
    pub(crate) fn row_norms(
        &self,
        inverse: &Rows,
        factors: &Rows,
        magnitudes: &Rows,
        x: &Rows,
    ) -> Result<()> {
        let lens = [inverse.len(), factors.len(), magnitudes.len()];
        fits("row norms", lens == [x.rows; 3])?;
        launch!(
            self,
            "row_norms",
            x.element,
            warps(x.rows),
            BLOCK,
            0,
            [
                inverse.address,
                factors.address,
                magnitudes.address,
                x.address,
                x.stride as i64,
                x.rows as i32,
                x.width as i32,
            ]
        )
    }
}
