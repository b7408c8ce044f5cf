//! Steps of 32 values of the shared dimension for a pair of row tiles and a pair of column tiles. The sums stay in the
//! tiles 0 to 3 from [`zero`] to [`store`]; the compiler uses no tiles of its own.

use std::arch::asm;

pub(super) use super::super::half::{Sums, configure, release};
use super::super::lines::Line;

/// Four products of the pair in the tiles 4 and 5 by that in 6 and 7.
macro_rules! four {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6
         tdpbf16ps tmm1, tmm4, tmm7
         tdpbf16ps tmm2, tmm5, tmm6
         tdpbf16ps tmm3, tmm5, tmm7"
    };
}

/// A pair of the left side: a part's place, and that of its second tile.
macro_rules! left {
    ($first:literal, $second:literal) => {
        concat!(
            "tileloadd tmm4, [{a} + {line}*1 + ",
            $first,
            "]\n tileloadd tmm5, [{a} + {line}*1 + ",
            $second,
            "]"
        )
    };
}

/// A pair of the right side.
macro_rules! right {
    ($first:literal, $second:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {line}*1 + ",
            $first,
            "]\n tileloadd tmm7, [{b} + {line}*1 + ",
            $second,
            "]"
        )
    };
}

/// # Safety
/// The tiles are configured.
pub(super) unsafe fn zero() {
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Adds the products of both sides' parts (3, 1), (2, 1), (1, 1), (1, 3), (1, 2), (2, 2): an order in which a pair of
/// tiles stays for the next product wherever it can.
///
/// # Safety
/// The tiles are configured, and both sides hold `steps` steps.
pub(super) unsafe fn six(a: *const Line, b: *const Line, steps: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "2:",
            left!(4096, 5120),
            right!(0, 1024),
            four!(),
            left!(2048, 3072),
            four!(),
            left!(0, 1024),
            four!(),
            right!(4096, 5120),
            four!(),
            right!(2048, 3072),
            four!(),
            left!(2048, 3072),
            four!(),
            "add {a}, 6144",
            "add {b}, 6144",
            "dec {steps}",
            "jnz 2b",
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            steps = inout(reg) steps => _,
            line = in(reg) 64usize,
            options(readonly, nostack),
        );
    }
}

/// As [`six`], where the right side's second and third parts are zero.
///
/// # Safety
/// As there.
pub(super) unsafe fn three(a: *const Line, b: *const Line, steps: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "2:",
            left!(4096, 5120),
            right!(0, 1024),
            four!(),
            left!(2048, 3072),
            four!(),
            left!(0, 1024),
            four!(),
            "add {a}, 6144",
            "add {b}, 6144",
            "dec {steps}",
            "jnz 2b",
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            steps = inout(reg) steps => _,
            line = in(reg) 64usize,
            options(readonly, nostack),
        );
    }
}

/// # Safety
/// The tiles are configured.
pub(super) unsafe fn store(sums: &mut Sums) {
    // SAFETY: promised by the caller; four tiles of 1 KiB fit.
    unsafe {
        asm!(
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 1024], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 3072], tmm3",
            sums = in(reg) sums.0.as_mut_ptr(),
            line = in(reg) 64usize,
            options(nostack, preserves_flags),
        );
    }
}

/// Writes the sums to rows of floats, `row` floats from one to the next.
///
/// # Safety
/// The tiles are configured, and 32 rows of 32 floats lie there.
pub(super) unsafe fn store_at(to: *mut f32, row: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        asm!(
            "tilestored [{upper} + {row}*1], tmm0",
            "tilestored [{upper} + {row}*1 + 64], tmm1",
            "tilestored [{lower} + {row}*1], tmm2",
            "tilestored [{lower} + {row}*1 + 64], tmm3",
            upper = in(reg) to,
            lower = in(reg) to.wrapping_add(16 * row),
            row = in(reg) 4 * row,
            options(nostack, preserves_flags),
        );
    }
}
