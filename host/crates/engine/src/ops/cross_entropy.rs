//! Cross-entropy of rows of logits, in two passes: statistics, then the gradient in place of the logits.

use candle_core::{CpuStorage, CustomOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::simd::{exp, max, sum_of_exp, vectorized};
use super::storage::{floats, floats_mut, ids, unwritten};

struct Statistics;

struct Gradient<'a> {
    weights: &'a [f32],
}

struct IsLargest;

vectorized! {
    /// (loss, log of the sum of exponentials) of one row.
    fn row_statistics(row: &[f32], target: usize) -> (f32, f32) {
        let top = max(row);
        let log_sum = top + sum_of_exp(row, top).ln();
        (log_sum - row[target], log_sum)
    }
}

vectorized! {
    fn row_max(row: &[f32]) -> f32 {
        max(row)
    }
}

vectorized! {
    fn row_gradient(row: &mut [f32], target: usize, log_sum: f32, scale: f32) {
        for x in row.iter_mut() {
            *x = exp(*x - log_sum) * scale;
        }
        row[target] -= scale;
    }
}

impl CustomOp2 for Statistics {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = logits_layout.shape().dims2()?;
        let logits = floats("cross-entropy", logits, logits_layout)?;
        let targets = ids("cross-entropy", targets, targets_layout)?;
        if targets.len() != rows || targets.iter().any(|&target| target as usize >= width) {
            bail!(
                "cross-entropy: {rows} rows of {width}, {} targets",
                targets.len()
            );
        }
        let mut out = unwritten(2 * rows);
        out.par_chunks_mut(2)
            .zip(logits.par_chunks(width))
            .zip(targets)
            .for_each(|((out, row), &target)| {
                let (loss, log_sum) = row_statistics(row, target as usize);
                out.copy_from_slice(&[loss, log_sum]);
            });
        Ok((CpuStorage::F32(out), Shape::from((rows, 2))))
    }
}

impl InplaceOp3 for Gradient<'_> {
    fn name(&self) -> &'static str {
        "cross-entropy-gradient"
    }

    fn cpu_fwd(
        &self,
        logits: &mut CpuStorage,
        logits_layout: &Layout,
        statistics: &CpuStorage,
        statistics_layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<()> {
        let name = InplaceOp3::name(self);
        let (rows, width) = logits_layout.shape().dims2()?;
        let logits = floats_mut(name, logits, logits_layout)?;
        let statistics = floats(name, statistics, statistics_layout)?;
        let targets = ids(name, targets, targets_layout)?;
        let weights = self.weights;
        if targets.len() != rows || statistics.len() != 2 * rows || weights.len() != rows {
            bail!(
                "{name}: {rows} rows, {} targets, {} weights",
                targets.len(),
                weights.len()
            );
        }
        logits
            .par_chunks_mut(width)
            .zip(statistics.par_chunks(2))
            .zip(targets)
            .zip(weights)
            .for_each(|(((row, statistics), &target), &weight)| {
                row_gradient(row, target as usize, statistics[1], weight);
            });
        Ok(())
    }
}

/// Loss and log-sum-exp of every row: [N, 2]. `targets` are u32 below the rows' width.
pub(crate) fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    logits.apply_op2_no_bwd(targets, &Statistics)
}

/// Overwrites each row of `logits` with the gradient of its loss times its weight; `weights` has one for each row.
pub(crate) fn cross_entropy_gradient(
    logits: &Tensor,
    statistics: &Tensor,
    targets: &Tensor,
    weights: &[f32],
) -> Result<()> {
    logits.inplace_op3(statistics, targets, &Gradient { weights })
}

impl CustomOp2 for IsLargest {
    fn name(&self) -> &'static str {
        "is-largest"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = logits_layout.shape().dims2()?;
        let logits = floats("is-largest", logits, logits_layout)?;
        let targets = ids("is-largest", targets, targets_layout)?;
        if targets.len() != rows || targets.iter().any(|&target| target as usize >= width) {
            bail!(
                "is-largest: {rows} rows of {width}, {} targets",
                targets.len()
            );
        }
        let mut out = unwritten(rows);
        out.par_iter_mut()
            .zip(logits.par_chunks(width))
            .zip(targets)
            .for_each(|((out, row), &target)| {
                *out = f32::from(u8::from(row[target as usize] >= row_max(row)));
            });
        Ok((CpuStorage::F32(out), Shape::from(rows)))
    }
}

/// 1 for each row whose target has the largest logit, else 0: [N].
pub(crate) fn is_largest(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    logits.apply_op2_no_bwd(targets, &IsLargest)
}
