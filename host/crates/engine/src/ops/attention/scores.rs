//! What is done to a block of scores, whichever way its products are made.

use super::super::simd::{dot, exp_in_place, max, tanh, vectorized};
use super::{BLOCK, Heads, Mask, Span};

vectorized! {
    /// `cap · tanh(score / cap)` in place.
    pub(super) fn soft_cap(scores: &mut [f32], cap: f32) {
        let inverse = 1.0 / cap;
        for score in scores {
            *score = cap * tanh(*score * inverse);
        }
    }
}

vectorized! {
    /// Softmax of what each row sees, without the division; the rest becomes 0. Row sums in `sums`.
    pub(super) fn exponentials(scores: &mut [f32], mask: Mask, sums: &mut [f32]) {
        for (i, (row, sum)) in scores.chunks_exact_mut(mask.width).zip(sums.iter_mut()).enumerate() {
            let (first, end) = mask.visible(i);
            row[..first].fill(0.0);
            row[end..].fill(0.0);
            let visible = &mut row[first..end];
            let top = max(visible);
            *sum = exp_in_place(visible, top);
        }
    }
}

vectorized! {
    /// Turns exponentials into probabilities and `d_p` into the gradient of the scaled scores.
    pub(super) fn score_gradient(p: &mut [f32], d_p: &mut [f32], mask: Mask, sums: &[f32], scale: f32) {
        let rows = p.chunks_exact_mut(mask.width).zip(d_p.chunks_exact_mut(mask.width));
        for (i, ((p, d_p), sum)) in rows.zip(sums).enumerate() {
            let (first, end) = mask.visible(i);
            d_p[..first].fill(0.0);
            d_p[end..].fill(0.0);
            let (p, d_p) = (&mut p[first..end], &mut d_p[first..end]);
            let inverse = 1.0 / sum;
            let mean = dot(p, d_p) * inverse;
            for j in 0..p.len() {
                p[j] *= inverse;
                d_p[j] = p[j] * (d_p[j] - mean) * scale;
            }
        }
    }
}

vectorized! {
    /// Slope of the soft cap at capped scores: `1 - tanh²`.
    pub(super) fn cap_slopes(slopes: &mut [f32], capped: &[f32], cap: f32) {
        let inverse = 1.0 / cap;
        for (slope, capped) in slopes.iter_mut().zip(capped) {
            let t = capped * inverse;
            *slope = 1.0 - t * t;
        }
    }
}

vectorized! {
    pub(super) fn times(x: &mut [f32], factors: &[f32]) {
        for (x, factor) in x.iter_mut().zip(factors) {
            *x *= factor;
        }
    }
}

/// Divides as many rows as there are sums by them.
///
/// # Safety
/// No other task reads or writes these rows of `dim` values, `row` from one to the next.
pub(super) unsafe fn divide(o: *mut f32, (row, dim): (usize, usize), sums: &[f32]) {
    for (i, sum) in sums.iter().enumerate() {
        // SAFETY: promised by the caller.
        let values = unsafe { std::slice::from_raw_parts_mut(o.add(i * row), dim) };
        let inverse = 1.0 / sum;
        for x in values {
            *x *= inverse;
        }
    }
}

/// Where one block of queries of one head begins.
pub(super) struct Task {
    /// Which sequence.
    pub(super) span: usize,
    /// Its first query.
    pub(super) from: usize,
    pub(super) head: usize,
}

/// All blocks, those with many keys first, so that the last task to end is a short one.
pub(super) fn tasks(heads: &Heads) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for (span, Span { len, .. }) in heads.spans.iter().enumerate() {
        for from in (0..*len).step_by(BLOCK) {
            tasks.extend((0..heads.heads).map(|head| Task { span, from, head }));
        }
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.from));
    tasks
}
