use super::super::machine::launch;
use super::super::rows::{Device, Rows};
use super::{BLOCK, blocks, fits, pieces};
use crate::Result;

impl Device {
    /// Rows of `table` that `ids` name, times a factor, into `out`, or added to it. The ids were checked by the caller.
    pub(crate) fn gather(
        &self,
        out: &Rows,
        table: &Rows,
        ids: u64,
        factor: f32,
        add: bool,
    ) -> Result<()> {
        fits(
            "gather",
            out.is_whole()
                && table.is_whole()
                && out.width == table.width
                && out.element == table.element,
        )?;
        let grid = blocks(pieces(out.rows, out.width, out.element));
        launch!(
            self,
            "gather",
            out.element,
            grid,
            BLOCK,
            0,
            [
                out.address,
                table.address,
                ids,
                out.rows as i64,
                out.width as i32,
                factor,
                i32::from(add),
            ]
        )
    }

    /// Row `ids[i]` of `out` becomes row `i` of `x`; no id comes twice.
    pub(crate) fn scatter(&self, out: &Rows, x: &Rows, ids: u64) -> Result<()> {
        fits(
            "scatter",
            out.is_whole() && x.is_whole() && out.width == x.width && out.element == x.element,
        )?;
        let grid = blocks(pieces(x.rows, x.width, x.element));
        launch!(
            self,
            "scatter",
            x.element,
            grid,
            BLOCK,
            0,
            [out.address, x.address, ids, x.rows as i64, x.width as i32,]
        )
    }

    /// Rows [outer, inner, dim] as rows [inner, outer, dim].
    pub(crate) fn exchanged(
        &self,
        x: &Rows,
        outer: usize,
        inner: usize,
        dim: usize,
    ) -> Result<Rows> {
        fits("exchange", x.is_whole() && x.width == outer * inner * dim)?;
        let y = self.unwritten(x.rows, x.width, x.element)?;
        launch!(
            self,
            "exchange",
            x.element,
            blocks(x.len()),
            BLOCK,
            0,
            [
                y.address,
                x.address,
                x.rows as i64,
                outer as i32,
                inner as i32,
                dim as i32,
            ]
        )?;
        Ok(y)
    }
}
