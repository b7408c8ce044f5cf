//! Rows of a table by id, and their gradient.

use candle_core::{CpuStorage, CustomOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::storage::{Shared, floats, floats_mut, ids, unwritten};

struct Gather;

/// Adds rows to the rows of a table that ids name.
struct ScatterAdd;

impl CustomOp2 for Gather {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(
        &self,
        table: &CpuStorage,
        table_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (count, width) = table_layout.shape().dims2()?;
        let Some((start, end)) = table_layout.contiguous_offsets() else {
            bail!("embedding: the table is not contiguous")
        };
        let rows = ids("embedding", rows, rows_layout)?;
        if let Some(id) = rows.iter().find(|&&id| id as usize >= count) {
            bail!("embedding: id {id} in a table of {count} rows");
        }
        let mut out = unwritten(rows.len() * width);
        let mut each = |f: &(dyn Fn(&mut [f32], usize) + Sync)| {
            out.par_chunks_mut(width)
                .zip(rows)
                .with_min_len(16)
                .for_each(|(out, &id)| f(out, start + id as usize * width));
        };
        match table {
            CpuStorage::F32(table) => {
                let table = &table[..end];
                each(&|out, at| out.copy_from_slice(&table[at..at + width]));
            }
            CpuStorage::BF16(table) => each(&|out, at| {
                for (out, x) in out.iter_mut().zip(&table[at..at + width]) {
                    *out = x.to_f32();
                }
            }),
            CpuStorage::F16(table) => each(&|out, at| {
                for (out, x) in out.iter_mut().zip(&table[at..at + width]) {
                    *out = x.to_f32();
                }
            }),
            _ => bail!("embedding: needs f32, f16 or bf16"),
        }
        Ok((CpuStorage::F32(out), Shape::from((rows.len(), width))))
    }
}

impl InplaceOp3 for ScatterAdd {
    fn name(&self) -> &'static str {
        "embedding-backward"
    }

    fn cpu_fwd(
        &self,
        table: &mut CpuStorage,
        table_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
    ) -> Result<()> {
        let name = InplaceOp3::name(self);
        let (count, width) = table_layout.shape().dims2()?;
        let table = floats_mut(name, table, table_layout)?;
        let rows = ids(name, rows, rows_layout)?;
        let values = floats(name, values, values_layout)?;
        if values.len() != rows.len() * width || rows.iter().any(|&id| id as usize >= count) {
            bail!(
                "{name}: {} ids, {} values, table {count} x {width}",
                rows.len(),
                values.len()
            );
        }
        let shared = Shared(table.as_mut_ptr());
        // Columns are shared out, so that an id that comes twice is added up in one fixed order.
        let columns = width.div_ceil(rayon::current_num_threads()).max(64);
        (0..width.div_ceil(columns))
            .into_par_iter()
            .for_each(|task| {
                let (from, to) = (task * columns, ((task + 1) * columns).min(width));
                for (value, &id) in values.chunks_exact(width).zip(rows) {
                    // SAFETY: ids were checked above, and each task owns its columns of the table.
                    let out = unsafe {
                        std::slice::from_raw_parts_mut(
                            shared.at(id as usize * width + from),
                            to - from,
                        )
                    };
                    for (out, x) in out.iter_mut().zip(&value[from..to]) {
                        *out += x;
                    }
                }
            });
        Ok(())
    }
}

/// Writes columns over those of a matrix that ids name.
struct PutColumns;

impl InplaceOp3 for PutColumns {
    fn name(&self) -> &'static str {
        "put-columns"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        columns: &CpuStorage,
        columns_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let name = InplaceOp3::name(self);
        let (count, width) = y_layout.shape().dims2()?;
        let y = floats_mut(name, y, y_layout)?;
        let columns = ids(name, columns, columns_layout)?;
        let x = floats(name, x, x_layout)?;
        if x.len() != count * columns.len() || columns.iter().any(|&id| id as usize >= width) {
            bail!("{name}: {} values, matrix {count} x {width}", x.len());
        }
        if columns.is_empty() || count == 0 {
            return Ok(());
        }
        let rows = y.chunks_exact_mut(width).zip(x.chunks_exact(columns.len()));
        for (y, x) in rows {
            for (&column, x) in columns.iter().zip(x) {
                y[column as usize] = *x;
            }
        }
        Ok(())
    }
}

/// Rows of `table` [V, H] (f32, f16 or bf16) named by `ids` [T]: [T, H] in f32.
pub(crate) fn gather(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    table.apply_op2_no_bwd(ids, &Gather)
}

/// Adds row `i` of `values` [T, H] to row `ids[i]` of `table` [V, H].
pub(crate) fn scatter_add(table: &Tensor, ids: &Tensor, values: &Tensor) -> Result<()> {
    table.inplace_op3(ids, values, &ScatterAdd)
}

/// Writes column `i` of `x` [T, n] over column `columns[i]` of `y` [T, V].
pub(crate) fn put_columns(y: &Tensor, columns: &Tensor, x: &Tensor) -> Result<()> {
    y.inplace_op3(columns, x, &PutColumns)
}
