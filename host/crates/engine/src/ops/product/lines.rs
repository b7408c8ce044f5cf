//! Memory for packed operands.

use std::cell::RefCell;

use half::bf16;

/// 32 values in bf16: a row of a tile, which must not lie across two lines of the cache, or each is loaded twice.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([bf16; 32]);

thread_local! {
    /// What this thread has used before. New memory would be cleared by the kernel page by page for each product, and
    /// blocks of this size would leave holes between those that stay.
    static KEPT: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with lines that hold anything: they must be written before they are read.
///
/// A task that waits may take up another one that calls this: each call has lines of its own.
pub(super) fn with<R>(count: usize, f: impl FnOnce(&mut [Line]) -> R) -> R {
    let mut lines = KEPT
        .with_borrow_mut(|kept| {
            let fitting = kept.iter().position(|lines| lines.len() >= count);
            fitting
                .map(|at| kept.swap_remove(at))
                .or_else(|| kept.pop())
        })
        .unwrap_or_default();
    reserve(&mut lines, count);
    let result = f(&mut lines[..count]);
    KEPT.with_borrow_mut(|kept| kept.push(lines));
    result
}

/// Makes room for `count` lines, which hold anything.
pub(super) fn reserve(lines: &mut Vec<Line>, count: usize) {
    if lines.len() < count {
        *lines = Vec::new();
        lines.reserve_exact(count);
        // SAFETY: the capacity is there, and a line has neither a destructor nor invalid bit patterns.
        unsafe { lines.set_len(count) };
    }
}

impl Line {
    /// The values of lines.
    pub(super) fn values(lines: &[Self]) -> &[bf16] {
        // SAFETY: a line is 32 values behind one another.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 32) }
    }
}

/// The values of lines, to write to.
pub(super) fn values(lines: &mut [Line]) -> &mut [bf16] {
    // SAFETY: a line is 32 values behind one another.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 32) }
}
