use candle_core::{
    CpuStorage, InplaceOp2, InplaceOp3, Layout, Result as CandleResult, Tensor, bail,
};
use rayon::prelude::*;

use super::{Now, Rule, TASK};
use crate::Result;
use crate::ops::simd::vectorized;
use crate::ops::storage::{floats, floats_mut};

/// Adafactor (arXiv 1804.04235) as `transformers.Adafactor` computes it with `scale_parameter=False`,
/// `relative_step=False`: the rate is the schedule's, `eps[0] = 1e-30`, `clip_threshold = 1`, `decay_rate = -0.8`, no
/// first moment. These are the settings of Transformers' Trainer.
///
/// Its state is the row and the column means of the squared gradients behind one another, [R + C], and for a vector
/// the second moment itself.
pub(super) struct Adafactor;

const EPSILON: f32 = 1e-30;
const CLIP_THRESHOLD: f64 = 1.0;
const DECAY_RATE: f64 = -0.8;

/// Moves the means towards the squares of a gradient; 0 columns stand for a vector.
struct Means {
    columns: usize,
    clip: f32,
    beta: f32,
}

struct Move {
    columns: usize,
    rate: f64,
    clip: f32,
    keep: f32,
}

vectorized! {
    /// Sum of the squares of a row.
    fn row_sum(g: &[f32], clip: f32) -> f32 {
        let mut lanes = [0f32; 16];
        let mut chunks = g.chunks_exact(16);
        for chunk in &mut chunks {
            for lane in 0..16 {
                let x = chunk[lane] * clip;
                lanes[lane] += x * x + EPSILON;
            }
        }
        let rest: f32 = chunks.remainder().iter().map(|g| (g * clip) * (g * clip) + EPSILON).sum();
        lanes.iter().sum::<f32>() + rest
    }
}

vectorized! {
    fn add_squares(sums: &mut [f32], g: &[f32], clip: f32) {
        for (sum, g) in sums.iter_mut().zip(g) {
            let x = g * clip;
            *sum += x * x + EPSILON;
        }
    }
}

vectorized! {
    /// The update of a row before it is clipped.
    fn row_update(out: &mut [f32], g: &[f32], columns: &[f32], row: f32, clip: f32) {
        let n = out.len();
        let (g, columns) = (&g[..n], &columns[..n]);
        for i in 0..n {
            out[i] = g[i] * clip * (row * columns[i]);
        }
    }
}

fn inverse_root(x: f32) -> f32 {
    1.0 / x.sqrt()
}

impl InplaceOp2 for Means {
    fn name(&self) -> &'static str {
        "adafactor-means"
    }

    fn cpu_fwd(
        &self,
        means: &mut CpuStorage,
        means_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> CandleResult<()> {
        let means = floats_mut("adafactor", means, means_layout)?;
        let g = floats("adafactor", g, g_layout)?;
        let (clip, beta) = (self.clip, self.beta);
        let toward = |mean: &mut f32, now: f32| *mean = *mean * beta + now * (1.0 - beta);
        if self.columns == 0 {
            for (mean, g) in means.iter_mut().zip(g) {
                toward(mean, (g * clip) * (g * clip) + EPSILON);
            }
            return Ok(());
        }
        let width = self.columns;
        let count = g.len() / width;
        if means.len() != count + width {
            bail!("adafactor: {} means for {count} x {width}", means.len());
        }
        let (rows, columns) = means.split_at_mut(count);
        rows.par_iter_mut()
            .zip(g.par_chunks(width))
            .with_min_len(16)
            .for_each(|(mean, g)| toward(mean, row_sum(g, clip) / width as f32));
        // Columns are shared out, rows are added in their order: the same sum on any number of threads.
        const BLOCK: usize = 64;
        columns
            .par_chunks_mut(BLOCK)
            .enumerate()
            .for_each(|(block, means)| {
                let from = block * BLOCK;
                let mut sums = [0f32; BLOCK];
                let sums = &mut sums[..means.len()];
                for row in g.chunks_exact(width) {
                    add_squares(sums, &row[from..from + means.len()], clip);
                }
                for (mean, sum) in means.iter_mut().zip(sums) {
                    toward(mean, *sum / count as f32);
                }
            });
        Ok(())
    }
}

impl InplaceOp3 for Move {
    fn name(&self) -> &'static str {
        "adafactor-move"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        p_layout: &Layout,
        means: &CpuStorage,
        means_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> CandleResult<()> {
        let p = floats_mut("adafactor", p, p_layout)?;
        let means = floats("adafactor", means, means_layout)?;
        let g = floats("adafactor", g, g_layout)?;
        if p.len() != g.len() {
            bail!("adafactor: {} values, {} gradients", p.len(), g.len());
        }
        let mut update = vec![0f32; p.len()];
        if self.columns == 0 {
            for ((out, g), mean) in update.iter_mut().zip(g).zip(means) {
                *out = g * self.clip * inverse_root(*mean);
            }
        } else {
            let width = self.columns;
            let (rows, columns) = means.split_at(g.len() / width);
            let mean = rows.iter().map(|x| f64::from(*x)).sum::<f64>() / rows.len() as f64;
            let columns: Vec<f32> = columns.iter().map(|x| inverse_root(*x)).collect();
            update
                .par_chunks_mut(width)
                .zip(g.par_chunks(width))
                .zip(rows)
                .for_each(|((out, g), row)| {
                    row_update(out, g, &columns, inverse_root(row / mean as f32), self.clip);
                });
        }
        let squares: Vec<f64> = update
            .par_chunks(TASK)
            .map(|part| part.iter().map(|x| f64::from(*x) * f64::from(*x)).sum())
            .collect();
        let root_mean_square = (squares.iter().sum::<f64>() / update.len() as f64).sqrt();
        let rate = (self.rate / (root_mean_square / CLIP_THRESHOLD).max(1.0)) as f32;
        p.par_chunks_mut(TASK)
            .zip(update.par_chunks(TASK))
            .for_each(|(p, update)| {
                for (p, x) in p.iter_mut().zip(update) {
                    *p = *p * self.keep - x * rate;
                }
            });
        Ok(())
    }
}

impl Rule for Adafactor {
    fn state_shape(&self, shape: &[usize]) -> Vec<usize> {
        match shape {
            [] | [_] => shape.to_vec(),
            [rows @ .., columns] => vec![rows.iter().product::<usize>() + columns],
        }
    }

    fn update(&self, now: &Now, value: &Tensor, grad: &Tensor, state: &Tensor) -> Result<()> {
        let columns = match value.dims() {
            [] | [_] => 0,
            [.., columns] => *columns,
        };
        state.inplace_op2(
            grad,
            &Means {
                columns,
                clip: now.clip,
                beta: (1.0 - (now.step as f64).powf(DECAY_RATE)) as f32,
            },
        )?;
        value.inplace_op3(
            state,
            grad,
            &Move {
                columns,
                rate: now.rate,
                clip: now.clip,
                keep: (1.0 - now.rate * now.decay) as f32,
            },
        )?;
        Ok(())
    }
}
