//! Plain loops compiled several times, for the vector units that a machine may have.

use std::sync::LazyLock;

/// Which set of instructions the running machine has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// AVX-512 F, BW, DQ, VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the target promises by itself.
    Base,
}

/// What a test run is held to, below what the machine has: `base`, `avx2`, `avx512` (bf16 is widened) or `avx512-bf16`
/// (no AMX). Nothing but the tests of this crate reads it.
#[cfg(test)]
pub(crate) fn forced() -> Option<&'static str> {
    let wanted = std::env::var("CODETUNE_TEST_VECTORS").ok()?;
    let known = ["base", "avx2", "avx512", "avx512-bf16"];
    let found = known.into_iter().find(|known| *known == wanted);
    assert!(found.is_some(), "CODETUNE_TEST_VECTORS: {wanted:?}");
    found
}

/// Programs use what the machine has.
#[cfg(not(test))]
pub(crate) fn forced() -> Option<&'static str> {
    None
}

/// Looked up once.
pub(crate) static LEVEL: LazyLock<Level> = LazyLock::new(|| {
    if forced() == Some("base") {
        return Level::Base;
    }
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if avx2
            && forced() != Some("avx2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Base
});

/// Defines a function whose body is compiled once for each [`Level`] and picked when it is called.
///
/// What the body calls must be `#[inline(always)]`, or it stays compiled for the base level.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                match *$crate::ops::simd::LEVEL {
                    // SAFETY: the level says that the machine has these instructions.
                    $crate::ops::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::ops::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::ops::simd::Level::Base => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorized;

/// Lanes that a reduction keeps apart, so that it vectorises and still adds in one fixed order.
pub(crate) const LANES: usize = 64;

/// e to the power of `x`, within 2 units in the last place; 0 below -87.3, and NaN stays NaN.
///
/// Range reduction and polynomial as in Cephes' `expf`, without a branch.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    let clamped = if x > 88.3 { 88.3 } else { x };
    let clamped = if clamped < -87.3 { -87.3 } else { clamped };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    let exponent = shifted
        .to_bits()
        .wrapping_sub(SHIFT.to_bits())
        .wrapping_add(127)
        << 23;
    let value = p * f32::from_bits(exponent);
    if x < -87.3 { 0.0 } else { value }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent, within a few units in the last place: the rational approximation that Eigen and XLA use.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const LARGEST: f32 = 7.905_311;
    let clamped = if x > LARGEST { LARGEST } else { x };
    let clamped = if clamped < -LARGEST {
        -LARGEST
    } else {
        clamped
    };
    let square = clamped * clamped;
    let p = -2.760_768_5e-16_f32;
    let p = p.mul_add(square, 2.000_188e-13);
    let p = p.mul_add(square, -8.604_672e-11);
    let p = p.mul_add(square, 5.122_297e-8);
    let p = p.mul_add(square, 1.485_722_4e-5);
    let p = p.mul_add(square, 6.372_619e-4);
    let p = p.mul_add(square, 4.893_525e-3);
    let q = 1.198_258_4e-6_f32;
    let q = q.mul_add(square, 1.185_347e-4);
    let q = q.mul_add(square, 2.268_434_7e-3);
    let q = q.mul_add(square, 4.893_525e-3);
    clamped * p / q
}

/// The error function, within 4e-7: the rational approximation that Eigen and XLA use.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let clamped = if x > 4.0 { 4.0 } else { x };
    let clamped = if clamped < -4.0 { -4.0 } else { clamped };
    let square = clamped * clamped;
    let p = -2.726_142_3e-10_f32;
    let p = p.mul_add(square, 2.770_681_4e-8);
    let p = p.mul_add(square, -2.101_024e-6);
    let p = p.mul_add(square, -5.692_506_6e-5);
    let p = p.mul_add(square, -7.349_906_3e-4);
    let p = p.mul_add(square, -2.954_6e-3);
    let p = p.mul_add(square, -1.609_603_3e-2);
    let q = -1.456_607_2e-5_f32;
    let q = q.mul_add(square, -2.133_740_6e-4);
    let q = q.mul_add(square, -1.682_827e-3);
    let q = q.mul_add(square, -7.373_329e-3);
    let q = q.mul_add(square, -1.426_473_9e-2);
    clamped * p / q
}

/// Adds the lanes and the rest in a fixed order.
#[inline(always)]
fn fold(lanes: [f32; LANES], rest: f32) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0] + rest
}

/// Sum of `f(i)`-weighted products: the sum of squares.
#[inline(always)]
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] = chunk[lane].mul_add(chunk[lane], lanes[lane]);
        }
    }
    let rest = chunks.remainder().iter().map(|x| x * x).sum();
    fold(lanes, rest)
}

/// Sum of `a[i] * b[i]`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    for (a, b) in a[..whole]
        .chunks_exact(LANES)
        .zip(b[..whole].chunks_exact(LANES))
    {
        for lane in 0..LANES {
            lanes[lane] = a[lane].mul_add(b[lane], lanes[lane]);
        }
    }
    let rest = a[whole..].iter().zip(&b[whole..]).map(|(a, b)| a * b).sum();
    fold(lanes, rest)
}

/// Sum of all values.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    let rest = chunks.remainder().iter().sum();
    fold(lanes, rest)
}

/// Largest value; NaN where one is NaN is not promised, the sum of exponentials shows it.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] {
                chunk[lane]
            } else {
                lanes[lane]
            };
        }
    }
    let mut best = f32::NEG_INFINITY;
    for &x in lanes.iter().chain(chunks.remainder()) {
        best = if x > best { x } else { best };
    }
    best
}

/// Replaces every `x` by `exp(x - shift)` and returns their sum.
#[inline(always)]
pub(crate) fn exp_in_place(x: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = x.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - shift);
            lanes[lane] += chunk[lane];
        }
    }
    let mut rest = 0f32;
    for x in chunks.into_remainder() {
        *x = exp(*x - shift);
        rest += *x;
    }
    fold(lanes, rest)
}

/// Sum of `exp(x - shift)`.
#[inline(always)]
pub(crate) fn sum_of_exp(x: &[f32], shift: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] += exp(chunk[lane] - shift);
        }
    }
    let rest = chunks.remainder().iter().map(|x| exp(x - shift)).sum();
    fold(lanes, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    vectorized! {
        fn exp_all(x: &mut [f32]) {
            for x in x { *x = exp(*x); }
        }
    }

    #[test]
    fn exp_is_within_two_ulp_of_the_exact_value() {
        let inputs: Vec<f32> = (-8700..8800).map(|i| i as f32 * 0.01).collect();
        let mut outputs = inputs.clone();
        exp_all(&mut outputs);
        for (x, y) in inputs.iter().zip(outputs) {
            let exact = f64::from(*x).exp();
            let error = (f64::from(y) - exact).abs() / exact;
            assert!(
                error < 2.5e-7,
                "exp({x}) = {y}, exact {exact}, error {error}"
            );
        }
        let mut edge = [f32::NEG_INFINITY, -1000.0, f32::NAN, 0.0];
        exp_all(&mut edge);
        assert_eq!(edge[0], 0.0);
        assert_eq!(edge[1], 0.0);
        assert!(edge[2].is_nan());
        assert_eq!(edge[3], 1.0);
    }

    /// erf in f64: its Taylor series, which converges everywhere.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn tanh_and_erf_are_the_exact_values_to_a_few_units_in_the_last_place() {
        for i in -3000..3000 {
            let x = i as f32 * 0.003_1;
            let exact = f64::from(x).tanh();
            let error = (f64::from(tanh(x)) - exact).abs();
            assert!(error <= 4e-7 * exact.abs(), "tanh({x}) = {}", tanh(x));
            let x = x.clamp(-4.5, 4.5);
            let exact = exact_erf(f64::from(x));
            let error = (f64::from(erf(x)) - exact).abs();
            assert!(
                error <= 4e-7 * exact.abs(),
                "erf({x}) = {}, {exact}",
                erf(x)
            );
        }
        assert!(tanh(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
        assert!((tanh(f32::INFINITY) - 1.0).abs() < 4e-7 && (erf(-50.0) + 1.0).abs() < 4e-7);
    }
}
