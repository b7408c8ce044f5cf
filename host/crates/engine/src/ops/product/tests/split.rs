use proptest::prelude::*;

use super::*;

/// How far the tiles and the crate `gemm` are from f64.
struct Errors {
    split: f64,
    gemm: f64,
}

/// The largest errors of both, each over the sum of magnitudes that f32 rounds: what a bound for a dot product speaks of.
fn errors(m: usize, n: usize, k: usize, a: &[f32], b: &[f32]) -> Errors {
    let view = |data, rs| View { data, rs, cs: 1 };
    let term = Term::new(view(a, k), view(b, n), k);
    let (mut by_split, mut by_gemm) = (vec![0f32; m * n], vec![0f32; m * n]);
    // SAFETY: the caller asked for the tiles, and the slices hold the shapes.
    unsafe {
        let dst = Shared(by_split.as_mut_ptr());
        super::super::split::sum(dst, n, (m, n), &[term], (1.0, 0.0));
        by_gemm_only(&mut by_gemm, n, (m, n), term);
    }
    let mut worst = Errors {
        split: 0.0,
        gemm: 0.0,
    };
    for row in 0..m {
        for column in 0..n {
            let (mut exact, mut magnitude) = (0f64, 0f64);
            for at in 0..k {
                let product = f64::from(a[row * k + at]) * f64::from(b[at * n + column]);
                exact += product;
                magnitude += product.abs();
            }
            let over = |got: f32| (f64::from(got) - exact).abs() / magnitude.max(1e-300);
            worst.split = worst.split.max(over(by_split[row * n + column]));
            worst.gemm = worst.gemm.max(over(by_gemm[row * n + column]));
        }
    }
    worst
}

unsafe fn by_gemm_only(dst: &mut [f32], n: usize, shape: (usize, usize), term: Term<'_>) {
    // SAFETY: promised by the caller.
    unsafe { by_gemm(Shared(dst.as_mut_ptr()), (n, 1), shape, term, 1.0, 0.0) };
}

/// Values of either sign whose magnitudes spread over `2^±range`.
fn spread(count: usize, seed: u64, range: f64) -> Vec<f32> {
    let exponents = values(count, seed ^ 0x5eed);
    let signs = values(count, seed);
    signs
        .iter()
        .zip(exponents)
        .map(|(&sign, exponent)| {
            let scale = (f64::from(exponent) * 2.0 * range).exp2();
            ((f64::from(sign) + 0.5f64.copysign(f64::from(sign))) * scale) as f32
        })
        .collect()
}

/// One rounding of a value to f32, as a share of it.
const ROUNDING: f64 = 1.0 / (1 << 24) as f64;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_split_product_is_as_near_to_the_exact_one_as_that_of_f32(
        m in 1usize..90, n in 1usize..90, k in 1usize..1400, seed in any::<u64>(), range in 0.0f64..30.0
    ) {
        if !super::super::split::available() {
            return Ok(());
        }
        let (a, b) = (spread(m * k, seed, range), spread(k * n, seed ^ 1, range));
        let worst = errors(m, n, k, &a, &b);
        prop_assert!(
            worst.split <= 2.0 * worst.gemm + 2.0 * ROUNDING,
            "{m} x {n} x {k}, magnitudes 2^±{range}: {:.2} roundings, f32 {:.2}",
            worst.split / ROUNDING, worst.gemm / ROUNDING
        );
    }

    #[test]
    fn weights_in_bf16_give_the_bits_of_all_six_products(
        m in 32usize..80, n in 32usize..80, k in 32usize..700, seed in any::<u64>()
    ) {
        if !super::super::split::available() {
            return Ok(());
        }
        let a = values(m * k, seed);
        let mut b: Vec<f32> = values(k * n, seed ^ 1)
            .iter()
            .map(|&x| ::half::bf16::from_f32(x).to_f32())
            .collect();
        let product = |b: &[f32], n: usize| {
            let view = |data, rs| View { data, rs, cs: 1 };
            let mut out = vec![0f32; m * n];
            sum(&mut out, (n, 1), (m, n), &[Term::new(view(&a, k), view(b, n), k)], 1.0, 0.0);
            out
        };
        let three = product(&b, n);
        // A last digit in each pair of column tiles makes all six needed; in no more than one column of each.
        for column in (0..n).step_by(32) {
            b[column] = f32::from_bits(b[column].to_bits() | 1);
        }
        let six = product(&b, n);
        for row in 0..m {
            for column in (0..n).filter(|column| column % 32 != 0) {
                prop_assert_eq!(three[row * n + column].to_bits(), six[row * n + column].to_bits());
            }
        }
    }
}

#[test]
fn a_split_product_of_what_is_not_finite_is_not_finite() {
    let (m, n, k) = (64, 64, 64);
    for bad in [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::from_bits(0x7fff_ffff),
        f32::from_bits(0x7f80_0001),
    ] {
        for left in [true, false] {
            let (mut a, mut b) = (values(m * k, 1), values(k * n, 2));
            if left {
                a[5 * k + 7] = bad;
            } else {
                b[7 * n + 9] = bad;
            }
            let view = |data, rs| View { data, rs, cs: 1 };
            let mut out = vec![0f32; m * n];
            let terms = [Term::new(view(&a, k), view(&b, n), k)];
            sum(&mut out, (n, 1), (m, n), &terms, 1.0, 0.0);
            for row in 0..m {
                for column in 0..n {
                    let touched = if left { row == 5 } else { column == 9 };
                    assert_eq!(
                        out[row * n + column].is_finite(),
                        !touched,
                        "{bad}, left {left}"
                    );
                }
            }
        }
    }
}
