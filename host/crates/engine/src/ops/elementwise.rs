//! Small ops: fill, bias, sum over rows, dropout, squared norm.

use candle_core::{
    CpuStorage, CustomOp1, InplaceOp1, InplaceOp2, Layout, Result, Shape, Tensor, bail,
};
use rayon::prelude::*;

use super::simd::vectorized;
use super::storage::{floats, floats_mut, unwritten};

struct Zero;

impl InplaceOp1 for Zero {
    fn name(&self) -> &'static str {
        "zero"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        floats_mut("zero", x, layout)?
            .par_chunks_mut(1 << 18)
            .for_each(|x| x.fill(0.0));
        Ok(())
    }
}

/// Sets every element to 0.
pub(crate) fn zero(x: &Tensor) -> Result<()> {
    x.inplace_op1(&Zero)
}

struct Copy;

impl CustomOp1 for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats("copy", x, layout)?;
        let mut out = unwritten(x.len());
        out.par_chunks_mut(1 << 16)
            .zip(x.par_chunks(1 << 16))
            .for_each(|(out, x)| out.copy_from_slice(x));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// A copy in memory of its own.
pub(crate) fn copy(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Copy)
}

struct AddBias;

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let (rows, width) = layout.shape().dims2()?;
        let stride = layout.stride();
        let bias = floats("add-bias", bias, bias_layout)?;
        let CpuStorage::F32(x) = x else {
            bail!("add-bias: needs f32")
        };
        if bias.len() != width || stride[1] != 1 {
            bail!("add-bias: {rows} x {width} and a bias of {}", bias.len());
        }
        for row in 0..rows {
            let at = layout.start_offset() + row * stride[0];
            for (x, b) in x[at..at + width].iter_mut().zip(bias) {
                *x += b;
            }
        }
        Ok(())
    }
}

/// Adds `bias` [N] to every row of `x` [T, N].
pub(crate) fn add_bias(x: &Tensor, bias: &Tensor) -> Result<()> {
    x.inplace_op2(bias, &AddBias)
}

struct AddRowSum;

impl InplaceOp2 for AddRowSum {
    fn name(&self) -> &'static str {
        "add-row-sum"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        let (rows, width) = layout.shape().dims2()?;
        let stride = layout.stride();
        let sum = floats_mut("add-row-sum", sum, sum_layout)?;
        let CpuStorage::F32(x) = x else {
            bail!("add-row-sum: needs f32")
        };
        if sum.len() != width || stride[1] != 1 {
            bail!("add-row-sum: {rows} x {width} into {}", sum.len());
        }
        for row in 0..rows {
            let at = layout.start_offset() + row * stride[0];
            for (sum, x) in sum.iter_mut().zip(&x[at..at + width]) {
                *sum += x;
            }
        }
        Ok(())
    }
}

/// Adds the sum over the rows of `x` [T, N] to `sum` [N].
pub(crate) fn add_row_sum(sum: &Tensor, x: &Tensor) -> Result<()> {
    sum.inplace_op2(x, &AddRowSum)
}

/// A value that depends on nothing but the seed and the index: the finalizer of SplitMix64.
#[inline(always)]
pub(super) fn mix(seed: u64, index: u64) -> u64 {
    let mut x = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One seed out of several numbers.
pub(crate) fn seed_of(parts: &[u64]) -> u64 {
    parts.iter().fold(0x5eed, |seed, part| mix(seed ^ part, 1))
}

struct Dropout {
    threshold: u32,
    scale: f32,
    seed: u64,
}

vectorized! {
    fn drop_out(y: &mut [f32], x: &[f32], first: u64, seed: u64, threshold: u32, scale: f32) {
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            let drawn = (mix(seed, first + i as u64) >> 32) as u32;
            *y = if drawn < threshold { 0.0 } else { x * scale };
        }
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats("dropout", x, layout)?;
        let mut y = unwritten(x.len());
        const TASK: usize = 1 << 14;
        y.par_chunks_mut(TASK)
            .zip(x.par_chunks(TASK))
            .enumerate()
            .for_each(|(task, (y, x))| {
                drop_out(
                    y,
                    x,
                    (task * TASK) as u64,
                    self.seed,
                    self.threshold,
                    self.scale,
                );
            });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

/// Drops a share `p` of the elements and scales the rest by 1 / (1 - p).
///
/// The mask is a function of `seed` and the index alone: the backward pass is the same call on the gradient.
pub(crate) fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Dropout {
        threshold: (p * f64::from(u32::MAX)) as u32,
        scale: (1.0 / (1.0 - p)) as f32,
        seed,
    })
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let y = floats_mut("add", y, y_layout)?;
        let x = floats("add", x, x_layout)?;
        if x.len() != y.len() {
            bail!("add: {} and {} values", y.len(), x.len());
        }
        y.par_chunks_mut(1 << 16)
            .zip(x.par_chunks(1 << 16))
            .for_each(|(y, x)| {
                for (y, x) in y.iter_mut().zip(x) {
                    *y += x;
                }
            });
        Ok(())
    }
}

/// `y += x`.
pub(crate) fn add(y: &Tensor, x: &Tensor) -> Result<()> {
    y.inplace_op2(x, &Add)
}

vectorized! {
    fn squares(x: &[f32]) -> f64 {
        x.chunks(4096).map(|x| f64::from(super::simd::sum_of_squares(x))).sum()
    }
}

struct SquaredNorm;

impl CustomOp1 for SquaredNorm {
    fn name(&self) -> &'static str {
        "squared-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats("squared-norm", x, layout)?;
        let parts: Vec<f64> = x.par_chunks(1 << 16).map(squares).collect();
        Ok((CpuStorage::F64(vec![parts.iter().sum()]), Shape::from(1)))
    }
}

/// Sum of squares of all elements, added up in a fixed order.
pub(crate) fn squared_norm(x: &Tensor) -> Result<f64> {
    x.apply_op1_no_bwd(&SquaredNorm)?
        .reshape(())?
        .to_scalar::<f64>()
}

struct Widen;

impl InplaceOp2 for Widen {
    fn name(&self) -> &'static str {
        "widen"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("widen: needs a contiguous tensor")
        };
        let out = floats_mut("widen", y, y_layout)?;
        if out.len() != end - start {
            bail!("widen: {} values into {}", end - start, out.len());
        }
        const TASK: usize = 1 << 16;
        match x {
            CpuStorage::BF16(x) => {
                out.par_chunks_mut(TASK)
                    .zip(x[start..end].par_chunks(TASK))
                    .for_each(|(out, x)| widen_bf16(out, x));
            }
            CpuStorage::F16(x) => {
                use half::slice::HalfFloatSliceExt;
                out.par_chunks_mut(TASK)
                    .zip(x[start..end].par_chunks(TASK))
                    .for_each(|(out, x)| x.convert_to_f32_slice(out));
            }
            _ => bail!("widen: needs f16 or bf16"),
        }
        Ok(())
    }
}

vectorized! {
    fn widen_bf16(out: &mut [f32], x: &[half::bf16]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = f32::from_bits(u32::from(x.to_bits()) << 16);
        }
    }
}

/// `y = x` for an f32 `y` and an `x` in f16 or bf16.
pub(crate) fn widen_into(y: &Tensor, x: &Tensor) -> Result<()> {
    y.inplace_op2(x, &Widen)
}

/// The tensor in f32; itself, without a copy, where it is that already.
pub(crate) fn widen(x: &Tensor) -> Result<Tensor> {
    if x.dtype() == candle_core::DType::F32 {
        return Ok(x.clone());
    }
    let y = super::unwritten_tensor(x.dims())?;
    widen_into(&y, x)?;
    Ok(y)
}

struct Assign;

impl InplaceOp2 for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        let (rows, width) = layout.shape().dims2()?;
        let stride = layout.stride();
        let y = floats_mut("assign", y, y_layout)?;
        let CpuStorage::F32(x) = x else {
            bail!("assign: needs f32")
        };
        if y.len() != rows * width || (width > 1 && stride[1] != 1) {
            bail!("assign: {rows} x {width} into {}", y.len());
        }
        for (row, y) in y.chunks_exact_mut(width).enumerate() {
            let at = layout.start_offset() + row * stride[0];
            y.copy_from_slice(&x[at..at + width]);
        }
        Ok(())
    }
}

/// `y = x` for [N, M]; `x` may be a block of columns of a wider matrix.
pub(crate) fn assign(y: &Tensor, x: &Tensor) -> Result<()> {
    y.inplace_op2(x, &Assign)
}
