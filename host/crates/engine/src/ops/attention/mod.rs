//! Causal attention with grouped key/value heads, by blocks of queries: no S x S matrix is ever kept.
//!
//! Sequences lie behind one another in one [T, ..] matrix and attend to themselves only, so nothing is computed
//! for padding. The backward pass makes the probabilities anew from queries and keys.

mod backward;
mod forward;
#[cfg(target_arch = "x86_64")]
mod half;
mod scores;

use std::sync::Arc;

pub(crate) use backward::attention_backward;
pub(crate) use forward::{attention, attention_cached};

/// One sequence's rows in the token matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// What attention needs to know of a model and a batch.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Factor of the products of queries and keys.
    pub(crate) scale: f32,
    /// Scores become `cap · tanh(score / cap)` before the softmax (Gemma 2).
    pub(crate) softcap: Option<f32>,
    /// Keys that a query sees, its own included; `None` for all before it.
    pub(crate) window: Option<usize>,
    /// Training's products are in bf16 with sums in f32, which [`super::half_products`] must allow.
    pub(crate) in_bf16: bool,
    pub(crate) spans: Arc<[Span]>,
}

impl Heads {
    /// Width of a row of queries, keys and values side by side.
    pub(crate) fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Width of a row of queries, and of the output.
    pub(crate) fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// First key that the query at `position` of its sequence sees.
    fn first_key(&self, position: usize) -> usize {
        match self.window {
            Some(window) => (position + 1).saturating_sub(window),
            None => 0,
        }
    }
}

/// Queries that one task takes at a time.
const BLOCK: usize = 64;

/// What the rows of one block of scores see. Columns are keys from the block's first one on.
#[derive(Clone, Copy)]
struct Mask {
    /// Keys of the block.
    width: usize,
    /// Columns that the first query sees, hidden ones before them counted; each later query sees one more.
    seen: usize,
    /// Columns that a query sees at most, its own the last.
    window: usize,
}

impl Mask {
    /// Mask of the queries from `position` on against keys from `first` on, which none of them sees one before.
    fn new(heads: &Heads, position: usize, queries: usize, first: usize) -> Self {
        Self {
            width: position + queries - first,
            seen: position + 1 - first,
            window: heads.window.unwrap_or(usize::MAX),
        }
    }

    /// First column that row `i` sees, and the one behind its last.
    #[inline(always)]
    fn visible(&self, i: usize) -> (usize, usize) {
        let end = self.seen + i;
        (end.saturating_sub(self.window), end)
    }
}

/// A strided matrix in memory that outlives the call.
#[derive(Clone, Copy)]
struct Matrix {
    data: *const f32,
    row: isize,
    column: isize,
}

impl Matrix {
    fn rows(data: *const f32, row: usize) -> Self {
        Self {
            data,
            row: row as isize,
            column: 1,
        }
    }

    fn transposed(self) -> Self {
        Self {
            row: self.column,
            column: self.row,
            ..self
        }
    }
}

/// `dst = alpha · a · b (+ dst)` on this thread; `dst` is row-major with `dst_row` between rows.
///
/// # Safety
/// Every element that shapes and strides reach must lie in live memory, and `dst` must not overlap `a` or `b`.
#[expect(clippy::too_many_arguments, reason = "the signature of gemm")]
unsafe fn product(
    m: usize,
    n: usize,
    k: usize,
    dst: *mut f32,
    dst_row: usize,
    add: bool,
    a: Matrix,
    b: Matrix,
    alpha: f32,
) {
    // SAFETY: promised by the caller.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst,
            1,
            dst_row as isize,
            add,
            a.data,
            a.column,
            a.row,
            b.data,
            b.column,
            b.row,
            if add { 1.0 } else { 0.0 },
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
