//! The f32 products of adapters for machines with AVX-512, one side of which is a rank: [`narrow`], many rows of `a` by
//! no more columns than three vectors hold, as where an adapter reads its input, and [`short`], as few rows by many
//! columns, as for the gradients of its matrices.
//!
//! A tile of 8 rows and up to three vectors stays in registers while a block of the shared dimension passes. The wide side
//! is read where it lies, since little of it is read twice; the crate `gemm` packs both sides. For large matrices its
//! kernels are the faster ones.

use std::arch::x86_64::*;
use std::ops::Range;

use rayon::prelude::*;

use super::super::storage::{Shared, unwritten};
use super::{Term, View};

/// Rows of a tile.
const MR: usize = 8;
/// Columns of a tile: three vectors.
pub(super) const COLUMNS: usize = 48;
/// Most of the shared dimension that is packed at once.
const KC: usize = 640;
/// Most of the shared dimension that a [`short`] product sums in registers: so much of three lines fits the cache.
const SHORT_KC: usize = 1024;

/// `dst = alpha · a·b + beta · dst`, with rows of `dst` and of `a` contiguous and at most [`COLUMNS`] columns.
///
/// # Safety
/// The machine has AVX-512 F, and every element that shapes and strides reach lies in live memory.
pub(super) unsafe fn narrow(
    dst: Shared,
    dst_rs: usize,
    (m, n): (usize, usize),
    term: Term<'_>,
    alpha: f32,
    beta: f32,
) {
    debug_assert!(n <= COLUMNS && term.a.cs == 1);
    let product = Product {
        dst,
        dst_rs,
        width: n,
        term,
        alpha,
        beta,
    };
    let threads = rayon::current_num_threads();
    // How rows are shared out changes no sum.
    let rows = m.div_ceil(2 * threads).max(64).next_multiple_of(MR);
    let task = |task: usize| {
        let rows = task * rows..((task + 1) * rows).min(m);
        // SAFETY: promised by the caller; each task writes to rows of its own.
        unsafe { product.rows(rows) };
    };
    if m * n * term.k < 64 * 1024 {
        (0..m.div_ceil(rows)).for_each(task);
    } else {
        (0..m.div_ceil(rows)).into_par_iter().for_each(task);
    }
}

/// `dst = alpha · a·b + beta · dst`, with rows of `b` contiguous and few rows of `a`.
///
/// # Safety
/// The machine has AVX-512 F, and every element that shapes and strides reach lies in live memory.
pub(super) unsafe fn short(
    dst: Shared,
    (rs, cs): (usize, usize),
    (m, n): (usize, usize),
    term: Term<'_>,
    alpha: f32,
    beta: f32,
) {
    debug_assert!(term.b.cs == 1);
    let Term { a, b, k: all, .. } = term;
    let columns = |column: usize| {
        let width = COLUMNS.min(n - column);
        for from in (0..all).step_by(SHORT_KC) {
            for row in (0..m).step_by(MR) {
                let tile = Tile {
                    a: a.at(row, from),
                    a_rs: a.rs,
                    a_cs: a.cs,
                    b: b.at(from, column),
                    b_rs: b.rs,
                    k: SHORT_KC.min(all - from),
                    dst: dst.at(row * rs + column * cs),
                    dst_rs: rs,
                    dst_cs: cs,
                    mask: lanes((width - 1) % 16 + 1),
                    alpha,
                    beta: if from == 0 { beta } else { 1.0 },
                };
                // SAFETY: promised by the caller; each task writes to columns of its own.
                unsafe { tile.rows(MR.min(m - row), width.div_ceil(16)) };
            }
        }
    };
    let strips = n.div_ceil(COLUMNS);
    if m * n * all < 64 * 1024 {
        (0..strips).for_each(|strip| columns(strip * COLUMNS));
    } else {
        (0..strips)
            .into_par_iter()
            .for_each(|strip| columns(strip * COLUMNS));
    }
}

struct Product<'a> {
    dst: Shared,
    dst_rs: usize,
    width: usize,
    term: Term<'a>,
    alpha: f32,
    beta: f32,
}

impl Product<'_> {
    /// # Safety
    /// As [`narrow`].
    #[target_feature(enable = "avx512f")]
    unsafe fn rows(&self, rows: Range<usize>) {
        let Term { a, b, k: all, .. } = self.term;
        let step = self.width.next_multiple_of(16);
        let pieces = all.div_ceil(KC).max(1);
        let piece = all.div_ceil(pieces).max(1);
        let mut packed = unwritten(piece * step);
        for from in (0..all).step_by(piece) {
            let k = piece.min(all - from);
            // SAFETY: the rows of `b` lie inside it, and the buffer holds them.
            unsafe { pack(packed.as_mut_ptr(), b.at(from, 0), b, k, self.width) };
            for row in rows.clone().step_by(MR) {
                let tile = Tile {
                    a: a.at(row, from),
                    a_rs: a.rs,
                    a_cs: 1,
                    b: packed.as_ptr(),
                    b_rs: step,
                    k,
                    dst: self.dst.at(row * self.dst_rs),
                    dst_rs: self.dst_rs,
                    dst_cs: 1,
                    mask: lanes((self.width - 1) % 16 + 1),
                    alpha: self.alpha,
                    beta: if from == 0 { self.beta } else { 1.0 },
                };
                let rows = MR.min(rows.end - row);
                // SAFETY: promised by the caller.
                unsafe { tile.rows(rows, step / 16) };
            }
        }
    }
}

struct Tile {
    a: *const f32,
    a_rs: usize,
    a_cs: usize,
    /// Rows of as many vectors as the tile has; what the mask leaves out of the last is not read.
    b: *const f32,
    b_rs: usize,
    k: usize,
    dst: *mut f32,
    dst_rs: usize,
    dst_cs: usize,
    /// Lanes of the last vector.
    mask: u16,
    alpha: f32,
    beta: f32,
}

impl Tile {
    /// Of 1 to 8 rows and 1 to 3 vectors.
    #[target_feature(enable = "avx512f")]
    unsafe fn rows(&self, rows: usize, vectors: usize) {
        // SAFETY: promised by the caller.
        unsafe {
            match vectors {
                3 => self.of::<3>(rows),
                2 => self.of::<2>(rows),
                _ => self.of::<1>(rows),
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn of<const V: usize>(&self, rows: usize) {
        // SAFETY: promised by the caller.
        unsafe {
            match rows {
                8 => self.run::<8, V>(),
                7 => self.run::<7, V>(),
                6 => self.run::<6, V>(),
                5 => self.run::<5, V>(),
                4 => self.run::<4, V>(),
                3 => self.run::<3, V>(),
                2 => self.run::<2, V>(),
                _ => self.run::<1, V>(),
            }
        }
    }

    /// `M` rows and `V` vectors of columns.
    #[target_feature(enable = "avx512f")]
    unsafe fn run<const M: usize, const V: usize>(&self) {
        let mut sums = [[_mm512_setzero_ps(); V]; M];
        let (mut a, mut b) = (self.a, self.b);
        for _ in 0..self.k {
            // SAFETY: the caller promises that `a` and `b` reach over `k`.
            unsafe {
                let mut vectors = [_mm512_setzero_ps(); V];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = _mm512_maskz_loadu_ps(self.lanes(v, V), b.wrapping_add(16 * v));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.wrapping_add(i * self.a_rs));
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = _mm512_fmadd_ps(x, vector, *sum);
                    }
                }
            }
            a = a.wrapping_add(self.a_cs);
            b = b.wrapping_add(self.b_rs);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let to = self
                    .dst
                    .wrapping_add(i * self.dst_rs + 16 * v * self.dst_cs);
                // SAFETY: the caller promises that `dst` reaches over the rows and the masked columns.
                unsafe { self.write(to, sum, self.lanes(v, V)) };
            }
        }
    }

    #[inline(always)]
    fn lanes(&self, v: usize, vectors: usize) -> u16 {
        if v + 1 == vectors { self.mask } else { 0xffff }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn write(&self, to: *mut f32, sum: __m512, mask: u16) {
        let (alpha, beta) = (_mm512_set1_ps(self.alpha), _mm512_set1_ps(self.beta));
        let mut y = _mm512_mul_ps(sum, alpha);
        // SAFETY: promised by the caller.
        unsafe {
            if self.dst_cs == 1 {
                if self.beta != 0.0 {
                    y = _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(mask, to), y);
                }
                _mm512_mask_storeu_ps(to, mask, y);
                return;
            }
            let mut values = [0f32; 16];
            _mm512_storeu_ps(values.as_mut_ptr(), y);
            for (lane, value) in values.iter().enumerate().take(mask.count_ones() as usize) {
                let to = to.wrapping_add(lane * self.dst_cs);
                let before = if self.beta == 0.0 { 0.0 } else { *to };
                *to = self.beta.mul_add(before, *value);
            }
        }
    }
}

/// Copies `k` x `width` of `b` to rows of `width` rounded up to whole vectors, the rest filled with zeros.
#[target_feature(enable = "avx512f")]
unsafe fn pack(to: *mut f32, b: *const f32, view: View<'_>, k: usize, width: usize) {
    let step = width.next_multiple_of(16);
    // SAFETY: `to` holds k x step; the caller promises that `b` reaches over k x width.
    unsafe {
        if view.cs == 1 {
            for at in 0..k {
                let (from, to) = (b.add(at * view.rs), to.add(at * step));
                for v in (0..width).step_by(16) {
                    let mask = lanes(width - v);
                    _mm512_storeu_ps(to.add(v), _mm512_maskz_loadu_ps(mask, from.add(v)));
                }
            }
        } else if view.rs == 1 {
            for column in (0..width).step_by(16) {
                for at in (0..k).step_by(16) {
                    let rows = 16.min(width - column);
                    let mask = lanes(k - at);
                    let mut block = [_mm512_setzero_ps(); 16];
                    for (i, row) in block.iter_mut().enumerate().take(rows) {
                        let from = b.add((column + i) * view.cs + at);
                        *row = _mm512_maskz_loadu_ps(mask, from);
                    }
                    let block = transposed(block);
                    for (i, row) in block.iter().enumerate().take(16.min(k - at)) {
                        _mm512_storeu_ps(to.add((at + i) * step + column), *row);
                    }
                }
            }
        } else {
            for at in 0..k {
                for column in 0..step {
                    *to.add(at * step + column) = if column < width {
                        *b.add(at * view.rs + column * view.cs)
                    } else {
                        0.0
                    };
                }
            }
        }
    }
}

/// A mask of the first `n` lanes, of all where there are more.
#[inline(always)]
pub(super) fn lanes(n: usize) -> u16 {
    if n >= 16 { 0xffff } else { (1 << n) - 1 }
}

/// The transpose of a block of 16 x 16.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn transposed(r: [__m512; 16]) -> [__m512; 16] {
    let zero = _mm512_setzero_ps();
    let (mut t, mut u, mut out) = ([zero; 16], [zero; 16], [zero; 16]);
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..4 {
        let pairs = [0, 1, 2, 3].map(|j| _mm512_castps_pd(t[4 * i + j]));
        u[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pairs[0], pairs[2]));
        u[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pairs[0], pairs[2]));
        u[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pairs[1], pairs[3]));
        u[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pairs[1], pairs[3]));
    }
    // u[4i + j] holds in its quarter l the values of column 4l + j in the rows 4i to 4i + 3.
    for j in 0..4 {
        let a = _mm512_shuffle_f32x4::<0x88>(u[j], u[4 + j]);
        let b = _mm512_shuffle_f32x4::<0xdd>(u[j], u[4 + j]);
        let c = _mm512_shuffle_f32x4::<0x88>(u[8 + j], u[12 + j]);
        let d = _mm512_shuffle_f32x4::<0xdd>(u[8 + j], u[12 + j]);
        out[j] = _mm512_shuffle_f32x4::<0x88>(a, c);
        out[4 + j] = _mm512_shuffle_f32x4::<0x88>(b, d);
        out[8 + j] = _mm512_shuffle_f32x4::<0xdd>(a, c);
        out[12 + j] = _mm512_shuffle_f32x4::<0xdd>(b, d);
    }
    out
}
