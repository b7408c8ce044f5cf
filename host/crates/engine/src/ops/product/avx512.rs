//! The f32 product by a narrow matrix for machines with AVX-512, as where an adapter reads its input: many rows of `a`,
//! and no more columns than three vectors hold.
//!
//! A tile of 8 rows stays in registers while a block of the shared dimension passes. `b` is packed; `a` is read where it
//! lies, since nothing of it is read twice. Measured at 1.2 times the rate of the crate `gemm`, which packs both; for
//! wide matrices its kernels are the faster ones.

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
                    b: packed.as_ptr(),
                    k,
                    dst: self.dst.at(row * self.dst_rs),
                    dst_rs: self.dst_rs,
                    mask: lanes((self.width - 1) % 16 + 1),
                    alpha: self.alpha,
                    beta: if from == 0 { self.beta } else { 1.0 },
                };
                let rows = MR.min(rows.end - row);
                // SAFETY: promised by the caller.
                unsafe {
                    match step / 16 {
                        3 => tile.rows::<3>(rows),
                        2 => tile.rows::<2>(rows),
                        _ => tile.rows::<1>(rows),
                    }
                }
            }
        }
    }
}

struct Tile {
    a: *const f32,
    a_rs: usize,
    /// Rows of as many vectors as the tile has, behind one another.
    b: *const f32,
    k: usize,
    dst: *mut f32,
    dst_rs: usize,
    /// Lanes of the last vector.
    mask: u16,
    alpha: f32,
    beta: f32,
}

impl Tile {
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn rows<const V: usize>(&self, rows: usize) {
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
        let mut rows = [self.a; M];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = self.a.wrapping_add(i * self.a_rs);
        }
        let mut b = self.b;
        for at in 0..self.k {
            // SAFETY: the caller promises that `a` and `b` reach over `k`.
            unsafe {
                let mut vectors = [_mm512_setzero_ps(); V];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = _mm512_loadu_ps(b.add(16 * v));
                }
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let x = _mm512_set1_ps(*row.add(at));
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = _mm512_fmadd_ps(x, vector, *sum);
                    }
                }
            }
            b = b.wrapping_add(16 * V);
        }
        let (alpha, beta) = (_mm512_set1_ps(self.alpha), _mm512_set1_ps(self.beta));
        for (i, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let mask = if v + 1 == V { self.mask } else { 0xffff };
                let to = self.dst.wrapping_add(i * self.dst_rs + 16 * v);
                // SAFETY: the caller promises that `dst` reaches over the rows and the masked columns.
                unsafe {
                    let mut y = _mm512_mul_ps(sum, alpha);
                    if self.beta != 0.0 {
                        y = _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(mask, to), y);
                    }
                    _mm512_mask_storeu_ps(to, mask, y);
                }
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
