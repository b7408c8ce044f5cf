//! Products in f32 on AMX tiles, which multiply bf16 alone: each value is cut into three bf16 whose sum it is, and of the
//! nine products of parts the six large ones are added, smallest first, with sums in f32 (as cuBLAS' BF16x9 and oneMKL's
//! `float_to_bf16x3` do; arXiv 1904.06376). What is left out is below 2^-24 of a product, so that a sum is as near to
//! the exact one as that of an f32 kernel, though not equal to it bit by bit. The tiles take values below 2^-126 for
//! zero, so that values below some 2^-110 lose digits; within 2^-8 of the largest f32, a value may become infinite.
//!
//! Both operands are packed a block of the shared dimension at a time, then pairs of row tiles meet pairs of column
//! tiles. Where the parts of the right operand are zero but for the first, as those of weights that were published in
//! bf16, three products do.

mod kernel;
mod pack;

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::super::storage::Shared;
use super::half::{Output, UNIT, Unit};
use super::lines::{self, Line};
use super::{Term, View};

/// Values of the shared dimension in a step of the kernel.
const DEPTH: usize = 32;
/// Rows or columns of a pair of tiles.
const SIDE: usize = 32;
/// Most of the shared dimension that is packed at once.
const KC: usize = 576;
/// What may join a block beyond that, such as the rank of an adapter.
const SLACK: usize = 128;
/// Pairs of row tiles that are packed at once.
const ROW_PAIRS: usize = 64;
/// Pairs of column tiles that are packed at once.
const COLUMN_PAIRS: usize = 36;
/// Pairs of column tiles that a task keeps in its cache.
const STRIP: usize = 6;
/// Terms of a block: their marks share a word.
const TERMS: usize = 32;

/// Lines of a step of a pair of tiles: three parts of two tiles of 16 lines.
const STEP: usize = 96;

/// Whether the machine has the tiles, and no test holds it to less.
pub(super) fn available() -> bool {
    *UNIT == Some(Unit::Amx)
}

/// Whether whole tiles waste at most a third of the work on a product of this shape, and it is worth its packing. A side
/// of 16, an adapter's rank, wastes half: there vectors are faster.
pub(super) fn fits(m: usize, n: usize, k: usize) -> bool {
    let padded = |x: usize| x.next_multiple_of(SIDE);
    m * n * k >= 32 * 1024 && 2 * padded(m) * padded(n) * padded(k) <= 3 * m * n * k
}

/// `dst = alpha · Σ a·b + beta · dst` with rows of `dst` contiguous.
///
/// # Safety
/// The split is [`available`], and every element that shapes and strides reach lies in live memory.
pub(super) unsafe fn sum(
    dst: Shared,
    dst_rs: usize,
    shape: (usize, usize),
    terms: &[Term<'_>],
    (alpha, beta): (f32, f32),
) {
    for (index, terms) in blocks(terms).iter().enumerate() {
        let block = Block {
            terms,
            depth: terms.iter().map(|term| term.k.div_ceil(DEPTH)).sum(),
            out: Output {
                dst,
                dst_rs,
                shape,
                alpha,
                beta: if index == 0 { beta } else { 1.0 },
            },
        };
        // SAFETY: promised by the caller.
        unsafe { block.run() };
    }
}

/// Blocks of the shared dimension: as many terms as fit, a long term by pieces. Where they are cut depends on the terms'
/// depths alone.
fn blocks<'a>(terms: &[Term<'a>]) -> Vec<Vec<Term<'a>>> {
    let mut blocks: Vec<Vec<Term<'_>>> = vec![Vec::new()];
    let mut filled = 0;
    for term in terms {
        let pieces = term.k.div_ceil(KC).max(1);
        let piece = term.k.div_ceil(pieces).next_multiple_of(DEPTH).max(DEPTH);
        for from in (0..term.k).step_by(piece) {
            let k = piece.min(term.k - from);
            let last = blocks.last().map_or(0, Vec::len);
            if filled > 0 && (filled + k > KC + SLACK || last == TERMS) {
                blocks.push(Vec::new());
                filled = 0;
            }
            filled += k.next_multiple_of(DEPTH);
            let part = Term {
                a: View {
                    data: &term.a.data[from * term.a.cs..],
                    ..term.a
                },
                b: View {
                    data: &term.b.data[from * term.b.rs..],
                    ..term.b
                },
                k,
                ..*term
            };
            match blocks.last_mut() {
                Some(block) => block.push(part),
                None => blocks.push(vec![part]),
            }
        }
    }
    blocks
}

/// One block of the shared dimension for the whole of the output.
struct Block<'a> {
    terms: &'a [Term<'a>],
    /// Steps of all terms.
    depth: usize,
    out: Output,
}

impl Block<'_> {
    /// # Safety
    /// As [`sum`].
    unsafe fn run(&self) {
        let (m, n) = self.out.shape;
        let pairs = (m.div_ceil(SIDE), n.div_ceil(SIDE));
        let side = self.depth * STEP;
        lines::with(pairs.0.min(ROW_PAIRS) * side, |left| {
            lines::with(pairs.1.min(COLUMN_PAIRS) * side, |right| {
                // SAFETY: promised by the caller.
                unsafe { self.run_with(pairs, left, right) };
            });
        });
    }

    /// # Safety
    /// As [`sum`].
    unsafe fn run_with(
        &self,
        (row_pairs, column_pairs): (usize, usize),
        left: &mut [Line],
        right: &mut [Line],
    ) {
        let (m, n) = self.out.shape;
        let side = self.depth * STEP;
        let parallel = m * n * self.depth * DEPTH > 256 * 1024;
        let marks: [AtomicU32; COLUMN_PAIRS] = [const { AtomicU32::new(0) }; COLUMN_PAIRS];
        for top in (0..row_pairs).step_by(ROW_PAIRS) {
            let rows = ROW_PAIRS.min(row_pairs - top);
            for begin in (0..column_pairs).step_by(COLUMN_PAIRS) {
                let columns = COLUMN_PAIRS.min(column_pairs - begin);
                let pack_row = |(at, to): (usize, &mut [Line])| {
                    // SAFETY: the machine has AVX-512; the caller promises that the terms reach over the shape.
                    unsafe { pack::left(to, self.terms, (top + at) * SIDE, m) };
                };
                let pack_column = |(at, to): (usize, &mut [Line])| {
                    // SAFETY: as above.
                    let mark = unsafe { pack::right(to, self.terms, (begin + at) * SIDE, n) };
                    marks[at].store(mark, Ordering::Relaxed);
                };
                // The rows stay packed for all columns.
                let fresh = if begin == 0 { rows * side } else { 0 };
                let (to_left, to_right) = (&mut left[..fresh], &mut right[..columns * side]);
                if parallel {
                    let lefts = to_left.par_chunks_mut(side).enumerate();
                    let rights = to_right.par_chunks_mut(side).enumerate();
                    rayon::join(
                        || rights.with_max_len(2).for_each(pack_column),
                        || lefts.with_max_len(2).for_each(pack_row),
                    );
                } else {
                    to_left.chunks_mut(side).enumerate().for_each(pack_row);
                    to_right.chunks_mut(side).enumerate().for_each(pack_column);
                }
                // SAFETY: promised by the caller; both sides are packed.
                unsafe {
                    let packed = (&left[..], &right[..]);
                    self.multiply(packed, (top, rows), (begin, columns), &marks, parallel);
                }
            }
        }
    }

    /// # Safety
    /// As [`sum`]; `packed` holds the pairs.
    unsafe fn multiply(
        &self,
        (left, right): (&[Line], &[Line]),
        (top, rows): (usize, usize),
        (begin, columns): (usize, usize),
        marks: &[AtomicU32],
        parallel: bool,
    ) {
        let side = self.depth * STEP;
        assert!(left.len() >= rows * side && right.len() >= columns * side);
        let (m, n) = self.out.shape;
        let fresh = self.out.beta == 0.0 && self.out.alpha == 1.0;
        // Even strips, and at least four tasks for each thread where there is so much.
        let strips = columns.div_ceil(STRIP);
        let strip = columns.div_ceil(strips);
        let parts = (4 * rayon::current_num_threads())
            .div_ceil(strips)
            .min(rows.div_ceil(4));
        let part = rows.div_ceil(parts);
        let parts = rows.div_ceil(part);
        let task = |task: usize| {
            let (row, column) = (task % parts * part, task / parts * strip);
            // SAFETY: the machine has AMX.
            unsafe { kernel::configure() };
            let mut sums = kernel::Sums::default();
            for row in row..(row + part).min(rows) {
                for column in column..(column + strip).min(columns) {
                    let mut a = left[row * side..].as_ptr();
                    let mut b = right[column * side..].as_ptr();
                    let mark = marks[column].load(Ordering::Relaxed);
                    // SAFETY: both sides hold as many steps as the terms have, and each task writes to places of its
                    // own.
                    unsafe {
                        kernel::zero();
                        for (index, term) in self.terms.iter().enumerate() {
                            let steps = term.k.div_ceil(DEPTH);
                            if mark >> index & 1 == 1 {
                                kernel::six(a, b, steps);
                            } else {
                                kernel::three(a, b, steps);
                            }
                            a = a.wrapping_add(steps * STEP);
                            b = b.wrapping_add(steps * STEP);
                        }
                        let (row, column) = ((top + row) * SIDE, (begin + column) * SIDE);
                        if fresh && row + SIDE <= m && column + SIDE <= n {
                            kernel::store_at(self.out.at(row, column), self.out.dst_rs);
                        } else {
                            kernel::store(&mut sums);
                            self.out.add(&sums, row, column);
                        }
                    }
                }
            }
            // SAFETY: as above.
            unsafe { kernel::release() };
        };
        let tasks = parts * columns.div_ceil(strip);
        if parallel && tasks > 1 {
            (0..tasks).into_par_iter().with_max_len(1).for_each(task);
        } else {
            (0..tasks).for_each(task);
        }
    }
}
