use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::super::simd::{exp_in_place, max, vectorized};
use super::super::storage::{Shared, floats, unwritten};
use super::{BLOCK, Heads, Matrix, product};

vectorized! {
    /// Causal softmax without the division: row `i` sees `seen + i` keys; the rest becomes 0. Row sums in `sums`.
    pub(super) fn exponentials(scores: &mut [f32], width: usize, seen: usize, sums: &mut [f32]) {
        for (i, (row, sum)) in scores.chunks_exact_mut(width).zip(sums.iter_mut()).enumerate() {
            let (visible, hidden) = row.split_at_mut((seen + i).min(width));
            let top = max(visible);
            *sum = exp_in_place(visible, top);
            hidden.fill(0.0);
        }
    }
}

/// One block of queries of one head against keys 0..`keys`.
struct Block {
    queries: usize,
    /// Keys that the first query sees; each later one sees one more.
    seen: usize,
    head_dim: usize,
    scale: f32,
}

impl Block {
    /// # Safety
    /// The matrices reach over `queries`, or `seen + queries - 1`, rows of live memory; no other task writes to `o`.
    unsafe fn run(
        &self,
        q: Matrix,
        k: Matrix,
        v: Matrix,
        o: *mut f32,
        o_row: usize,
        scores: &mut Vec<f32>,
    ) {
        let keys = self.seen + self.queries - 1;
        let needed = self.queries * keys;
        if scores.len() < needed {
            scores.resize(needed, 0.0);
        }
        let scores = &mut scores[..needed];
        let mut sums = [0f32; BLOCK];
        // SAFETY: promised by the caller; `scores` holds queries x keys.
        unsafe {
            product(
                self.queries,
                keys,
                self.head_dim,
                scores.as_mut_ptr(),
                keys,
                false,
                q,
                k.transposed(),
                self.scale,
            );
        }
        exponentials(scores, keys, self.seen, &mut sums[..self.queries]);
        // SAFETY: as above.
        unsafe {
            product(
                self.queries,
                self.head_dim,
                keys,
                o,
                o_row,
                false,
                Matrix::rows(scores.as_ptr(), keys),
                v,
                1.0,
            );
        }
        for (i, sum) in sums[..self.queries].iter().enumerate() {
            // SAFETY: the product above wrote these rows.
            let row = unsafe { std::slice::from_raw_parts_mut(o.add(i * o_row), self.head_dim) };
            let inverse = 1.0 / sum;
            for x in row {
                *x *= inverse;
            }
        }
    }
}

struct Packed {
    heads: Heads,
}

impl CustomOp1 for Packed {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let heads = &self.heads;
        let (rows, width) = layout.shape().dims2()?;
        let qkv = floats("attention", qkv, layout)?;
        let covered = heads.spans.iter().all(|span| span.start + span.len <= rows);
        if width != heads.qkv_width()
            || !covered
            || heads.spans.iter().map(|s| s.len).sum::<usize>() != rows
        {
            bail!("attention: {rows} x {width} does not fit the heads and spans {heads:?}");
        }
        let (dim, q_width) = (heads.head_dim, heads.q_width());
        let group = heads.heads / heads.kv_heads;
        let mut out = unwritten(rows * q_width);
        let shared = Shared(out.as_mut_ptr());
        // Long blocks first, so that the last task to end is a short one.
        let mut tasks: Vec<(usize, usize, usize)> = Vec::new();
        for span in heads.spans.iter() {
            for from in (0..span.len).step_by(BLOCK) {
                for head in 0..heads.heads {
                    tasks.push((span.start, from, head));
                }
            }
        }
        tasks.sort_by_key(|task| std::cmp::Reverse(task.1));
        let lens: std::collections::HashMap<usize, usize> = heads
            .spans
            .iter()
            .map(|span| (span.start, span.len))
            .collect();
        tasks
            .par_iter()
            .with_max_len(1)
            .for_each_init(Vec::new, |scores, &(start, from, head)| {
                let block = Block {
                    queries: BLOCK.min(lens[&start] - from),
                    seen: from + 1,
                    head_dim: dim,
                    scale: heads.scale,
                };
                let kv_head = head / group;
                let at = |row: usize, column: usize| {
                    Matrix::rows(qkv[row * width + column..].as_ptr(), width)
                };
                let q = at(start + from, head * dim);
                let k = at(start, q_width + kv_head * dim);
                let v = at(start, q_width + (heads.kv_heads + kv_head) * dim);
                // SAFETY: rows start..start+from+queries lie in `qkv` (checked above); each task owns its rows and head.
                unsafe {
                    block.run(
                        q,
                        k,
                        v,
                        shared.at((start + from) * q_width + head * dim),
                        q_width,
                        scores,
                    )
                };
            });
        Ok((CpuStorage::F32(out), Shape::from((rows, q_width))))
    }
}

struct Cached {
    heads: Heads,
}

impl CustomOp3 for Cached {
    fn name(&self) -> &'static str {
        "attention-cached"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let heads = &self.heads;
        let (new, q_width) = q_layout.shape().dims2()?;
        let (all, kv_width) = k_layout.shape().dims2()?;
        let q = floats("attention", q, q_layout)?;
        let (k, v) = (
            floats("attention", k, k_layout)?,
            floats("attention", v, v_layout)?,
        );
        if q_width != heads.q_width()
            || kv_width != heads.kv_heads * heads.head_dim
            || all < new
            || v.len() != k.len()
        {
            bail!("attention: {new} x {q_width} queries and {all} x {kv_width} keys");
        }
        let dim = heads.head_dim;
        let group = heads.heads / heads.kv_heads;
        let mut out = unwritten(new * q_width);
        let shared = Shared(out.as_mut_ptr());
        let tasks: Vec<(usize, usize)> = (0..new)
            .step_by(BLOCK)
            .flat_map(|from| (0..heads.heads).map(move |head| (from, head)))
            .collect();
        tasks
            .par_iter()
            .for_each_init(Vec::new, |scores, &(from, head)| {
                let block = Block {
                    queries: BLOCK.min(new - from),
                    seen: all - new + from + 1,
                    head_dim: dim,
                    scale: heads.scale,
                };
                let kv_head = head / group;
                let q = Matrix::rows(q[from * q_width + head * dim..].as_ptr(), q_width);
                let k = Matrix::rows(k[kv_head * dim..].as_ptr(), kv_width);
                let v = Matrix::rows(v[kv_head * dim..].as_ptr(), kv_width);
                // SAFETY: shapes were checked above; each task owns its rows and head.
                unsafe {
                    block.run(
                        q,
                        k,
                        v,
                        shared.at(from * q_width + head * dim),
                        q_width,
                        scores,
                    )
                };
            });
        Ok((CpuStorage::F32(out), Shape::from((new, q_width))))
    }
}

/// Causal attention of every span: [T, (heads + 2·kv_heads)·D] to [T, heads·D].
pub(crate) fn attention(qkv: &Tensor, heads: &Heads) -> Result<Tensor> {
    qkv.apply_op1_no_bwd(&Packed {
        heads: heads.clone(),
    })
}

/// Attention of the last rows of a sequence: `q` [N, heads·D] over `k` and `v` [past + N, kv_heads·D].
pub(crate) fn attention_cached(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: &Heads,
) -> Result<Tensor> {
    q.apply_op3_no_bwd(
        k,
        v,
        &Cached {
            heads: heads.clone(),
        },
    )
}
