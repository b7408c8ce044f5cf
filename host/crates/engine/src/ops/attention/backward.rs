use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::super::storage::{Shared, floats, unwritten};
#[cfg(target_arch = "x86_64")]
use super::half;
use super::scores::{cap_slopes, exponentials, score_gradient, soft_cap, times};
use super::{BLOCK, Heads, Mask, Matrix, product};

struct Backward {
    heads: Heads,
}

#[derive(Default)]
struct Scratch {
    p: Vec<f32>,
    d_p: Vec<f32>,
    /// Slopes of the soft cap, where there is one.
    slopes: Vec<f32>,
}

impl Backward {
    /// Gradients of one key/value head and its group of query heads over one sequence.
    ///
    /// # Safety
    /// `d_qkv` reaches over the sequence's rows, and no other task writes to these heads' columns.
    unsafe fn head(
        &self,
        (start, len): (usize, usize),
        kv_head: usize,
        qkv: &[f32],
        d_o: &[f32],
        d_qkv: Shared,
        scratch: &mut Scratch,
    ) {
        let heads = &self.heads;
        let (dim, width, q_width) = (heads.head_dim, heads.qkv_width(), heads.q_width());
        let group = heads.heads / heads.kv_heads;
        let k_column = q_width + kv_head * dim;
        let v_column = k_column + heads.kv_heads * dim;
        let at =
            |row: usize, column: usize| Matrix::rows(qkv[row * width + column..].as_ptr(), width);
        let d_k = d_qkv.at(start * width + k_column);
        let d_v = d_qkv.at(start * width + v_column);
        for row in 0..len {
            // SAFETY: these are the columns of this task's key/value head.
            unsafe {
                std::slice::from_raw_parts_mut(d_k.add(row * width), dim).fill(0.0);
                std::slice::from_raw_parts_mut(d_v.add(row * width), dim).fill(0.0);
            }
        }
        for head in kv_head * group..(kv_head + 1) * group {
            for from in (0..len).step_by(BLOCK) {
                let queries = BLOCK.min(len - from);
                let mask = Mask::new(heads, from, queries, heads.first_key(from));
                let keys = mask.width;
                let first = start + heads.first_key(from);
                let (k, v) = (at(first, k_column), at(first, v_column));
                let d_k = d_qkv.at(first * width + k_column);
                let d_v = d_qkv.at(first * width + v_column);
                let needed = queries * keys;
                if scratch.p.len() < needed {
                    scratch.p.resize(needed, 0.0);
                    scratch.d_p.resize(needed, 0.0);
                }
                let (p, d_p) = (&mut scratch.p[..needed], &mut scratch.d_p[..needed]);
                let mut sums = [0f32; BLOCK];
                let sums = &mut sums[..queries];
                let q = at(start + from, head * dim);
                let d_out = Matrix::rows(
                    d_o[(start + from) * q_width + head * dim..].as_ptr(),
                    q_width,
                );
                // SAFETY: `p` and `d_p` hold queries x keys; the other matrices reach over rows of the sequence.
                unsafe {
                    product(
                        queries,
                        keys,
                        dim,
                        p.as_mut_ptr(),
                        keys,
                        false,
                        q,
                        k.transposed(),
                        heads.scale,
                    );
                    product(
                        queries,
                        keys,
                        dim,
                        d_p.as_mut_ptr(),
                        keys,
                        false,
                        d_out,
                        v.transposed(),
                        1.0,
                    );
                }
                if let Some(cap) = heads.softcap {
                    soft_cap(p, cap);
                    scratch.slopes.resize(needed.max(scratch.slopes.len()), 0.0);
                    cap_slopes(&mut scratch.slopes[..needed], p, cap);
                }
                exponentials(p, mask, sums);
                score_gradient(p, d_p, mask, sums, heads.scale);
                if heads.softcap.is_some() {
                    times(d_p, &scratch.slopes[..needed]);
                }
                let p = Matrix::rows(p.as_ptr(), keys);
                let d_s = Matrix::rows(d_p.as_ptr(), keys);
                let d_q = d_qkv.at((start + from) * width + head * dim);
                // SAFETY: as above; the destinations are columns of this task's heads.
                unsafe {
                    product(queries, dim, keys, d_q, width, false, d_s, k, 1.0);
                    product(
                        keys,
                        dim,
                        queries,
                        d_k,
                        width,
                        true,
                        d_s.transposed(),
                        q,
                        1.0,
                    );
                    product(
                        keys,
                        dim,
                        queries,
                        d_v,
                        width,
                        true,
                        p.transposed(),
                        d_out,
                        1.0,
                    );
                }
            }
        }
    }
}

impl CustomOp2 for Backward {
    fn name(&self) -> &'static str {
        "attention-backward"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        qkv_layout: &Layout,
        d_o: &CpuStorage,
        d_o_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let heads = &self.heads;
        let (rows, width) = qkv_layout.shape().dims2()?;
        let qkv = floats("attention-backward", qkv, qkv_layout)?;
        let d_o = floats("attention-backward", d_o, d_o_layout)?;
        let covered = heads.spans.iter().map(|span| span.len).sum::<usize>() == rows
            && heads.spans.iter().all(|span| span.start + span.len <= rows);
        if width != heads.qkv_width() || d_o.len() != rows * heads.q_width() || !covered {
            bail!(
                "attention-backward: {rows} x {width} does not fit the heads and spans {heads:?}"
            );
        }
        let mut out = unwritten(rows * width);
        let shared = Shared(out.as_mut_ptr());
        let mut tasks: Vec<((usize, usize), usize)> = heads
            .spans
            .iter()
            .flat_map(|span| (0..heads.kv_heads).map(move |head| ((span.start, span.len), head)))
            .collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.0.1));
        #[cfg(target_arch = "x86_64")]
        if heads.in_bf16 {
            half::backward(heads, (qkv, d_o), &tasks, shared);
            return Ok((CpuStorage::F32(out), Shape::from((rows, width))));
        }
        tasks.par_iter().with_max_len(1).for_each_init(
            Scratch::default,
            |scratch, &(span, kv_head)| {
                // SAFETY: spans and heads were checked above; each task owns a sequence's columns of its heads.
                unsafe { self.head(span, kv_head, qkv, d_o, shared, scratch) };
            },
        );
        Ok((CpuStorage::F32(out), Shape::from((rows, width))))
    }
}

/// Gradient of `qkv`, given the gradient `d_o` [T, heads·D] of attention's output.
pub(crate) fn attention_backward(qkv: &Tensor, d_o: &Tensor, heads: &Heads) -> Result<Tensor> {
    qkv.apply_op2_no_bwd(
        d_o,
        &Backward {
            heads: heads.clone(),
        },
    )
}
