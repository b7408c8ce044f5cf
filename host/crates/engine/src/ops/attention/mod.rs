//! Causal attention with grouped key/value heads, by blocks of queries: no S x S matrix is ever kept.
//!
//! Sequences lie behind one another in one [T, ..] matrix and attend to themselves only, so nothing is computed
//! for padding. The backward pass makes the probabilities anew from queries and keys.

mod backward;
mod forward;

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
    pub(crate) scale: f32,
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
}

/// Queries that one task takes at a time.
const BLOCK: usize = 64;

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
