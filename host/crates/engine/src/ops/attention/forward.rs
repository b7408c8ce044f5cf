use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::super::storage::{Shared, floats, unwritten};
#[cfg(target_arch = "x86_64")]
use super::half;
use super::scores::{Task, divide, exponentials, soft_cap, tasks};
use super::{BLOCK, Heads, Mask, Matrix, Span, product};

/// One block of queries of one head against the keys that they see.
struct Block {
    queries: usize,
    mask: Mask,
    head_dim: usize,
    scale: f32,
    softcap: Option<f32>,
}

impl Block {
    fn new(heads: &Heads, position: usize, queries: usize) -> Self {
        Self {
            queries,
            mask: Mask::new(heads, position, queries, heads.first_key(position)),
            head_dim: heads.head_dim,
            scale: heads.scale,
            softcap: heads.softcap,
        }
    }

    /// `k` and `v` begin at the block's first key.
    ///
    /// # Safety
    /// The matrices reach over `queries`, or `mask.width`, rows of live memory; no other task writes to `o`.
    unsafe fn run(
        &self,
        q: Matrix,
        k: Matrix,
        v: Matrix,
        o: *mut f32,
        o_row: usize,
        scores: &mut Vec<f32>,
    ) {
        let keys = self.mask.width;
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
        if let Some(cap) = self.softcap {
            soft_cap(scores, cap);
        }
        exponentials(scores, self.mask, &mut sums[..self.queries]);
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
        // SAFETY: the product above wrote these rows.
        unsafe { divide(o, (o_row, self.head_dim), &sums[..self.queries]) };
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
        let tasks = tasks(heads);
        #[cfg(target_arch = "x86_64")]
        if heads.in_bf16 {
            half::forward(heads, qkv, &tasks, shared);
            return Ok((CpuStorage::F32(out), Shape::from((rows, q_width))));
        }
        tasks.par_iter().with_max_len(1).for_each_init(
            Vec::new,
            |scores, &Task { span, from, head }| {
                let Span { start, len } = heads.spans[span];
                let block = Block::new(heads, from, BLOCK.min(len - from));
                let keys = start + heads.first_key(from);
                let kv_head = head / group;
                let at = |row: usize, column: usize| {
                    Matrix::rows(qkv[row * width + column..].as_ptr(), width)
                };
                let q = at(start + from, head * dim);
                let k = at(keys, q_width + kv_head * dim);
                let v = at(keys, q_width + (heads.kv_heads + kv_head) * dim);
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
            },
        );
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
                let position = all - new + from;
                let block = Block::new(heads, position, BLOCK.min(new - from));
                let first = heads.first_key(position) * kv_width;
                let kv_head = head / group;
                let q = Matrix::rows(q[from * q_width + head * dim..].as_ptr(), q_width);
                let k = Matrix::rows(k[first + kv_head * dim..].as_ptr(), kv_width);
                let v = Matrix::rows(v[first + kv_head * dim..].as_ptr(), kv_width);
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

/// Causal attention of every span, within the window where there is one: [T, (heads + 2·kv_heads)·D] to [T, heads·D].
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
