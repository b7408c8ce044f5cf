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

/// Pairs of row tiles by pairs of column tiles. `right` holds the `pairs.1` pairs of columns from pair `pairs.0` on.
///
/// # Safety
/// The machine has the unit, and both sides hold `depth` tiles for each tile of rows or columns.
pub(super) unsafe fn run(
    unit: Unit,
    left: &[bf16],
    right: &[bf16],
    depth: usize,
    rows: Range<usize>,
    pairs: (usize, usize),
    out: &Output,
) {
    assert!(left.len() >= rows.end * 2 * depth * TILE);
    assert!(right.len() >= pairs.1 * 2 * depth * TILE);
    let side = depth * TILE;
    if unit == Unit::Amx {
        // SAFETY: promised by the caller.
        unsafe { configure() };
    }
    let mut sums = Sums::default();
    for row in rows {
        for pair in 0..pairs.1 {
            let a = left[row * 2 * side..].as_ptr();
            let b = right[pair * 2 * side..].as_ptr();
            // SAFETY: promised by the caller, and checked above.
            unsafe {
                match unit {
                    Unit::Amx => amx(a, b, depth, &mut sums),
                    Unit::Avx512 => avx512(a, b, depth, &mut sums),
                }
                out.add(&sums, row * 32, (pairs.0 + pair) * 32);
            }
        }
    }
    if unit == Unit::Amx {
        // SAFETY: as above.
        unsafe { release() };
    }
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
/// The tiles are configured; `a` and `b` point to two rows of `depth` tiles.
unsafe fn amx(a: *const bf16, b: *const bf16, depth: usize, sums: &mut Sums) {
    let side = depth * TILE;
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
            a = inout(reg) a => _,
            a_lower = inout(reg) a.wrapping_add(side) => _,
            b = inout(reg) b => _,
            b_right = inout(reg) b.wrapping_add(side) => _,
            depth = inout(reg) depth => _,
            stride = in(reg) 64usize,
            sums = in(reg) sums.0.as_mut_ptr(),
            options(nostack),
        );
    }
}

/// As [`amx`], 8 rows by 32 columns at a time in 16 accumulators.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn avx512(a: *const bf16, b: *const bf16, depth: usize, sums: &mut Sums) {
    let side = depth * TILE;
    for block in 0..4 {
        let rows = a.wrapping_add(block / 2 * side + block % 2 * (TILE / 2));
        let mut totals = [[_mm512_setzero_ps(); 2]; 8];
        for tile in 0..depth {
            for pair in 0..16 {
                let at = tile * TILE + pair * 32;
                // SAFETY: both sides reach over `depth` tiles.
                unsafe {
                    let columns = [b.wrapping_add(at), b.wrapping_add(side + at)].map(|b| {
                        std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.cast()))
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
            for (right, &total) in totals.iter().enumerate() {
                let to = block / 2 * 512 + right * 256 + (block % 2 * 8 + i) * 16;
                // SAFETY: 16 sums fit there.
                unsafe { _mm512_storeu_ps(sums.0[to..to + 16].as_mut_ptr(), total) };
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
    #[target_feature(enable = "avx512f")]
    ///
    /// # Safety
    /// The machine has AVX-512, and `dst` reaches over the shape.
    pub(in super::super) unsafe fn add(&self, sums: &Sums, row: usize, column: usize) {
        let (m, n) = self.shape;
        let (alpha, beta) = (_mm512_set1_ps(self.alpha), _mm512_set1_ps(self.beta));
        for i in 0..32.min(m - row) {
            for right in 0..2 {
                let column = column + 16 * right;
                if column >= n {
                    continue;
                }
                let mask = lanes(n - column);
                let to = self.dst.at((row + i) * self.dst_rs + column);
                let from = i / 16 * 512 + right * 256 + i % 16 * 16;
                // SAFETY: the caller promises that `dst` reaches over the shape; 16 sums lie at `from`.
                unsafe {
                    let mut y =
                        _mm512_mul_ps(alpha, _mm512_loadu_ps(sums.0[from..from + 16].as_ptr()));
                    if self.beta != 0.0 {
                        y = _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(mask, to), y);
                    }
                    _mm512_mask_storeu_ps(to, mask, y);
                }
            }
        }
    }
}
