//! Matrix products, into a new tensor or added to one that is there.
//!
//! Both take any strides, so that a transpose and a block of columns cost nothing.

use candle_core::{
    CpuStorage, CustomOp2, InplaceOp3, Layout, Result, Shape, Storage, Tensor, bail,
};
use rayon::prelude::*;

use super::product::{self, Term, View};
#[cfg(target_arch = "x86_64")]
use super::product::{HalfTerm, Right};
use super::simd::{dot, vectorized};
use super::storage::{Shared, unwritten};

struct Product;

struct Accumulate<'a> {
    alpha: f32,
    beta: f32,
    update: Option<Update<'a>>,
}

/// A second product that is added in the same pass: `factor · a · b`, held in f32 and multiplied as the first.
#[derive(Clone, Copy)]
pub(crate) struct Update<'a> {
    /// [m, r].
    pub(crate) a: &'a Tensor,
    /// [r, n].
    pub(crate) b: &'a Tensor,
    pub(crate) factor: f32,
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
            None,
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
    update: Option<Term<'_>>,
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
        if let Some(update) = update {
            product::sum(dst, (dst_rs as usize, 1), (m, n), &[update], alpha, 1.0);
        }
        return Ok(());
    }
    let term = Term::new(view(a, a_rs, a_cs), view(b, b_rs, b_cs), k);
    let strides = (dst_rs as usize, dst_cs as usize);
    match update {
        Some(update) => product::sum(dst, strides, (m, n), &[term, update], alpha, beta),
        None => product::sum(dst, strides, (m, n), &[term], alpha, beta),
    }
    Ok(())
}

fn view(data: &[f32], rs: isize, cs: isize) -> View<'_> {
    View {
        data,
        rs: rs as usize,
        cs: cs as usize,
    }
}

impl Update<'_> {
    /// Calls `f` with the term that it is of a sum [m, n].
    fn with<R>(&self, (m, n): (usize, usize), f: impl FnOnce(Term<'_>) -> Result<R>) -> Result<R> {
        let ((a, a_layout), (b, b_layout)) =
            (self.a.storage_and_layout(), self.b.storage_and_layout());
        let (Storage::Cpu(a), Storage::Cpu(b)) = (&*a, &*b) else {
            bail!("matmul: runs on the CPU only")
        };
        let (a, am, k, a_rs, a_cs) = matrix(a, a_layout)?;
        let (b, bk, bn, b_rs, b_cs) = matrix(b, b_layout)?;
        if am != m || bn != n || bk != k {
            bail!("matmul: {am} x {k} times {bk} x {bn} added to {m} x {n}");
        }
        if !fits(a.len(), m, k, a_rs, a_cs) || !fits(b.len(), k, n, b_rs, b_cs) {
            bail!("matmul: a layout reaches over its storage");
        }
        let factor = self.factor;
        f(Term {
            factor,
            ..Term::new(view(a, a_rs, a_cs), view(b, b_rs, b_cs), k)
        })
    }
}

/// Rows of `a` up to which a product is a set of dot products rather than a matrix product.
const FEW: usize = 8;

vectorized! {
    /// The dot products of rows of `x` with rows of a weight, each given as number and stride, into rows of [`COLUMNS`].
    fn dots(x: &[f32], rows: (usize, usize), weight: &[f32], columns: (usize, usize), k: usize, out: &mut [f32]) {
        let ((m, x_row), (count, stride)) = (rows, columns);
        for j in 0..count {
            let row = &weight[j * stride..][..k];
            for i in 0..m {
                out[i * COLUMNS + j] = dot(&x[i * x_row..][..k], row);
            }
        }
    }
}

/// Columns whose products a task keeps on its stack.
const COLUMNS: usize = 64;

fn rows_by_rows(
    dst: &mut [f32],
    dst_row: usize,
    (m, n, k): (usize, usize, usize),
    (a, a_row): (&[f32], usize),
    (b, b_row): (&[f32], usize),
    alpha: f32,
    beta: f32,
) {
    let shared = Shared(dst.as_mut_ptr());
    let one = |first: usize| {
        let count = COLUMNS.min(n - first);
        let mut products = [0f32; FEW * COLUMNS];
        let weight = &b[first * b_row..];
        dots(a, (m, a_row), weight, (count, b_row), k, &mut products);
        for i in 0..m {
            for j in 0..count {
                let to = shared.at(i * dst_row + first + j);
                // SAFETY: the caller checked that `dst` reaches over m x n; each task has columns of its own.
                unsafe {
                    let old = if beta == 0.0 { 0.0 } else { beta * *to };
                    *to = alpha * products[i * COLUMNS + j] + old;
                }
            }
        }
    };
    let tasks = n.div_ceil(COLUMNS);
    if m * n * k < 64 * 1024 {
        (0..tasks).for_each(|task| one(task * COLUMNS));
    } else {
        (0..tasks)
            .into_par_iter()
            .for_each(|task| one(task * COLUMNS));
    }
}

impl InplaceOp3 for Accumulate<'_> {
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
        if !matches!(b, CpuStorage::F32(_)) {
            return self.in_bf16(data, dst_layout, (a, a_layout), (b, b_layout));
        }
        let mut run = |update: Option<Term<'_>>| {
            let (alpha, beta) = (self.alpha, self.beta);
            let (a, b) = ((a, a_layout), (b, b_layout));
            multiply(data, rs, cs, (m, n), a, b, update, alpha, beta)
        };
        match &self.update {
            Some(update) => update.with((m, n), |term| run(Some(term))),
            None => run(None),
        }
    }
}

impl Accumulate<'_> {
    /// Products by 16-bit values, where [`half_products`] allows them.
    fn in_bf16(
        &self,
        dst: &mut [f32],
        dst_layout: &Layout,
        (a, a_layout): (&CpuStorage, &Layout),
        (b, b_layout): (&CpuStorage, &Layout),
    ) -> Result<()> {
        let (m, n) = dst_layout.shape().dims2()?;
        let (data, am, k, a_rs, a_cs) = matrix(a, a_layout)?;
        let (bk, bn) = b_layout.shape().dims2()?;
        if (am, bk, bn) != (m, k, n) || dst_layout.stride()[1] != 1 {
            bail!("matmul: {am} x {k} times {bk} x {bn} into {dst_layout:?}");
        }
        #[cfg(target_arch = "x86_64")]
        if half_products() {
            let (rs, cs) = (b_layout.stride()[0], b_layout.stride()[1]);
            let start = b_layout.start_offset();
            let b = match b {
                CpuStorage::BF16(b) => Right::Bf16(&b[start..], rs, cs),
                CpuStorage::F16(b) => Right::F16(&b[start..], rs, cs),
                _ => bail!("matmul: needs f32, bf16 or f16"),
            };
            let a = View {
                data,
                rs: a_rs as usize,
                cs: a_cs as usize,
            };
            let factor = 1.0;
            let term = HalfTerm { a, b, k, factor };
            let mut sum = |terms: &[HalfTerm<'_>]| {
                let stride = dst_layout.stride()[0];
                product::sum_half(dst, stride, (m, n), terms, self.alpha, self.beta);
                Ok(())
            };
            return match &self.update {
                Some(update) => update.with((m, n), |update| sum(&[term, update.into()])),
                None => sum(&[term]),
            };
        }
        let _ = (data, a_rs, a_cs, dst);
        bail!("matmul: this machine multiplies in f32 only")
    }
}

/// `a · b`: [m, k] and [k, n] to [m, n].
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.apply_op2_no_bwd(b, &Product)
}

/// `dst = alpha · a · b + beta · dst`; with `beta` 0 whatever `dst` held is not read.
///
/// Where `b` is in bf16 or f16, which [`half_products`] must allow, both are rounded to bf16 and sums are in f32.
pub(crate) fn matmul_into(
    dst: &Tensor,
    a: &Tensor,
    b: &Tensor,
    alpha: f32,
    beta: f32,
) -> Result<()> {
    matmul_with(dst, a, b, None, alpha, beta)
}

/// As [`matmul_into`], with `alpha` times a second product added where there is one.
pub(crate) fn matmul_with(
    dst: &Tensor,
    a: &Tensor,
    b: &Tensor,
    update: Option<Update<'_>>,
    alpha: f32,
    beta: f32,
) -> Result<()> {
    let op = Accumulate {
        alpha,
        beta,
        update,
    };
    dst.inplace_op3(a, b, &op)
}

/// Whether the machine multiplies bf16 faster than f32; where it does not, 16-bit weights must be widened.
pub(crate) fn half_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        product::UNIT.is_some()
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}
