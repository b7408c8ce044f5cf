//! Sums of matrix products, by the best kernel that the machine has.
//!
//! In f32 the tiles of AMX multiply where the machine has them, else the crate `gemm`, but for products with a side as
//! small as an adapter's rank; in bf16 kernels of our own do. Each output is one sum over the shared dimension in its
//! order, cut at places that depend on the shape alone: the same bits on any number of threads.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod half;
#[cfg(target_arch = "x86_64")]
mod lines;
#[cfg(target_arch = "x86_64")]
mod split;

#[cfg(target_arch = "x86_64")]
pub(crate) use half::{HalfTerm, Right, Side, UNIT, multiply, sum_half};

use gemm::Parallelism;

use super::storage::Shared;

/// A matrix of floats with any strides.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) data: &'a [f32],
    /// Elements from a row to the next.
    pub(crate) rs: usize,
    /// Elements from a column to the next.
    pub(crate) cs: usize,
}

/// One product of a sum: `factor` times `a` [m, k] by `b` [k, n].
#[derive(Clone, Copy)]
pub(crate) struct Term<'a> {
    pub(crate) a: View<'a>,
    pub(crate) b: View<'a>,
    pub(crate) k: usize,
    pub(crate) factor: f32,
}

impl<'a> Term<'a> {
    /// `a` by `b`.
    pub(crate) fn new(a: View<'a>, b: View<'a>, k: usize) -> Self {
        let factor = 1.0;
        Self { a, b, k, factor }
    }

    /// `bᵀ` by `aᵀ`.
    #[cfg(target_arch = "x86_64")]
    fn turned(&self) -> Self {
        let (a, b) = (self.b.transposed(), self.a.transposed());
        Self { a, b, ..*self }
    }
}

impl View<'_> {
    #[cfg(target_arch = "x86_64")]
    fn transposed(self) -> Self {
        Self {
            rs: self.cs,
            cs: self.rs,
            ..self
        }
    }

    /// Whether a matrix of this shape lies inside the slice.
    pub(crate) fn reaches(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.rs + (columns - 1) * self.cs < self.data.len()
    }

    #[cfg(target_arch = "x86_64")]
    fn at(&self, row: usize, column: usize) -> *const f32 {
        self.data
            .as_ptr()
            .wrapping_add(row * self.rs + column * self.cs)
    }
}

/// `dst = alpha · Σ a·b + beta · dst` for `dst` [m, n]; with `beta` 0 whatever `dst` held is not read.
///
/// # Panics
/// A shape reaches over its slice.
pub(crate) fn sum(
    dst: &mut [f32],
    (rs, cs): (usize, usize),
    (m, n): (usize, usize),
    terms: &[Term<'_>],
    alpha: f32,
    beta: f32,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * rs + (n - 1) * cs < dst.len());
    for term in terms {
        assert!(term.a.reaches(m, term.k) && term.b.reaches(term.k, n));
    }
    let dst = Shared(dst.as_mut_ptr());
    #[cfg(target_arch = "x86_64")]
    let on_tiles = split::available()
        && split::fits(m, n, terms.iter().map(|term| term.k).max().unwrap_or(0))
        // One column of tiles would not repay the packing of the left side.
        && !terms.iter().any(|term| is_narrow((rs, cs), (m, n), term));
    #[cfg(target_arch = "x86_64")]
    if on_tiles {
        if cs == 1 {
            // SAFETY: the shapes were checked above.
            unsafe { split::sum(dst, rs, (m, n), terms, (alpha, beta)) };
            return;
        }
        if rs == 1 {
            let turned: Vec<Term<'_>> = terms.iter().map(|term| term.turned()).collect();
            // SAFETY: as above; rows and columns change places on all sides.
            unsafe { split::sum(dst, cs, (n, m), &turned, (alpha, beta)) };
            return;
        }
    }
    let mut beta = beta;
    for &term in terms {
        // SAFETY: the shapes were checked above.
        unsafe { one(dst, (rs, cs), (m, n), term, alpha * term.factor, beta) };
        beta = 1.0;
    }
}

/// Whether the kernel for narrow right sides takes this product.
#[cfg(target_arch = "x86_64")]
fn is_narrow((_, cs): (usize, usize), (m, n): (usize, usize), term: &Term<'_>) -> bool {
    n <= avx512::COLUMNS
        && m >= 2 * n
        && cs == 1
        && term.a.cs == 1
        && term.k > 0
        && *super::simd::LEVEL == super::simd::Level::Avx512
}

/// Whether the kernel for few rows takes this product.
#[cfg(target_arch = "x86_64")]
fn is_short((m, n): (usize, usize), term: &Term<'_>) -> bool {
    m <= avx512::COLUMNS
        && n >= 2 * m
        && term.b.cs == 1
        && term.k > 0
        && *super::simd::LEVEL == super::simd::Level::Avx512
}

/// # Safety
/// Every element that shapes and strides reach lies in live memory.
unsafe fn one(
    dst: Shared,
    strides: (usize, usize),
    (m, n): (usize, usize),
    term: Term<'_>,
    alpha: f32,
    beta: f32,
) {
    #[cfg(target_arch = "x86_64")]
    if is_narrow(strides, (m, n), &term) {
        // SAFETY: the level says that the machine has AVX-512; the caller promises the rest.
        unsafe { avx512::narrow(dst, strides.0, (m, n), term, alpha, beta) };
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if is_short((m, n), &term) {
        // SAFETY: as above.
        unsafe { avx512::short(dst, strides, (m, n), term, alpha, beta) };
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if is_short((n, m), &term.turned()) {
        let (rs, cs) = strides;
        // SAFETY: as above; rows and columns change places on all sides.
        unsafe { avx512::short(dst, (cs, rs), (n, m), term.turned(), alpha, beta) };
        return;
    }
    // SAFETY: promised by the caller.
    unsafe { by_gemm(dst, strides, (m, n), term, alpha, beta) };
}

/// By the kernels of the crate `gemm` (AVX-512, AVX2 with FMA, NEON, plain).
///
/// # Safety
/// As [`one`].
unsafe fn by_gemm(
    dst: Shared,
    (rs, cs): (usize, usize),
    (m, n): (usize, usize),
    term: Term<'_>,
    alpha: f32,
    beta: f32,
) {
    let parallelism = if m * n * term.k < 32 * 1024 {
        Parallelism::None
    } else {
        Parallelism::Rayon(rayon::current_num_threads())
    };
    // SAFETY: promised by the caller.
    unsafe {
        gemm::gemm(
            m,
            n,
            term.k,
            dst.at(0),
            cs as isize,
            rs as isize,
            beta != 0.0,
            term.a.data.as_ptr(),
            term.a.cs as isize,
            term.a.rs as isize,
            term.b.data.as_ptr(),
            term.b.cs as isize,
            term.b.rs as isize,
            beta,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests;
