//! 4-bit NormalFloat with double quantization (QLoRA, arXiv 2305.14314), in bitsandbytes' layout: blocks of 64 values
//! with one scale each; scales less their mean in 8 bits, in blocks of 256.

use std::sync::LazyLock;

use rayon::prelude::*;

use crate::Result;
use crate::ops::simd::vectorized;

/// Values that share a scale.
pub(super) const BLOCK: usize = 64;

/// Scales that share a scale of their own.
const SCALE_BLOCK: usize = 256;

/// The 16 values of the data type: quantiles of a normal distribution, with an exact 0 (QLoRA, appendix E).
#[expect(clippy::excessive_precision, reason = "as the paper prints them")]
const CODE: [f32; 16] = [
    -1.0,
    -0.696_192_800_998_687_7,
    -0.525_073_051_452_636_7,
    -0.394_917_488_098_144_5,
    -0.284_441_381_692_886_35,
    -0.184_773_430_228_233_34,
    -0.091_050_036_251_544_95,
    0.0,
    0.079_580_299_556_255_34,
    0.160_930_201_411_247_25,
    0.246_112_301_945_686_34,
    0.337_915_241_718_292_24,
    0.440_709_829_330_444_34,
    0.562_617_003_917_694_1,
    0.722_956_836_223_602_3,
    1.0,
];

/// Both values of a byte, the high half first, as bitsandbytes packs them.
static PAIRS: LazyLock<[[f32; 2]; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| [CODE[byte >> 4], CODE[byte & 15]]));

/// The 8-bit values of a scale: a sign, a decimal exponent and a linear fraction ("dynamic tree quantization", arXiv
/// 2110.02861), sorted; `create_dynamic_map` of bitsandbytes.
static SCALES: LazyLock<[f32; 256]> = LazyLock::new(|| {
    let mut values = vec![0.0, 1.0];
    for exponent in 0..7 {
        let count = 1usize << exponent;
        let power = 10f64.powi(exponent - 6);
        let border = |i: usize| 0.1 + 0.9 * i as f64 / count as f64;
        for i in 0..count {
            let mean = (power * (border(i) + border(i + 1)) / 2.0) as f32;
            values.extend([mean, -mean]);
        }
    }
    values.sort_by(f32::total_cmp);
    values.try_into().expect("2 and twice 127")
});

/// A list of numbers in NF4.
pub(super) struct Nf4 {
    /// Two values a byte.
    pub(super) codes: Vec<u8>,
    /// A scale each block, as an index of [`SCALES`].
    pub(super) scales: Vec<u8>,
    /// A scale of scales each [`SCALE_BLOCK`].
    outer: Vec<f32>,
    /// Mean of the scales.
    mean: f32,
}

impl Nf4 {
    /// Packs `count` numbers; a last block that is not full is filled up with zeros.
    pub(super) fn pack(
        count: usize,
        read: &mut dyn FnMut(usize, usize) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        const STRETCH: usize = 1 << 20;
        let blocks = count.div_ceil(BLOCK);
        let mut codes = vec![0u8; blocks * BLOCK / 2];
        let mut largest = vec![0f32; blocks];
        for from in (0..count).step_by(STRETCH) {
            let values = read(from, STRETCH.min(count - from))?;
            let first = from / BLOCK;
            codes[first * BLOCK / 2..]
                .par_chunks_mut(BLOCK / 2)
                .zip(largest[first..].par_iter_mut())
                .zip(values.par_chunks(BLOCK))
                .with_min_len(64)
                .for_each(|((codes, largest), values)| *largest = pack_block(codes, values));
        }
        let mean =
            (largest.iter().map(|&x| f64::from(x)).sum::<f64>() / blocks.max(1) as f64) as f32;
        for scale in &mut largest {
            *scale -= mean;
        }
        let mut scales = vec![0u8; blocks];
        let mut outer = Vec::with_capacity(blocks.div_ceil(SCALE_BLOCK));
        for (scales, values) in scales
            .chunks_mut(SCALE_BLOCK)
            .zip(largest.chunks(SCALE_BLOCK))
        {
            let most = values.iter().fold(0f32, |most, x| most.max(x.abs()));
            for (scale, value) in scales.iter_mut().zip(values) {
                *scale = nearest(&*SCALES, if most > 0.0 { value / most } else { 0.0 });
            }
            outer.push(most);
        }
        Ok(Self {
            codes,
            scales,
            outer,
            mean,
        })
    }

    #[cfg(any(test, feature = "cuda"))]
    pub(super) fn parts(&self) -> super::Parts<'_> {
        super::Parts::Nf4 {
            codes: &self.codes,
            scales: &self.scales,
            outer: &self.outer,
            values: &SCALES,
            mean: self.mean,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.codes.len() + self.scales.len() + 4 * self.outer.len() + 4) as u64
    }

    fn scale(&self, block: usize) -> f32 {
        SCALES[usize::from(self.scales[block])] * self.outer[block / SCALE_BLOCK] + self.mean
    }

    /// Unpacks whole blocks, beginning at element `from`.
    pub(super) fn unpack(&self, from: usize, out: &mut [f32]) {
        let first = from / BLOCK;
        let pairs = &*PAIRS;
        for (i, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let codes = &self.codes[(first + i) * BLOCK / 2..][..BLOCK / 2];
            unpack_block(out, codes, self.scale(first + i), pairs);
        }
    }
}

vectorized! {
    fn unpack_block(out: &mut [f32], codes: &[u8], scale: f32, pairs: &[[f32; 2]; 256]) {
        for (out, code) in out.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
            let pair = pairs[usize::from(*code)];
            *out = [pair[0] * scale, pair[1] * scale];
        }
    }
}

/// Returns the block's scale: its largest absolute value.
fn pack_block(codes: &mut [u8], values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let factor = if largest > 0.0 { 1.0 / largest } else { 0.0 };
    let code = |i: usize| nearest(&CODE, values.get(i).map_or(0.0, |x| x * factor));
    for (i, out) in codes.iter_mut().enumerate() {
        *out = code(2 * i) << 4 | code(2 * i + 1);
    }
    largest
}

/// Index of the value nearest to `x`; of two as near, the lower one.
fn nearest(sorted: &[f32], x: f32) -> u8 {
    let above = sorted.partition_point(|value| *value < x);
    let index = match above {
        0 => 0,
        _ if above == sorted.len() => above - 1,
        _ if x - sorted[above - 1] <= sorted[above] - x => above - 1,
        _ => above,
    };
    index as u8
}
