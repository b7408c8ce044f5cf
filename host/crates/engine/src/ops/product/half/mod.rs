//! Products in bf16 with sums in f32, on AMX tiles or with AVX-512 BF16.
//!
//! Both operands are packed into tiles of 1 KiB: `a` as 16 rows of 32 values, `b` as 16 pairs of the shared dimension
//! by 16 columns. Rounding to bf16 happens on packing, whatever type the values have. A weight keeps one layout in
//! memory and is packed in each call, in either direction: profiled, that is some 8 % of a bf16 step.

mod pack;
mod side;
mod tiles;

use std::sync::LazyLock;

use half::{bf16, f16};
use rayon::prelude::*;

use super::super::storage::Shared;
use super::lines::{self, values};
use super::{Term, View};
use pack::{pack_left, pack_right};
pub(crate) use side::{Side, multiply};
use tiles::Tiles;
pub(super) use tiles::{Output, Sums, configure, release};

/// The unit that multiplies bf16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    /// AMX tiles of 16 x 32 values.
    Amx,
    /// AVX-512 BF16: 32 products an instruction.
    Avx512,
}

/// What the machine has; `None` where bf16 must be widened. Looked up once.
pub(crate) static UNIT: LazyLock<Option<Unit>> = LazyLock::new(|| {
    let vectors = *super::super::simd::LEVEL == super::super::simd::Level::Avx512
        && is_x86_feature_detected!("avx512bf16");
    let allowed = super::super::simd::forced();
    match vectors {
        false => None,
        true if allowed == Some("avx512") => None,
        true if allowed != Some("avx512-bf16") && tiles::available() => Some(Unit::Amx),
        true => Some(Unit::Avx512),
    }
});

/// A right operand [k, n] with any strides, as it is held.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    F32(View<'a>),
    Bf16(&'a [bf16], usize, usize),
    F16(&'a [f16], usize, usize),
}

/// One product of a sum: `factor` times `a` [m, k] by `b` [k, n].
#[derive(Clone, Copy)]
pub(crate) struct HalfTerm<'a> {
    pub(crate) a: View<'a>,
    pub(crate) b: Right<'a>,
    pub(crate) k: usize,
    pub(crate) factor: f32,
}

impl<'a> From<Term<'a>> for HalfTerm<'a> {
    fn from(Term { a, b, k, factor }: Term<'a>) -> Self {
        let b = Right::F32(b);
        Self { a, b, k, factor }
    }
}

impl HalfTerm<'_> {
    /// Tiles that its shared dimension takes.
    fn depth(&self) -> usize {
        self.k.div_ceil(DEPTH)
    }
}

impl Right<'_> {
    fn strides(&self) -> (usize, usize, usize) {
        match self {
            Self::F32(view) => (view.rs, view.cs, view.data.len()),
            Self::Bf16(data, rs, cs) => (*rs, *cs, data.len()),
            Self::F16(data, rs, cs) => (*rs, *cs, data.len()),
        }
    }

    fn reaches(&self, rows: usize, columns: usize) -> bool {
        let (rs, cs, len) = self.strides();
        rows == 0 || columns == 0 || (rows - 1) * rs + (columns - 1) * cs < len
    }

    /// Its rows from `from` on.
    fn rows_below(self, from: usize) -> Self {
        match self {
            Self::F32(view) => Self::F32(View {
                data: &view.data[from * view.rs..],
                ..view
            }),
            Self::Bf16(data, rs, cs) => Self::Bf16(&data[from * rs..], rs, cs),
            Self::F16(data, rs, cs) => Self::F16(&data[from * rs..], rs, cs),
        }
    }
}

/// Values of a tile.
const TILE: usize = 512;
/// Values of the shared dimension in a tile.
const DEPTH: usize = 32;
/// Most of the shared dimension that is packed at once.
const KC: usize = 2048;
/// Most pairs of column tiles that one task packs.
const PAIRS: usize = 4;

/// `dst = alpha · Σ a·b + beta · dst` with rows of `dst` contiguous; operands are rounded to bf16, sums are in f32.
///
/// # Panics
/// A shape reaches over its slice, or the machine has no [`UNIT`].
pub(crate) fn sum_half(
    dst: &mut [f32],
    dst_rs: usize,
    (m, n): (usize, usize),
    terms: &[HalfTerm<'_>],
    alpha: f32,
    beta: f32,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * dst_rs + n <= dst.len());
    for term in terms {
        assert!(term.a.reaches(m, term.k) && term.b.reaches(term.k, n));
    }
    let unit = UNIT.expect("callers ask for the unit first");
    // Blocks of the shared dimension: as many terms as fit, a long term by pieces.
    let mut blocks: Vec<Vec<HalfTerm<'_>>> = vec![Vec::new()];
    let mut filled = 0;
    for term in terms {
        let pieces = term.k.div_ceil(KC).max(1);
        let piece = term.k.div_ceil(pieces).next_multiple_of(DEPTH);
        for from in (0..term.k).step_by(piece.max(1)) {
            let k = piece.min(term.k - from);
            if filled > 0 && filled + k > KC + DEPTH * 4 {
                blocks.push(Vec::new());
                filled = 0;
            }
            filled += k.next_multiple_of(DEPTH);
            blocks.last_mut().expect("never empty").push(HalfTerm {
                a: View {
                    data: &term.a.data[from * term.a.cs..],
                    ..term.a
                },
                b: term.b.rows_below(from),
                k,
                ..*term
            });
        }
    }
    let dst = Shared(dst.as_mut_ptr());
    for (index, block) in blocks.iter().enumerate() {
        let beta = if index == 0 { beta } else { 1.0 };
        let depth: usize = block.iter().map(HalfTerm::depth).sum();
        if depth == 0 && beta == 1.0 {
            continue;
        }
        let out = Output {
            dst,
            dst_rs,
            shape: (m, n),
            alpha,
            beta,
        };
        lines::with(m.div_ceil(32) * 2 * depth * TILE / 32, |left| {
            one_block(out, block, depth, unit, values(left));
        });
    }
}

fn one_block(out: Output, terms: &[HalfTerm<'_>], depth: usize, unit: Unit, left: &mut [bf16]) {
    let (m, n) = out.shape;
    let row_pairs = m.div_ceil(32);
    let parallel = m * n * depth * DEPTH > 256 * 1024;
    let pack = |(at, to): (usize, &mut [bf16])| {
        for (term, to) in terms.iter().zip(shares(to, terms)) {
            // SAFETY: the unit says that the machine has AVX-512 BF16; shapes were checked by the caller.
            unsafe { pack_left(to, (term.a, term.k), term.factor, at * 16, m) };
        }
    };
    if parallel {
        left.par_chunks_mut(depth * TILE).enumerate().for_each(pack);
    } else {
        left.chunks_mut(depth * TILE).enumerate().for_each(pack);
    }
    let left = &*left;

    let column_pairs = n.div_ceil(32);
    let threads = rayon::current_num_threads();
    let widest = column_pairs.div_ceil(2 * threads).clamp(1, PAIRS);
    // As many strips as threads share out evenly, where there are so many.
    let strips = column_pairs.div_ceil(widest).next_multiple_of(threads);
    let strip = column_pairs.div_ceil(strips);
    let strips = column_pairs.div_ceil(strip);
    let row_tasks = (2 * threads)
        .div_ceil(strips)
        .min(row_pairs.div_ceil(4))
        .max(1);
    let rows_each = row_pairs.div_ceil(row_tasks);
    let row_tasks = row_pairs.div_ceil(rows_each);
    let task = |task: usize| {
        let (rows, strip_at) = ((task % row_tasks) * rows_each, (task / row_tasks) * strip);
        let pairs = strip.min(column_pairs - strip_at);
        lines::with(pairs * 2 * depth * TILE / 32, |right| {
            let right = values(right);
            let stride = depth * TILE;
            for pair in 0..2 * pairs {
                let to = &mut right[pair * depth * TILE..][..depth * TILE];
                let column = (strip_at * 2 + pair) * 16;
                for (term, to) in terms.iter().zip(shares(to, terms)) {
                    // SAFETY: as above.
                    unsafe { pack_right(to, (term.b, term.k), column, n) };
                }
            }
            let rows = rows..(rows + rows_each).min(row_pairs);
            let (left, right) = (
                Tiles {
                    values: left,
                    stride,
                },
                Tiles {
                    values: right,
                    stride,
                },
            );
            // SAFETY: the unit is there, `left` and `right` hold the tiles, and each task writes to places of its own.
            unsafe { tiles::run(unit, (left, right), depth, rows, (strip_at, pairs), &out) };
        });
    };
    let tasks = row_tasks * strips;
    if parallel && tasks > 1 {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    } else {
        (0..tasks).for_each(task);
    }
}

/// The tiles of each term in those of a row or a column.
fn shares<'a>(
    mut tiles: &'a mut [bf16],
    terms: &[HalfTerm<'_>],
) -> impl Iterator<Item = &'a mut [bf16]> {
    terms.iter().map(move |term| {
        let all = std::mem::take(&mut tiles);
        let (own, rest) = all.split_at_mut(term.depth() * TILE);
        tiles = rest;
        own
    })
}
