//! Rotary position embedding (arXiv 2104.09864), in the half-split form of Transformers.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::simd::vectorized;
use super::storage::{floats_mut, rows_per_task, with_floats, with_ids};

/// Turns the first `heads` heads of every row.
struct Rotate {
    cos: Tensor,
    sin: Tensor,
    positions: Tensor,
    heads: usize,
    head_dim: usize,
    /// Half of the dimensions of a head that are turned.
    half: usize,
    sign: f32,
}

vectorized! {
    fn rotate_row(row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], sign: f32) {
        let half = cos.len();
        for head in row.chunks_exact_mut(head_dim) {
            let (first, second) = head[..2 * half].split_at_mut(half);
            for i in 0..half {
                let (a, b) = (first[i], second[i]);
                let s = sin[i] * sign;
                first[i] = a * cos[i] - b * s;
                second[i] = b * cos[i] + a * s;
            }
        }
    }
}

impl InplaceOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (rows, width) = layout.shape().dims2()?;
        let x = floats_mut("rotary", x, layout)?;
        let half = self.half;
        let turned = self.heads * self.head_dim;
        let mut run = |positions: &[u32], cos: &[f32], sin: &[f32]| {
            if positions.len() != rows || turned > width || 2 * half > self.head_dim {
                bail!("rotary: {rows} rows, {} positions", positions.len());
            }
            if positions
                .iter()
                .any(|&p| (p as usize + 1) * half > cos.len())
            {
                bail!("rotary: a position lies beyond the table");
            }
            let task = rows_per_task(width);
            x.par_chunks_mut(task * width)
                .zip(positions.par_chunks(task))
                .for_each(|(x, positions)| {
                    for (row, &position) in x.chunks_exact_mut(width).zip(positions) {
                        let at = position as usize * half;
                        rotate_row(
                            &mut row[..turned],
                            self.head_dim,
                            &cos[at..at + half],
                            &sin[at..at + half],
                            self.sign,
                        );
                    }
                });
            Ok(())
        };
        with_ids("rotary", &self.positions, |positions| {
            with_floats("rotary", &self.cos, |cos| {
                with_floats("rotary", &self.sin, |sin| run(positions, cos, sin))
            })
        })
    }
}

/// Tables of cosine and sine: [positions, half of the dimensions that are turned]; the rest of a head is left as it is.
#[derive(Debug, Clone)]
pub(crate) struct RotaryTable {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
}

/// Turns the first `heads` heads of each row of `x` [T, ..] in place by its position; `inverse` turns back, which
/// is also the backward pass, of a table whose values carry a factor too.
pub(crate) fn rotary(
    x: &Tensor,
    table: &RotaryTable,
    positions: &Tensor,
    heads: usize,
    head_dim: usize,
    inverse: bool,
) -> Result<()> {
    let half = table.cos.dims2()?.1;
    x.inplace_op1(&Rotate {
        half,
        cos: table.cos.clone(),
        sin: table.sin.clone(),
        positions: positions.clone(),
        heads,
        head_dim,
        sign: if inverse { -1.0 } else { 1.0 },
    })
}
