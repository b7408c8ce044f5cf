//! Factors: of all elements, of columns, of a soft cap; and the norms of rows.

use candle_core::{
    CpuStorage, CustomOp1, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail,
};
use rayon::prelude::*;

use super::simd::{sum_of_squares, tanh, vectorized};
use super::storage::{floats, floats_mut, rows_per_task, unwritten, with_floats};

const TASK: usize = 1 << 14;

vectorized! {
    fn times(x: &mut [f32], factor: f32) {
        for x in x { *x *= factor; }
    }
}

struct Scale {
    factor: f32,
}

impl InplaceOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        floats_mut("scale", x, layout)?
            .par_chunks_mut(TASK)
            .for_each(|x| times(x, self.factor));
        Ok(())
    }
}

/// `x *= factor`; nothing is done for a factor of 1.
pub(crate) fn scale(x: &Tensor, factor: f32) -> Result<()> {
    if factor == 1.0 {
        return Ok(());
    }
    x.inplace_op1(&Scale { factor })
}

vectorized! {
    fn add_times(y: &mut [f32], x: &[f32], factor: f32) {
        for (y, x) in y.iter_mut().zip(x) { *y = factor.mul_add(*x, *y); }
    }
}

struct AddScaled {
    factor: f32,
}

impl InplaceOp2 for AddScaled {
    fn name(&self) -> &'static str {
        "add-scaled"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let y = floats_mut("add-scaled", y, y_layout)?;
        let x = floats("add-scaled", x, x_layout)?;
        if x.len() != y.len() {
            bail!("add-scaled: {} and {} values", y.len(), x.len());
        }
        y.par_chunks_mut(TASK)
            .zip(x.par_chunks(TASK))
            .for_each(|(y, x)| add_times(y, x, self.factor));
        Ok(())
    }
}

/// `y += factor · x`.
pub(crate) fn add_scaled(y: &Tensor, x: &Tensor, factor: f32) -> Result<()> {
    y.inplace_op2(x, &AddScaled { factor })
}

vectorized! {
    fn cap_all(x: &mut [f32], cap: f32) {
        let inverse = 1.0 / cap;
        for x in x { *x = cap * tanh(*x * inverse); }
    }
}

struct SoftCap {
    cap: f32,
}

impl InplaceOp1 for SoftCap {
    fn name(&self) -> &'static str {
        "soft-cap"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        floats_mut("soft-cap", x, layout)?
            .par_chunks_mut(TASK)
            .for_each(|x| cap_all(x, self.cap));
        Ok(())
    }
}

/// `x = cap · tanh(x / cap)` (Gemma 2).
pub(crate) fn soft_cap(x: &Tensor, cap: f32) -> Result<()> {
    x.inplace_op1(&SoftCap { cap })
}

vectorized! {
    fn cap_slope(dy: &mut [f32], y: &[f32], cap: f32) {
        let inverse = 1.0 / cap;
        for (dy, y) in dy.iter_mut().zip(y) {
            let t = y * inverse;
            *dy *= 1.0 - t * t;
        }
    }
}

struct SoftCapBackward {
    cap: f32,
}

impl InplaceOp2 for SoftCapBackward {
    fn name(&self) -> &'static str {
        "soft-cap-backward"
    }

    fn cpu_fwd(
        &self,
        dy: &mut CpuStorage,
        dy_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<()> {
        let dy = floats_mut("soft-cap-backward", dy, dy_layout)?;
        let y = floats("soft-cap-backward", y, y_layout)?;
        if y.len() != dy.len() {
            bail!("soft-cap-backward: {} and {} values", dy.len(), y.len());
        }
        dy.par_chunks_mut(TASK)
            .zip(y.par_chunks(TASK))
            .for_each(|(dy, y)| cap_slope(dy, y, self.cap));
        Ok(())
    }
}

/// Turns the gradient `dy` of a soft cap's output `y` into that of its input.
pub(crate) fn soft_cap_backward(dy: &Tensor, y: &Tensor, cap: f32) -> Result<()> {
    dy.inplace_op2(y, &SoftCapBackward { cap })
}

/// Adds columns times factors.
struct Columns {
    /// [N]
    factors: Tensor,
    add: bool,
}

vectorized! {
    fn column_row(y: &mut [f32], x: &[f32], factors: &[f32], add: bool) {
        let n = y.len();
        let (x, factors) = (&x[..n], &factors[..n]);
        if add {
            for i in 0..n { y[i] = x[i].mul_add(factors[i], y[i]); }
        } else {
            for i in 0..n { y[i] = x[i] * factors[i]; }
        }
    }
}

/// Offset, rows, width and stride of a block of columns.
fn block(layout: &Layout) -> Result<(usize, usize, usize, usize)> {
    let (rows, width) = layout.shape().dims2()?;
    let stride = layout.stride();
    if width > 1 && stride[1] != 1 {
        bail!("columns: rows must lie in one piece, not {layout:?}");
    }
    Ok((layout.start_offset(), rows, width, stride[0]))
}

impl InplaceOp2 for Columns {
    fn name(&self) -> &'static str {
        "columns"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let (y_at, rows, width, y_stride) = block(y_layout)?;
        let (x_at, x_rows, x_width, x_stride) = block(x_layout)?;
        let (CpuStorage::F32(y), CpuStorage::F32(x)) = (y, x) else {
            bail!("columns: needs f32")
        };
        if (rows, width) != (x_rows, x_width) {
            bail!("columns: {rows} x {width} and {x_rows} x {x_width}");
        }
        if rows == 0 || width == 0 {
            return Ok(());
        }
        with_floats("columns", &self.factors, |factors| {
            if factors.len() != width {
                bail!("columns: {width} columns and {} factors", factors.len());
            }
            // The last row may end before its stride does.
            let end = y_at + (rows - 1) * y_stride + width;
            let task = rows_per_task(width);
            y[y_at..end]
                .par_chunks_mut(task * y_stride)
                .enumerate()
                .for_each(|(part, y)| {
                    for (i, y) in y.chunks_mut(y_stride).enumerate() {
                        let from = x_at + (part * task + i) * x_stride;
                        column_row(&mut y[..width], &x[from..from + width], factors, self.add);
                    }
                });
            Ok(())
        })
    }
}

/// `y = x · factors` or `y += x · factors`, column by column: [T, N], each a block of columns of a wider matrix if need
/// be, and [N].
pub(crate) fn columns(y: &Tensor, x: &Tensor, factors: &Tensor, add: bool) -> Result<()> {
    let op = Columns {
        factors: factors.clone(),
        add,
    };
    y.inplace_op2(x, &op)
}

/// Copies into a block of columns.
struct Place;

impl InplaceOp2 for Place {
    fn name(&self) -> &'static str {
        "place"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let (y_at, rows, width, y_stride) = block(y_layout)?;
        let x = floats("place", x, x_layout)?;
        let CpuStorage::F32(y) = y else {
            bail!("place: needs f32")
        };
        if x.len() != rows * width {
            bail!("place: {} values into {rows} x {width}", x.len());
        }
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let end = y_at + (rows - 1) * y_stride + width;
        let task = rows_per_task(width);
        y[y_at..end]
            .par_chunks_mut(task * y_stride)
            .zip(x.par_chunks(task * width))
            .for_each(|(y, x)| {
                for (y, x) in y.chunks_mut(y_stride).zip(x.chunks_exact(width)) {
                    y[..width].copy_from_slice(x);
                }
            });
        Ok(())
    }
}

/// `y = x` for `y` [T, N], which may be a block of columns of a wider matrix, and `x` of as many values.
pub(crate) fn place(y: &Tensor, x: &Tensor) -> Result<()> {
    y.inplace_op2(x, &Place)
}

vectorized! {
    fn lengths(out: &mut [f32], x: &[f32], width: usize) {
        for (out, x) in out.iter_mut().zip(x.chunks_exact(width)) {
            *out = sum_of_squares(x).sqrt();
        }
    }
}

struct RowNorms;

impl CustomOp1 for RowNorms {
    fn name(&self) -> &'static str {
        "row-norms"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let x = floats("row-norms", x, layout)?;
        let mut out = unwritten(rows);
        let task = rows_per_task(width);
        out.par_chunks_mut(task)
            .zip(x.par_chunks(task * width))
            .for_each(|(out, x)| lengths(out, x, width));
        Ok((CpuStorage::F32(out), Shape::from(rows)))
    }
}

/// Length of every row of `x` [T, N]: [T].
pub(crate) fn row_norms(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&RowNorms)
}

/// Adds up products of columns.
struct ColumnDots;

vectorized! {
    fn column_dots_of(out: &mut [f32], dy: &[f32], z: &[f32], strides: (usize, usize), rows: usize) {
        let n = out.len();
        for row in 0..rows {
            let (dy, z) = (&dy[row * strides.0..][..n], &z[row * strides.1..][..n]);
            for i in 0..n { out[i] = dy[i].mul_add(z[i], out[i]); }
        }
    }
}

impl InplaceOp3 for ColumnDots {
    fn name(&self) -> &'static str {
        "column-dots"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
        z: &CpuStorage,
        z_layout: &Layout,
    ) -> Result<()> {
        let (dy_at, rows, width, dy_stride) = block(dy_layout)?;
        let (z_at, z_rows, z_width, z_stride) = block(z_layout)?;
        let out = floats_mut("column-dots", out, out_layout)?;
        let (CpuStorage::F32(dy), CpuStorage::F32(z)) = (dy, z) else {
            bail!("column-dots: needs f32")
        };
        if (rows, width) != (z_rows, z_width) || out.len() != width {
            bail!("column-dots: {rows} x {width}, {z_rows} x {z_width}");
        }
        // Columns are shared out: each sum runs over the rows in order, on any number of threads.
        out.par_chunks_mut(128).enumerate().for_each(|(task, out)| {
            let from = task * 128;
            column_dots_of(
                out,
                &dy[dy_at + from..],
                &z[z_at + from..],
                (dy_stride, z_stride),
                rows,
            );
        });
        Ok(())
    }
}

/// `out += Σ over rows of dy · z`: [N], and [T, N] twice.
pub(crate) fn column_dots(out: &Tensor, dy: &Tensor, z: &Tensor) -> Result<()> {
    out.inplace_op3(dy, z, &ColumnDots)
}
