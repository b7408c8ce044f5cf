use super::super::machine::{Element, launch};
use super::super::rows::{Bytes, Device, Rows};
use super::{BLOCK, blocks, fits, pieces};
use crate::Result;

/// Which rows of a matrix belong to which id, so that each id's are summed by one block in their order.
#[derive(Debug)]
pub(crate) struct Groups {
    ids: Bytes,
    /// Rows, those of one id behind one another.
    order: Bytes,
    /// Where in `order` each id's begin, and the end.
    starts: Bytes,
    count: usize,
}

/// Where a sum for each id goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Along {
    /// Row `id`.
    Rows,
    /// Column `id`.
    Columns,
}

impl Device {
    /// Groups rows by their ids; rows without one are left out.
    pub(crate) fn groups(&self, ids: impl IntoIterator<Item = Option<u32>>) -> Result<Groups> {
        let rows = ids.into_iter().zip(0u32..);
        let mut named: Vec<(u32, u32)> = rows.filter_map(|(id, row)| Some((id?, row))).collect();
        named.sort_unstable();
        let (mut unique, mut starts) = (Vec::new(), Vec::new());
        for (at, (id, _)) in named.iter().enumerate() {
            if unique.last() != Some(id) {
                unique.push(*id);
                starts.push(at as u32);
            }
        }
        starts.push(named.len() as u32);
        let order: Vec<u32> = named.into_iter().map(|(_, row)| row).collect();
        Ok(Groups {
            count: unique.len(),
            ids: self.ids(&unique)?,
            order: self.ids(&order)?,
            starts: self.ids(&starts)?,
        })
    }

    /// Adds the sums of each group's rows of `x`, times a factor, to rows or columns of `out`, in f32.
    pub(crate) fn add_groups(
        &self,
        out: &Rows,
        along: Along,
        x: &Rows,
        groups: &Groups,
        factor: f32,
    ) -> Result<()> {
        let (width, step, next) = match along {
            Along::Rows => (out.width, out.stride, 1),
            Along::Columns => (out.rows, 1, out.stride),
        };
        fits("groups", width == x.width && out.element == Element::F32)?;
        if groups.count == 0 {
            return Ok(());
        }
        launch!(
            self,
            "add_groups",
            x.element,
            [groups.count as u32, 1],
            BLOCK,
            0,
            [
                out.address,
                step as i64,
                next as i64,
                x.address,
                x.stride as i64,
                groups.ids.address(),
                groups.order.address(),
                groups.starts.address(),
                width as i32,
                factor,
            ]
        )
    }

    /// Columns of `table` that `ids` name, as rows: [T, rows of the table]. The ids were checked by the caller.
    pub(crate) fn gather_columns(&self, table: &Rows, ids: u64, count: usize) -> Result<Rows> {
        let out = self.unwritten(count, table.rows, table.element)?;
        launch!(
            self,
            "gather_columns",
            out.element,
            blocks(out.len()),
            BLOCK,
            0,
            [
                out.address,
                table.address,
                table.stride as i64,
                ids,
                out.rows as i64,
                out.width as i32,
            ]
        )?;
        Ok(out)
    }

    /// Columns of `out` that `ids` name become rows of `x` [ids, rows of `out`], or zeros without one. The ids were checked by
    /// the caller, and each comes once.
    pub(crate) fn put_columns(
        &self,
        out: &Rows,
        x: Option<&Rows>,
        (ids, count): (u64, usize),
    ) -> Result<()> {
        let fit = |x: &Rows| {
            (x.rows, x.width, x.element) == (count, out.rows, out.element) && x.is_whole()
        };
        fits("put columns", x.is_none_or(fit))?;
        launch!(
            self,
            "put_columns",
            out.element,
            blocks(count * out.rows),
            BLOCK,
            0,
            [
                out.address,
                out.stride as i64,
                x.map_or(0, |x| x.address),
                ids,
                count as i64,
                out.rows as i32,
            ]
        )
    }

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
            blocks(pieces(x.rows * outer * inner, dim, x.element)),
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
