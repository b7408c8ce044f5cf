use half::bf16;

use super::super::super::storage::Shared;
use super::super::View;
use super::super::lines::{Line, reserve, values};
use super::pack::{pack_left, pack_right};
use super::tiles::{self, Output, Tiles};
use super::{DEPTH, Right, TILE, UNIT};

/// An operand in bf16, packed once for several products on one thread, as attention makes them. Its memory is used again.
#[derive(Default)]
pub(crate) struct Side {
    lines: Vec<Line>,
    /// Rows (of a left operand) or columns (of a right one), in tiles.
    across: usize,
    /// Tiles of the shared dimension.
    depth: usize,
}

impl Side {
    /// Packs `a` [m, k] as a left operand.
    ///
    /// # Panics
    /// The shape reaches over the slice, or the machine has no [`UNIT`].
    pub(crate) fn left(&mut self, a: View<'_>, m: usize, k: usize) {
        assert!(a.reaches(m, k) && UNIT.is_some());
        self.packed(m, k, |to, row| {
            // SAFETY: checked above; the unit says that the machine has AVX-512 BF16.
            unsafe { pack_left(to, (a, k), 1.0, row, m) };
        });
    }

    /// Packs `b` [k, n] as a right operand.
    ///
    /// # Panics
    /// As [`Self::left`].
    pub(crate) fn right(&mut self, b: View<'_>, k: usize, n: usize) {
        assert!(b.reaches(k, n) && UNIT.is_some());
        self.packed(n, k, |to, column| {
            // SAFETY: as above.
            unsafe { pack_right(to, (Right::F32(b), k), column, n) };
        });
    }

    fn packed(&mut self, lines: usize, k: usize, pack: impl Fn(&mut [bf16], usize)) {
        (self.across, self.depth) = (lines.div_ceil(32) * 2, k.div_ceil(DEPTH));
        let stride = self.depth * TILE;
        let count = self.across * stride;
        reserve(&mut self.lines, count / DEPTH);
        let tiles = &mut values(&mut self.lines)[..count];
        for (at, to) in tiles.chunks_exact_mut(stride.max(1)).enumerate() {
            pack(to, at * 16);
        }
    }

    /// The tiles from tile `depth` of the shared dimension and from pair `pair` across on.
    fn tiles(&self, depth: usize, pair: usize) -> Tiles<'_> {
        let stride = self.depth * TILE;
        let from = pair * 2 * stride + depth * TILE;
        let values = Line::values(&self.lines);
        Tiles {
            values: &values[from..self.across * stride],
            stride,
        }
    }
}

/// `dst = alpha · a·b + beta · dst` for `dst` [m, n] with contiguous rows, on this thread.
///
/// `b` may hold more than takes part: `skipped` tiles of its shared dimension, and pairs of its columns' tiles, are left out.
///
/// # Safety
/// `dst` reaches over the shape, in memory to which nothing else refers.
///
/// # Panics
/// A side does not hold what takes part.
pub(crate) unsafe fn multiply(
    a: &Side,
    b: &Side,
    skipped: (usize, usize),
    (dst, dst_rs): (*mut f32, usize),
    (m, n): (usize, usize),
    (alpha, beta): (f32, f32),
) {
    let unit = UNIT.expect("sides are packed where there is a unit");
    let out = Output {
        dst: Shared(dst),
        dst_rs,
        shape: (m, n),
        alpha,
        beta,
    };
    let sides = (a.tiles(0, 0), b.tiles(skipped.0, skipped.1));
    let (rows, pairs) = (0..m.div_ceil(32), (0, n.div_ceil(32)));
    // SAFETY: the unit is there; promised by the caller.
    unsafe { tiles::run(unit, sides, a.depth, rows, pairs, &out) };
}
