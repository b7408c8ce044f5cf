//! Operands cut into three bf16 and laid out as the kernel reads them: for each step the two tiles of the first part,
//! of the second, of the third. What lies beyond the shape is zero.

use std::arch::x86_64::*;

use super::super::avx512::{lanes, transposed};
use super::super::lines::Line;
use super::super::{Term, View};
use super::{DEPTH, STEP};

/// Both tiles of the 32 rows from `row` on.
///
/// # Safety
/// The machine has AVX-512 F and BW, the terms reach over `m` rows, and `to` holds their steps.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn left(to: &mut [Line], terms: &[Term<'_>], row: usize, m: usize) {
    let mut steps = to.chunks_exact_mut(STEP);
    for term in terms {
        for (at, step) in (0..term.k).step_by(DEPTH).zip(&mut steps) {
            for tile in 0..2 {
                let row = row + 16 * tile;
                let rows = m.saturating_sub(row).min(16);
                let to = &raw mut step[tile * 16];
                // SAFETY: `rows` rows from `row` on lie inside the term, and each part of the tile has 16 lines.
                unsafe {
                    if term.a.cs == 1 {
                        left_by_rows(to, term, row, rows, at);
                    } else {
                        left_by_columns(to, term, row, rows, at);
                    }
                }
            }
        }
    }
}

/// One tile, of rows whose values lie behind one another.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn left_by_rows(to: *mut Line, term: &Term<'_>, row: usize, rows: usize, at: usize) {
    let left = term.k - at;
    let masks = (lanes(left), lanes(left.saturating_sub(16)));
    for i in 0..16 {
        let (mut low, mut high) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        if i < rows {
            let from = term.a.at(row + i, at);
            // SAFETY: promised by the caller; masked lanes are not read.
            unsafe {
                low = _mm512_maskz_loadu_ps(masks.0, from);
                high = _mm512_maskz_loadu_ps(masks.1, from.wrapping_add(16));
            }
        }
        // SAFETY: as above.
        unsafe { store_row(to.add(i), term.factor, low, high) };
    }
}

/// One tile, of rows with any strides.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn left_by_columns(to: *mut Line, term: &Term<'_>, row: usize, rows: usize, at: usize) {
    let (mut low, mut high) = ([_mm512_setzero_ps(); 16], [_mm512_setzero_ps(); 16]);
    // SAFETY: promised by the caller.
    unsafe {
        across(&mut low, term.a, row, rows, at, term.k);
        across(&mut high, term.a, row, rows, at + 16, term.k);
        let (low, high) = (transposed(low), transposed(high));
        for i in 0..16 {
            store_row(to.add(i), term.factor, low[i], high[i]);
        }
    }
}

/// The parts of 32 values of a row.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn store_row(to: *mut Line, factor: f32, low: __m512, high: __m512) {
    let factor = _mm512_set1_ps(factor);
    let (low, high) = (
        parts(_mm512_mul_ps(low, factor)),
        parts(_mm512_mul_ps(high, factor)),
    );
    for part in 0..3 {
        let halves = upper_halves(low[part], high[part]);
        // SAFETY: promised by the caller.
        unsafe { _mm512_store_si512(to.add(32 * part).cast(), halves) };
    }
}

/// Both tiles of the 32 columns from `column` on. Returns a bit for each term, 1 where a second or third part is not zero.
///
/// # Safety
/// As [`left`], for `n` columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn right(to: &mut [Line], terms: &[Term<'_>], column: usize, n: usize) -> u32 {
    let mut steps = to.chunks_exact_mut(STEP);
    let mut marks = 0;
    for (index, term) in terms.iter().enumerate() {
        let mut rest = _mm512_setzero_si512();
        for (at, step) in (0..term.k).step_by(DEPTH).zip(&mut steps) {
            for tile in 0..2 {
                let column = column + 16 * tile;
                let columns = n.saturating_sub(column).min(16);
                let to = &raw mut step[tile * 16];
                // SAFETY: `columns` columns from `column` on lie inside the term, and each part of the tile has 16 lines.
                unsafe {
                    if term.b.cs == 1 {
                        right_by_rows(to, term, column, columns, at, &mut rest);
                    } else {
                        right_by_columns(to, term, column, columns, at, &mut rest);
                    }
                }
            }
        }
        // A zero may have either sign.
        let digits = _mm512_and_si512(rest, _mm512_set1_epi16(0x7fff));
        marks |= u32::from(_mm512_test_epi32_mask(digits, digits) != 0) << index;
    }
    marks
}

/// One tile, of rows of the shared dimension whose values lie behind one another.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn right_by_rows(
    to: *mut Line,
    term: &Term<'_>,
    column: usize,
    columns: usize,
    at: usize,
    rest: &mut __m512i,
) {
    let mask = lanes(columns);
    let load = |at: usize| {
        if at >= term.k {
            return _mm512_setzero_ps();
        }
        // SAFETY: promised by the caller; masked lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(mask, term.b.at(at, column)) }
    };
    for pair in 0..16 {
        let (even, odd) = (load(at + 2 * pair), load(at + 2 * pair + 1));
        // SAFETY: promised by the caller.
        unsafe { store_pair(to.add(pair), even, odd, rest) };
    }
}

/// One tile, with any strides.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn right_by_columns(
    to: *mut Line,
    term: &Term<'_>,
    column: usize,
    columns: usize,
    at: usize,
    rest: &mut __m512i,
) {
    let turned = term.b.transposed();
    for half in 0..2 {
        let from = at + 16 * half;
        let mut block = [_mm512_setzero_ps(); 16];
        // SAFETY: promised by the caller; masked lanes are not read.
        unsafe {
            if turned.cs == 1 {
                let mask = lanes(term.k.saturating_sub(from));
                for (i, line) in block.iter_mut().enumerate().take(columns) {
                    *line = _mm512_maskz_loadu_ps(mask, turned.at(column + i, from));
                }
                block = transposed(block);
            } else {
                across(&mut block, turned, column, columns, from, term.k);
            }
            for pair in 0..8 {
                let to = to.add(8 * half + pair);
                store_pair(to, block[2 * pair], block[2 * pair + 1], rest);
            }
        }
    }
}

/// The parts of two places of the shared dimension, by turns; bits of second and third parts are added to `rest`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn store_pair(to: *mut Line, even: __m512, odd: __m512, rest: &mut __m512i) {
    let (even, odd) = (parts(even), parts(odd));
    for part in 0..3 {
        let pairs = _mm512_or_si512(_mm512_srli_epi32::<16>(even[part]), odd[part]);
        // SAFETY: promised by the caller.
        unsafe { _mm512_store_si512(to.add(32 * part).cast(), pairs) };
        if part > 0 {
            *rest = _mm512_or_si512(*rest, pairs);
        }
    }
}

/// A value as three bf16 in the upper halves of their lanes: the nearest, the one nearest to the rest, and the rest.
///
/// Of what is not finite one part is not finite.
#[target_feature(enable = "avx512f")]
#[inline]
fn parts(x: __m512) -> [__m512i; 3] {
    let (half, upper) = (
        _mm512_set1_epi32(0x8000),
        _mm512_set1_epi32(0xffff_0000_u32 as i32),
    );
    let nearest =
        |x: __m512| _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper);
    let first = nearest(x);
    let rest = _mm512_sub_ps(x, _mm512_castsi512_ps(first));
    let second = nearest(rest);
    let third = _mm512_sub_ps(rest, _mm512_castsi512_ps(second));
    // A NaN's payload may lie below.
    let third = _mm512_and_si512(_mm512_castps_si512(third), upper);
    [first, second, third]
}

/// The upper halves of all lanes, in their order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn upper_halves(low: __m512i, high: __m512i) -> __m512i {
    const ODD: [u16; 32] = {
        let mut odd = [0; 32];
        let mut i = 0;
        while i < 32 {
            odd[i] = 2 * i as u16 + 1;
            i += 1;
        }
        odd
    };
    // SAFETY: the table is 64 bytes.
    let odd = unsafe { _mm512_loadu_si512(ODD.as_ptr().cast()) };
    _mm512_permutex2var_epi16(low, odd, high)
}

/// 16 places of the shared dimension from `at` on, of `rows` rows each; what lies beyond stays as it is.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn across(
    out: &mut [__m512; 16],
    a: View<'_>,
    row: usize,
    rows: usize,
    at: usize,
    k: usize,
) {
    for (i, out) in out.iter_mut().enumerate().take(k.saturating_sub(at)) {
        // SAFETY: promised by the caller; masked lanes are not read.
        unsafe {
            *out = if a.rs == 1 {
                _mm512_maskz_loadu_ps(lanes(rows), a.at(row, at + i))
            } else {
                let mut line = [0f32; 16];
                for (j, value) in line.iter_mut().enumerate().take(rows) {
                    *value = *a.at(row + j, at + i);
                }
                _mm512_loadu_ps(line.as_ptr())
            };
        }
    }
}
