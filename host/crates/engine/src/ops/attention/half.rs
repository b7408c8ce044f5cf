//! Attention for models in 16 bits: products in bf16 with sums in f32, the rest as for others.
//!
//! Keys and values are packed once for all blocks of queries. A block's keys begin where a tile does, so it may begin with
//! keys that its mask hides.

use rayon::prelude::*;

use super::super::product::{Side, View, multiply};
use super::super::storage::Shared;
use super::scores::{Task, cap_slopes, divide, exponentials, score_gradient, soft_cap, times};
use super::{BLOCK, Heads, Mask, Span};

/// Keys of a tile's side, and of a pair of them: blocks of keys begin at a multiple of it.
const TILE: usize = 32;

/// A matrix of rows within wider ones.
fn rows(data: &[f32], from: usize, width: usize) -> View<'_> {
    View {
        data: &data[from..],
        rs: width,
        cs: 1,
    }
}

/// One block of queries against the keys that they see.
struct Block {
    queries: usize,
    /// Tiles of keys before its first.
    skipped: usize,
    mask: Mask,
}

impl Block {
    fn new(heads: &Heads, from: usize, len: usize) -> Self {
        let queries = BLOCK.min(len - from);
        let skipped = heads.first_key(from) / TILE;
        let mask = Mask::new(heads, from, queries, skipped * TILE);
        Self {
            queries,
            skipped,
            mask,
        }
    }

    /// `scores = factor · a · bᵀ`, where `keys` holds `b` with its rows as columns.
    fn scores(&self, a: &Side, keys: &Side, factor: f32, scores: &mut Vec<f32>) {
        let shape = (self.queries, self.mask.width);
        if scores.len() < shape.0 * shape.1 {
            scores.resize(shape.0 * shape.1, 0.0);
        }
        let to = (scores.as_mut_ptr(), shape.1);
        // SAFETY: there is room for the shape.
        unsafe { multiply(a, keys, (0, self.skipped), to, shape, (factor, 0.0)) };
    }

    /// Scores as a matrix.
    fn view<'a>(&self, scores: &'a [f32]) -> View<'a> {
        rows(scores, 0, self.mask.width)
    }
}

/// The last axis of keys and values of one head, as [`forward`] multiplies by them.
#[derive(Default)]
struct Packed {
    /// Keys as columns.
    k: Side,
    /// Values as rows.
    v: Side,
}

#[derive(Default)]
struct Forward {
    scores: Vec<f32>,
    q: Side,
    p: Side,
}

/// Writes each task's rows and head of `out` [T, heads·D], given `qkv` [T, (heads + 2·kv_heads)·D].
///
/// `out` reaches over all rows, and spans lie inside `qkv`: the callers have checked both.
pub(super) fn forward(heads: &Heads, qkv: &[f32], tasks: &[Task], out: Shared) {
    let (dim, width, q_width) = (heads.head_dim, heads.qkv_width(), heads.q_width());
    let group = heads.heads / heads.kv_heads;
    let packed: Vec<Packed> = (0..heads.spans.len() * heads.kv_heads)
        .into_par_iter()
        .map(|at| {
            let Span { start, len } = heads.spans[at / heads.kv_heads];
            let [k, v] = kv(heads, qkv, start, at % heads.kv_heads);
            let mut packed = Packed::default();
            packed.k.right(turned(k), dim, len);
            packed.v.right(v, len, dim);
            packed
        })
        .collect();
    let run = |scratch: &mut Forward, &Task { span, from, head }: &Task| {
        let Span { start, len } = heads.spans[span];
        let Packed { k, v } = &packed[span * heads.kv_heads + head / group];
        let block = Block::new(heads, from, len);
        let Forward { scores, q, p } = scratch;
        q.left(
            rows(qkv, (start + from) * width + head * dim, width),
            block.queries,
            dim,
        );
        block.scores(q, k, heads.scale, scores);
        let scores = &mut scores[..block.queries * block.mask.width];
        if let Some(cap) = heads.softcap {
            soft_cap(scores, cap);
        }
        let mut sums = [0f32; BLOCK];
        let sums = &mut sums[..block.queries];
        exponentials(scores, block.mask, sums);
        p.left(block.view(scores), block.queries, block.mask.width);
        let o = out.at((start + from) * q_width + head * dim);
        let skipped = (block.skipped, 0);
        // SAFETY: each task owns its rows of its head.
        unsafe {
            multiply(
                p,
                v,
                skipped,
                (o, q_width),
                (block.queries, dim),
                (1.0, 0.0),
            );
            divide(o, (q_width, dim), sums);
        }
    };
    tasks
        .par_iter()
        .with_max_len(1)
        .for_each_init(Forward::default, run);
}

/// Keys and values of a head from row `start` on.
fn kv<'a>(heads: &Heads, qkv: &'a [f32], start: usize, kv_head: usize) -> [View<'a>; 2] {
    let width = heads.qkv_width();
    let k = start * width + heads.q_width() + kv_head * heads.head_dim;
    [k, k + heads.kv_heads * heads.head_dim].map(|from| rows(qkv, from, width))
}

/// The transpose.
fn turned(view: View<'_>) -> View<'_> {
    View {
        rs: view.cs,
        cs: view.rs,
        ..view
    }
}

#[derive(Default)]
struct Backward {
    p: Vec<f32>,
    d_p: Vec<f32>,
    /// Slopes of the soft cap, where there is one.
    slopes: Vec<f32>,
    /// Keys and values as columns, keys as rows.
    keys: [Side; 3],
    /// Left and right sides of a block's products.
    left: Side,
    right: Side,
}

/// Writes the gradients of each task's sequence and key/value head, and of its queries, into `d_qkv` as wide as `qkv`.
///
/// As of [`forward`], the callers have checked the shapes.
pub(super) fn backward(
    heads: &Heads,
    (qkv, d_o): (&[f32], &[f32]),
    tasks: &[((usize, usize), usize)],
    d_qkv: Shared,
) {
    tasks.par_iter().with_max_len(1).for_each_init(
        Backward::default,
        |scratch, &((start, len), kv_head)| {
            let span = Span { start, len };
            // SAFETY: each task owns a sequence's columns of its heads.
            unsafe { scratch.head(heads, (qkv, d_o), (span, kv_head), d_qkv) };
        },
    );
}

impl Backward {
    /// # Safety
    /// `d_qkv` reaches over the sequence's rows, and no other task writes to these heads' columns.
    unsafe fn head(
        &mut self,
        heads: &Heads,
        (qkv, d_o): (&[f32], &[f32]),
        (Span { start, len }, kv_head): (Span, usize),
        d_qkv: Shared,
    ) {
        let (dim, width, q_width) = (heads.head_dim, heads.qkv_width(), heads.q_width());
        let group = heads.heads / heads.kv_heads;
        let Self {
            p,
            d_p,
            slopes,
            keys: [k_columns, v_columns, k_rows],
            left,
            right,
        } = self;
        let [k, v] = kv(heads, qkv, start, kv_head);
        k_columns.right(turned(k), dim, len);
        v_columns.right(turned(v), dim, len);
        k_rows.right(k, len, dim);
        let d_k = start * width + q_width + kv_head * dim;
        let d_v = d_k + heads.kv_heads * dim;
        for row in 0..len {
            for column in [d_k, d_v] {
                let to = d_qkv.at(column + row * width);
                // SAFETY: these are the columns of this task's key/value head.
                unsafe { std::slice::from_raw_parts_mut(to, dim).fill(0.0) };
            }
        }
        for head in kv_head * group..(kv_head + 1) * group {
            for from in (0..len).step_by(BLOCK) {
                let block = Block::new(heads, from, len);
                let (queries, keys) = (block.queries, block.mask.width);
                let q_at = (start + from) * width + head * dim;
                let q = rows(qkv, q_at, width);
                let d_out = rows(d_o, (start + from) * q_width + head * dim, q_width);
                left.left(q, queries, dim);
                block.scores(left, k_columns, heads.scale, p);
                left.left(d_out, queries, dim);
                block.scores(left, v_columns, 1.0, d_p);
                let (p, d_p) = (&mut p[..queries * keys], &mut d_p[..queries * keys]);
                if let Some(cap) = heads.softcap {
                    soft_cap(p, cap);
                    slopes.resize((queries * keys).max(slopes.len()), 0.0);
                    cap_slopes(&mut slopes[..queries * keys], p, cap);
                }
                let mut sums = [0f32; BLOCK];
                exponentials(p, block.mask, &mut sums[..queries]);
                score_gradient(p, d_p, block.mask, &sums[..queries], heads.scale);
                if heads.softcap.is_some() {
                    times(d_p, &slopes[..queries * keys]);
                }
                let (p, d_s) = (block.view(p), block.view(d_p));
                let first = block.skipped * TILE * width;
                left.left(d_s, queries, keys);
                let d_q = (d_qkv.at(q_at), width);
                // SAFETY: promised by the caller: the destinations are columns of this task's heads.
                unsafe {
                    multiply(
                        left,
                        k_rows,
                        (block.skipped, 0),
                        d_q,
                        (queries, dim),
                        (1.0, 0.0),
                    )
                };
                for (scores, by, to) in [(d_s, q, d_k), (p, d_out, d_v)] {
                    left.left(turned(scores), keys, queries);
                    right.right(by, queries, dim);
                    let to = (d_qkv.at(to + first), width);
                    // SAFETY: as above.
                    unsafe { multiply(left, right, (0, 0), to, (keys, dim), (1.0, 1.0)) };
                }
            }
        }
    }
}
