use std::arch::x86_64::*;
use std::ops::Range;

use half::bf16;

use super::super::super::storage::Shared;
use super::super::avx512::lanes;
use super::{TILE, Unit};

/// Where a task writes.
pub(in super::super) struct Output {
    pub(in super::super) dst: Shared,
    pub(in super::super) dst_rs: usize,
    pub(in super::super) shape: (usize, usize),
    pub(in super::super) alpha: f32,
    pub(in super::super) beta: f32,
}

/// Whether processor and system have AMX for bf16, and the system lets this process use it.
pub(super) fn available() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const TILE_DATA: libc::c_long = 18;
        let features = __cpuid_count(7, 0).edx;
        // Bits 22 and 24: AMX-BF16, AMX-TILE.
        if features >> 22 & 1 == 0 || features >> 24 & 1 == 0 {
            return false;
        }
        // Leaf 13: the states that the system lets programs use; 17 and 18 are the tiles' configuration and data.
        if __cpuid_count(13, 0).eax >> 17 & 0b11 != 0b11 {
            return false;
        }
        // SAFETY: the call grants this process the larger state, or says no.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// One side of a product: the tiles of a row (on the left), or of a column (on the right), behind one another.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    pub(super) values: &'a [bf16],
    /// Values from the first tile of a row or column to that of the next.
    pub(super) stride: usize,
}

impl Tiles<'_> {
    fn reaches(&self, lines: usize, depth: usize) -> bool {
        lines == 0 || (lines - 1) * self.stride + depth * TILE <= self.values.len()
    }

    /// A pair of rows or columns: the first tile of each.
    fn pair(&self, at: usize) -> [*const bf16; 2] {
        let first = self.values[at * 2 * self.stride..].as_ptr();
        [first, first.wrapping_add(self.stride)]
    }
}

/// Pairs of row tiles by pairs of column tiles. The right side holds the `pairs.1` pairs of columns from pair `pairs.0` on.
///
/// # Safety
/// The machine has the unit, and `out` reaches over its shape.
pub(super) unsafe fn run(
    unit: Unit,
    (left, right): (Tiles<'_>, Tiles<'_>),
    depth: usize,
    rows: Range<usize>,
    pairs: (usize, usize),
    out: &Output,
) {
    assert!(left.reaches(rows.end * 2, depth) && right.reaches(pairs.1 * 2, depth));
    if unit == Unit::Avx512 {
        for row in rows {
            for pair in 0..pairs.1 {
                let place = (row * 32, (pairs.0 + pair) * 32);
                // SAFETY: promised by the caller, and checked above.
                unsafe { avx512(left.pair(row), right.pair(pair), depth, out, place) };
            }
        }
        return;
    }
    // SAFETY: promised by the caller.
    unsafe { configure() };
    let mut sums = Sums::default();
    for row in rows {
        for pair in 0..pairs.1 {
            // SAFETY: as above.
            unsafe {
                amx(left.pair(row), right.pair(pair), depth, &mut sums);
                out.add(&sums, row * 32, (pairs.0 + pair) * 32);
            }
        }
    }
    // SAFETY: as above.
    unsafe { release() };
}

/// Four tiles of 16 x 16 sums: upper left, upper right, lower left, lower right.
#[repr(C, align(64))]
pub(in super::super) struct Sums(pub(in super::super) [f32; 1024]);

impl Default for Sums {
    fn default() -> Self {
        Self([0.0; 1024])
    }
}

/// All tiles of this thread to 16 rows of 64 bytes.
///
/// # Safety
/// The machine has AMX.
pub(in super::super) unsafe fn configure() {
    #[repr(C, align(64))]
    struct Configuration([u8; 64]);
    let mut configuration = Configuration([0; 64]);
    configuration.0[0] = 1;
    for tile in 0..8 {
        configuration.0[16 + 2 * tile] = 64;
        configuration.0[48 + tile] = 16;
    }
    // SAFETY: the machine has AMX, and the configuration is valid.
    unsafe { std::arch::asm!("ldtilecfg [{}]", in(reg) &configuration, options(nostack)) };
}

/// Gives the tiles back, so that a thread that sleeps has none to save.
///
/// # Safety
/// The machine has AMX.
pub(in super::super) unsafe fn release() {
    // SAFETY: promised by the caller.
    unsafe { std::arch::asm!("tilerelease", options(nostack)) };
}

/// # Safety
/// The tiles are configured; `a` and `b` point to `depth` tiles each.
unsafe fn amx(a: [*const bf16; 2], b: [*const bf16; 2], depth: usize, sums: &mut Sums) {
    // SAFETY: promised by the caller. The compiler uses no tile registers of its own.
    unsafe {
        std::arch::asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {depth}, {depth}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{a} + {stride}*1]",
            "tileloadd tmm6, [{b} + {stride}*1]",
            "tileloadd tmm7, [{b_right} + {stride}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a_lower} + {stride}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 1024",
            "add {a_lower}, 1024",
            "add {b}, 1024",
            "add {b_right}, 1024",
            "dec {depth}",
            "jnz 2b",
            "3:",
            "tilestored [{sums} + {stride}*1], tmm0",
            "tilestored [{sums} + {stride}*1 + 1024], tmm1",
            "tilestored [{sums} + {stride}*1 + 2048], tmm2",
            "tilestored [{sums} + {stride}*1 + 3072], tmm3",
            a = inout(reg) a[0] => _,
            a_lower = inout(reg) a[1] => _,
            b = inout(reg) b[0] => _,
            b_right = inout(reg) b[1] => _,
            depth = inout(reg) depth => _,
            stride = in(reg) 64usize,
            sums = in(reg) sums.0.as_mut_ptr(),
            options(nostack),
        );
    }
}

/// As [`amx`], 8 rows by 32 columns at a time in 16 accumulators, from which the sums go to their place.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn avx512(
    a: [*const bf16; 2],
    b: [*const bf16; 2],
    depth: usize,
    out: &Output,
    (row, column): (usize, usize),
) {
    for block in 0..4 {
        let from = row + 8 * block;
        if from >= out.shape.0 {
            return;
        }
        let rows = a[block / 2].wrapping_add(block % 2 * (TILE / 2));
        let mut totals = [[_mm512_setzero_ps(); 2]; 8];
        for tile in 0..depth {
            for pair in 0..16 {
                let at = tile * TILE + pair * 32;
                // SAFETY: both sides reach over `depth` tiles.
                unsafe {
                    let columns = b.map(|b| {
                        let values = _mm512_loadu_si512(b.wrapping_add(at).cast());
                        std::mem::transmute::<__m512i, __m512bh>(values)
                    });
                    for (i, totals) in totals.iter_mut().enumerate() {
                        let from = rows.wrapping_add(tile * TILE + i * 32 + pair * 2);
                        let x = _mm512_set1_epi32(from.cast::<i32>().read_unaligned());
                        let x = std::mem::transmute::<__m512i, __m512bh>(x);
                        for (total, column) in totals.iter_mut().zip(columns) {
                            *total = _mm512_dpbf16_ps(*total, x, column);
                        }
                    }
                }
            }
        }
        for (i, totals) in totals.iter().enumerate() {
            if from + i < out.shape.0 {
                // SAFETY: promised by the caller.
                unsafe { out.put(*totals, from + i, column) };
            }
        }
    }
}

impl Output {
    /// The place of a sum.
    pub(in super::super) fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.dst.at(row * self.dst_rs + column)
    }

    /// Adds a block of 32 x 32 sums, as far as it lies inside the shape.
    ///
    /// # Safety
    /// The machine has AVX-512, and `dst` reaches over the shape.
    #[target_feature(enable = "avx512f")]
    pub(in super::super) unsafe fn add(&self, sums: &Sums, row: usize, column: usize) {
        for i in 0..32.min(self.shape.0 - row) {
            let from = i / 16 * 512 + i % 16 * 16;
            // SAFETY: 16 sums lie at either place; promised by the caller.
            unsafe {
                let totals =
                    [from, from + 256].map(|at| _mm512_loadu_ps(sums.0[at..at + 16].as_ptr()));
                self.put(totals, row + i, column);
            }
        }
    }

    /// Adds 32 sums of a row, as far as they lie inside the shape.
    ///
    /// # Safety
    /// As [`Self::add`]; the row lies inside the shape.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn put(&self, totals: [__m512; 2], row: usize, column: usize) {
        let (alpha, beta) = (_mm512_set1_ps(self.alpha), _mm512_set1_ps(self.beta));
        for (right, total) in totals.into_iter().enumerate() {
            let column = column + 16 * right;
            if column >= self.shape.1 {
                return;
            }
            let mask = lanes(self.shape.1 - column);
            let to = self.at(row, column);
            // SAFETY: the caller promises that `dst` reaches over the shape.
            unsafe {
                let mut y = _mm512_mul_ps(alpha, total);
                if self.beta != 0.0 {
                    y = _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(mask, to), y);
                }
                _mm512_mask_storeu_ps(to, mask, y);
            }
        }
    }
}
