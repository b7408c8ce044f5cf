use std::arch::x86_64::*;

use half::bf16;

use super::super::View;
use super::super::avx512::{lanes, transposed};
use super::{DEPTH, Right, TILE};

/// Tiles of the 16 rows from `row` on of `a` [m, k], times a factor; what lies beyond the shape becomes 0.
///
/// # Safety
/// The machine has AVX-512 BF16 and BW, and `a` reaches over the shape.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn pack_left(
    to: &mut [bf16],
    (a, k): (View<'_>, usize),
    factor: f32,
    row: usize,
    m: usize,
) {
    let factors = _mm512_set1_ps(factor);
    let rows = m.saturating_sub(row).min(16);
    for (at, tile) in (0..k).step_by(DEPTH).zip(to.chunks_exact_mut(TILE)) {
        let depth = DEPTH.min(k - at);
        let to = tile.as_mut_ptr().cast::<__m512i>();
        // SAFETY: a tile is 16 vectors; rows and their values lie inside `a`.
        unsafe {
            if a.rs == 1 && a.cs != 1 {
                let low = across_rows(a, row, at, rows, depth);
                let high = across_rows(a, row, at + 16, rows, depth.saturating_sub(16));
                for (i, (low, high)) in low.into_iter().zip(high).enumerate() {
                    _mm512_storeu_si512(to.add(i), rounded(high, low, factors));
                }
                continue;
            }
            for i in 0..16 {
                let values = match i < rows {
                    true => floats(a, row + i, at, depth, factors),
                    false => _mm512_setzero_si512(),
                };
                _mm512_storeu_si512(to.add(i), values);
            }
        }
    }
}

/// Where `a` lies column by column: 16 values of each of `rows` rows from `row` on, `depth` of them not 0.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn across_rows(
    a: View<'_>,
    row: usize,
    at: usize,
    rows: usize,
    depth: usize,
) -> [__m512; 16] {
    let mut block = [_mm512_setzero_ps(); 16];
    for (j, column) in block.iter_mut().enumerate().take(depth) {
        // SAFETY: promised by the caller; masked lanes are not read.
        *column = unsafe { _mm512_maskz_loadu_ps(lanes(rows), a.at(row, at + j)) };
    }
    transposed(block)
}

/// `depth` values of a row from `at` on, times the factors, rounded to bf16, then zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn floats(a: View<'_>, row: usize, at: usize, depth: usize, factors: __m512) -> __m512i {
    let mut line = [0f32; DEPTH];
    // SAFETY: promised by the caller; masked lanes are not read.
    unsafe {
        let from = if a.cs == 1 {
            a.at(row, at)
        } else {
            for (j, value) in line.iter_mut().enumerate().take(depth) {
                *value = *a.at(row, at + j);
            }
            line.as_ptr()
        };
        let low = _mm512_maskz_loadu_ps(lanes(depth), from);
        let high = _mm512_maskz_loadu_ps(lanes(depth.saturating_sub(16)), from.wrapping_add(16));
        rounded(high, low, factors)
    }
}

/// Both times the factors, rounded to bf16, the lower ones first.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
fn rounded(high: __m512, low: __m512, factors: __m512) -> __m512i {
    let (high, low) = (_mm512_mul_ps(high, factors), _mm512_mul_ps(low, factors));
    // SAFETY: both are 64 bytes without invalid patterns.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// `count` floats in order, rounded to bf16, then zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn round(from: *const f32, count: usize) -> __m512i {
    // SAFETY: promised by the caller; masked lanes are not read.
    unsafe {
        let low = _mm512_maskz_loadu_ps(lanes(count), from);
        let high = _mm512_maskz_loadu_ps(lanes(count.saturating_sub(16)), from.wrapping_add(16));
        std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// Tiles of the 16 columns from `column` on of `b` [k, n], as [`pack_left`].
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn pack_right(
    to: &mut [bf16],
    (b, k): (Right<'_>, usize),
    column: usize,
    n: usize,
) {
    let width = n.saturating_sub(column).min(16);
    let (rs, cs, _) = b.strides();
    for (at, tile) in (0..k).step_by(DEPTH).zip(to.chunks_exact_mut(TILE)) {
        let depth = DEPTH.min(k - at);
        let to = tile.as_mut_ptr().cast::<__m512i>();
        // SAFETY: a tile is 16 vectors; rows and columns lie inside `b`.
        unsafe {
            if rs == 1 {
                let mut block = [_mm512_setzero_ps(); 16];
                for (i, line) in block.iter_mut().enumerate().take(width) {
                    let values = along(b, (column + i) * cs + at, depth);
                    *line = _mm512_castsi512_ps(values);
                }
                for (i, line) in transposed(block).iter().enumerate() {
                    _mm512_storeu_si512(to.add(i), _mm512_castps_si512(*line));
                }
            } else {
                for pair in 0..16 {
                    let line = |offset: usize| {
                        if at + 2 * pair + offset >= k {
                            return _mm512_setzero_si512();
                        }
                        let from = (at + 2 * pair + offset) * rs + column * cs;
                        across(b, from, cs, width)
                    };
                    let both = _mm512_or_si512(line(0), _mm512_slli_epi32::<16>(line(1)));
                    _mm512_storeu_si512(to.add(pair), both);
                }
            }
        }
    }
}

/// `depth` values that lie behind one another, as bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn along(b: Right<'_>, from: usize, depth: usize) -> __m512i {
    let mask = if depth >= 32 {
        u32::MAX
    } else {
        (1 << depth) - 1
    };
    // SAFETY: promised by the caller; masked lanes are not read.
    unsafe {
        match b {
            Right::F32(view) => round(view.data.as_ptr().wrapping_add(from), depth),
            Right::Bf16(data, ..) => {
                _mm512_maskz_loadu_epi16(mask, data.as_ptr().wrapping_add(from).cast())
            }
            Right::F16(data, ..) => {
                let values =
                    _mm512_maskz_loadu_epi16(mask, data.as_ptr().wrapping_add(from).cast());
                let low = _mm512_cvtph_ps(_mm512_castsi512_si256(values));
                let high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(values));
                std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
            }
        }
    }
}

/// `width` values with `cs` between them, each as bf16 in the low half of a lane.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn across(b: Right<'_>, from: usize, cs: usize, width: usize) -> __m512i {
    // SAFETY: promised by the caller; masked lanes are not read.
    unsafe {
        if cs != 1 {
            let mut line = [0u32; 16];
            for (j, value) in line.iter_mut().enumerate().take(width) {
                let at = from + j * cs;
                *value = u32::from(match b {
                    Right::F32(view) => bf16::from_f32(view.data[at]).to_bits(),
                    Right::Bf16(data, ..) => data[at].to_bits(),
                    Right::F16(data, ..) => bf16::from_f32(data[at].to_f32()).to_bits(),
                });
            }
            return _mm512_loadu_si512(line.as_ptr().cast());
        }
        let mask = lanes(width);
        let halves = match b {
            Right::F32(view) => {
                let values = _mm512_maskz_loadu_ps(mask, view.data.as_ptr().wrapping_add(from));
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values))
            }
            Right::Bf16(data, ..) => {
                _mm256_maskz_loadu_epi16(mask, data.as_ptr().wrapping_add(from).cast())
            }
            Right::F16(data, ..) => {
                let values =
                    _mm256_maskz_loadu_epi16(mask, data.as_ptr().wrapping_add(from).cast());
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(_mm512_cvtph_ps(
                    values,
                )))
            }
        };
        _mm512_cvtepu16_epi32(halves)
    }
}
