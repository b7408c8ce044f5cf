//! Matrix products, into a new tensor or added to one that is there.
//!
//! Both take any strides, so that a transpose and a block of columns cost nothing.

use candle_core::{CpuStorage, CustomOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;

use super::simd::{dot, vectorized};
use super::storage::{rows_per_task, unwritten};

struct Product;

struct Accumulate {
    alpha: f32,
    beta: f32,
}

fn parallelism(m: usize, n: usize, k: usize) -> Parallelism {
    if m * n * k < 32 * 1024 {
        Parallelism::None
    } else {
        Parallelism::Rayon(rayon::current_num_threads())
    }
}

fn matrix<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<(&'a [f32], usize, usize, isize, isize)> {
    let (rows, columns) = layout.shape().dims2()?;
    let stride = layout.stride();
    let CpuStorage::F32(data) = storage else {
        bail!("matmul: needs f32, has {:?}", storage)
    };
    Ok((
        &data[layout.start_offset()..],
        rows,
        columns,
        stride[0] as isize,
        stride[1] as isize,
    ))
}

fn fits(len: usize, rows: usize, columns: usize, rs: isize, cs: isize) -> bool {
    rows == 0 || columns == 0 || (rows - 1) * rs as usize + (columns - 1) * (cs as usize) < len
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, m, ..) = matrix(a, a_layout)?;
        let (_, _, n, ..) = matrix(b, b_layout)?;
        let mut out = unwritten(m * n);
        multiply(
            &mut out,
            n as isize,
            1,
            (m, n),
            (a, a_layout),
            (b, b_layout),
            1.0,
            0.0,
        )?;
        Ok((CpuStorage::F32(out), Shape::from((m, n))))
    }
}

#[expect(clippy::too_many_arguments, reason = "the signature of gemm")]
fn multiply(
    dst: &mut [f32],
    dst_rs: isize,
    dst_cs: isize,
    (m, n): (usize, usize),
    (a, a_layout): (&CpuStorage, &Layout),
    (b, b_layout): (&CpuStorage, &Layout),
    alpha: f32,
    beta: f32,
) -> Result<()> {
    let (a, am, k, a_rs, a_cs) = matrix(a, a_layout)?;
    let (b, bk, bn, b_rs, b_cs) = matrix(b, b_layout)?;
    if am != m || bn != n || bk != k {
        bail!("matmul: {am} x {k} times {bk} x {bn} into {m} x {n}");
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    if !fits(dst.len(), m, n, dst_rs, dst_cs)
        || !fits(a.len(), m, k, a_rs, a_cs)
        || !fits(b.len(), k, n, b_rs, b_cs)
    {
        bail!("matmul: a layout reaches over its storage");
    }
    // A few rows against the rows of a weight, as in generation: bound by memory, so each weight is read once, in
    // order, by whichever thread is free.
    if m <= FEW && a_cs == 1 && b_rs == 1 && dst_cs == 1 && k > 0 {
        rows_by_rows(
            dst,
            dst_rs as usize,
            (m, n, k),
            (a, a_rs as usize),
            (b, b_cs as usize),
            alpha,
            beta,
        );
        return Ok(());
    }
    // SAFETY: the shapes agree, and every element that the strides reach lies inside its slice (checked above).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            dst_cs,
            dst_rs,
            beta != 0.0,
            a.as_ptr(),
            a_cs,
            a_rs,
            b.as_ptr(),
            b_cs,
            b_rs,
            beta,
            alpha,
            false,
            false,
            false,
            parallelism(m, n, k),
        );
    }
    Ok(())
}

/// Rows of `a` up to which a product is a set of dot products rather than a matrix product.
const FEW: usize = 4;

vectorized! {
    fn dots(out: &mut [f32], x: &[f32], rows: &[f32], stride: usize) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = dot(x, &rows[j * stride..][..x.len()]);
        }
    }
}

fn rows_by_rows(
    dst: &mut [f32],
    dst_row: usize,
    (m, n, k): (usize, usize, usize),
    (a, a_row): (&[f32], usize),
    (b, b_row): (&[f32], usize),
    alpha: f32,
    beta: f32,
) {
    let task = rows_per_task(k);
    for i in 0..m {
        let x = &a[i * a_row..][..k];
        let out = &mut dst[i * dst_row..][..n];
        let one = |(part, out): (usize, &mut [f32])| {
            let mut products = vec![0f32; out.len()];
            dots(&mut products, x, &b[part * task * b_row..], b_row);
            for (out, product) in out.iter_mut().zip(products) {
                *out = if beta == 0.0 {
                    alpha * product
                } else {
                    alpha * product + beta * *out
                };
            }
        };
        if n * k < 64 * 1024 {
            out.chunks_mut(task).enumerate().for_each(one);
        } else {
            out.par_chunks_mut(task).enumerate().for_each(one);
        }
    }
}

impl InplaceOp3 for Accumulate {
    fn name(&self) -> &'static str {
        "matmul-accumulate"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        let (m, n) = dst_layout.shape().dims2()?;
        let stride = dst_layout.stride();
        let (rs, cs) = (stride[0] as isize, stride[1] as isize);
        let CpuStorage::F32(data) = dst else {
            bail!("matmul: needs f32")
        };
        let data = &mut data[dst_layout.start_offset()..];
        multiply(
            data,
            rs,
            cs,
            (m, n),
            (a, a_layout),
            (b, b_layout),
            self.alpha,
            self.beta,
        )
    }
}

/// `a · b`: [m, k] and [k, n] to [m, n].
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.apply_op2_no_bwd(b, &Product)
}

/// `dst = alpha · a · b + beta · dst`; with `beta` 0 whatever `dst` held is not read.
pub(crate) fn matmul_into(
    dst: &Tensor,
    a: &Tensor,
    b: &Tensor,
    alpha: f32,
    beta: f32,
) -> Result<()> {
    dst.inplace_op3(a, b, &Accumulate { alpha, beta })
}
