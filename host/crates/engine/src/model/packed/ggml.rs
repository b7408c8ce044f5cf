//! llama.cpp's block formats (`ggml-common.h`, `ggml-quants.c`): packed by candle, unpacked by loops of our own that
//! the compiler turns into vector code.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::f16;
use rayon::prelude::*;

use crate::Result;
use crate::ops::simd::vectorized;

/// Elements of the largest block of all kinds.
pub(super) const LARGEST_BLOCK: usize = 256;

/// A block format of llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Kind {
    /// llama.cpp's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Elements of a block.
    pub(crate) fn block(self) -> usize {
        match self {
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
            _ => 32,
        }
    }

    /// Bytes of a block.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    fn candle(self) -> GgmlDType {
        match self {
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q6K => GgmlDType::Q6K,
        }
    }

    /// Unpacks whole blocks, beginning at element `from`.
    pub(super) fn unpack(self, bytes: &[u8], from: usize, out: &mut [f32]) {
        let bytes = &bytes[from / self.block() * self.bytes()..];
        match self {
            Self::Q4_0 => q4_0(bytes, out),
            Self::Q4_1 => q4_1(bytes, out),
            Self::Q5_0 => q5_0(bytes, out),
            Self::Q5_1 => q5_1(bytes, out),
            Self::Q8_0 => q8_0(bytes, out),
            Self::Q4K => q4_k(bytes, out),
            Self::Q5K => q5_k(bytes, out),
            Self::Q6K => q6_k(bytes, out),
        }
    }
}

/// Packs `count` numbers; a last block that is not full is filled up with zeros.
pub(super) fn pack(
    kind: Kind,
    count: usize,
    read: &mut dyn FnMut(usize, usize) -> Result<Vec<f32>>,
) -> Result<Vec<u8>> {
    const STRETCH: usize = 1 << 20;
    const PART: usize = 1 << 13;
    let block = kind.block();
    let mut bytes = Vec::with_capacity(count.div_ceil(block) * kind.bytes());
    for from in (0..count).step_by(STRETCH) {
        let mut values = read(from, STRETCH.min(count - from))?;
        values.resize(values.len().next_multiple_of(block), 0.0);
        let parts: Vec<Vec<u8>> = values
            .par_chunks(PART)
            .map(|values| {
                let shape = (values.len() / block, block);
                let tensor = Tensor::from_slice(values, shape, &Device::Cpu)?;
                Ok(QTensor::quantize(&tensor, kind.candle())?
                    .data()?
                    .into_owned())
            })
            .collect::<Result<_>>()?;
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
    }
    Ok(bytes)
}

#[inline(always)]
fn half(bytes: &[u8; 2]) -> f32 {
    f16::from_le_bytes(*bytes).to_f32()
}

/// The fields of a block, by their lengths in bytes.
macro_rules! blocks {
    ($bytes:ident, $out:ident, $size:literal, $elements:literal, |$block:ident, $y:ident| $body:block) => {
        let blocks = $bytes.as_chunks::<$size>().0;
        let outs = $out.as_chunks_mut::<$elements>().0;
        for ($block, $y) in blocks.iter().zip(outs) $body
    };
}

vectorized! {
    fn q8_0(bytes: &[u8], out: &mut [f32]) {
        blocks!(bytes, out, 34, 32, |block, y| {
            let d = half(&[block[0], block[1]]);
            for (y, q) in y.iter_mut().zip(&block[2..]) {
                *y = f32::from(*q as i8) * d;
            }
        });
    }
}

vectorized! {
    fn q4_0(bytes: &[u8], out: &mut [f32]) {
        blocks!(bytes, out, 18, 32, |block, y| {
            let d = half(&[block[0], block[1]]);
            let (low, high) = y.split_at_mut(16);
            for ((low, high), q) in low.iter_mut().zip(high).zip(&block[2..]) {
                *low = (i32::from(q & 15) - 8) as f32 * d;
                *high = (i32::from(q >> 4) - 8) as f32 * d;
            }
        });
    }
}

vectorized! {
    fn q4_1(bytes: &[u8], out: &mut [f32]) {
        blocks!(bytes, out, 20, 32, |block, y| {
            let (d, m) = (half(&[block[0], block[1]]), half(&[block[2], block[3]]));
            let (low, high) = y.split_at_mut(16);
            for ((low, high), q) in low.iter_mut().zip(high).zip(&block[4..]) {
                *low = f32::from(q & 15) * d + m;
                *high = f32::from(q >> 4) * d + m;
            }
        });
    }
}

vectorized! {
    fn q5_0(bytes: &[u8], out: &mut [f32]) {
        blocks!(bytes, out, 22, 32, |block, y| {
            let d = half(&[block[0], block[1]]);
            let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
            let (low, high) = y.split_at_mut(16);
            for (j, ((low, high), q)) in low.iter_mut().zip(high).zip(&block[6..]).enumerate() {
                let (a, b) = (fifth >> j & 1, fifth >> (j + 16) & 1);
                *low = ((u32::from(q & 15) | a << 4) as i32 - 16) as f32 * d;
                *high = ((u32::from(q >> 4) | b << 4) as i32 - 16) as f32 * d;
            }
        });
    }
}

vectorized! {
    fn q5_1(bytes: &[u8], out: &mut [f32]) {
        blocks!(bytes, out, 24, 32, |block, y| {
            let (d, m) = (half(&[block[0], block[1]]), half(&[block[2], block[3]]));
            let fifth = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
            let (low, high) = y.split_at_mut(16);
            for (j, ((low, high), q)) in low.iter_mut().zip(high).zip(&block[8..]).enumerate() {
                let (a, b) = (fifth >> j & 1, fifth >> (j + 16) & 1);
                *low = (u32::from(q & 15) | a << 4) as f32 * d + m;
                *high = (u32::from(q >> 4) | b << 4) as f32 * d + m;
            }
        });
    }
}

/// Scale and minimum of eight stretches of 32, 6 bits each in 12 bytes.
#[inline(always)]
fn scale_and_min(j: usize, packed: &[u8]) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (
            packed[j + 4] & 15 | packed[j - 4] >> 6 << 4,
            packed[j + 4] >> 4 | packed[j] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

vectorized! {
    fn q4_k(bytes: &[u8], out: &mut [f32]) {
        blocks!(bytes, out, 144, 256, |block, y| {
            let (d, min) = (half(&[block[0], block[1]]), half(&[block[2], block[3]]));
            let (scales, codes) = (&block[4..16], &block[16..]);
            for (j, (y, codes)) in y.chunks_exact_mut(64).zip(codes.chunks_exact(32)).enumerate() {
                let ((s1, m1), (s2, m2)) = (scale_and_min(2 * j, scales), scale_and_min(2 * j + 1, scales));
                let (d1, m1, d2, m2) = (d * s1, min * m1, d * s2, min * m2);
                let (low, high) = y.split_at_mut(32);
                for ((low, high), q) in low.iter_mut().zip(high).zip(codes) {
                    *low = d1 * f32::from(q & 15) - m1;
                    *high = d2 * f32::from(q >> 4) - m2;
                }
            }
        });
    }
}

vectorized! {
    fn q5_k(bytes: &[u8], out: &mut [f32]) {
        blocks!(bytes, out, 176, 256, |block, y| {
            let (d, min) = (half(&[block[0], block[1]]), half(&[block[2], block[3]]));
            let (scales, fifth, codes) = (&block[4..16], &block[16..48], &block[48..]);
            for (j, (y, codes)) in y.chunks_exact_mut(64).zip(codes.chunks_exact(32)).enumerate() {
                let ((s1, m1), (s2, m2)) = (scale_and_min(2 * j, scales), scale_and_min(2 * j + 1, scales));
                let (d1, m1, d2, m2) = (d * s1, min * m1, d * s2, min * m2);
                let (low, high) = y.split_at_mut(32);
                for (((low, high), q), h) in low.iter_mut().zip(high).zip(codes).zip(fifth) {
                    let (a, b) = (h >> (2 * j) & 1, h >> (2 * j + 1) & 1);
                    *low = d1 * f32::from(q & 15 | a << 4) - m1;
                    *high = d2 * f32::from(q >> 4 | b << 4) - m2;
                }
            }
        });
    }
}

vectorized! {
    fn q6_k(bytes: &[u8], out: &mut [f32]) {
        blocks!(bytes, out, 210, 256, |block, y| {
            let d = half(&[block[208], block[209]]);
            for (n, y) in y.chunks_exact_mut(128).enumerate() {
                let low = &block[64 * n..][..64];
                let high = &block[128 + 32 * n..][..32];
                let scales = &block[192 + 8 * n..][..8];
                for (part, y) in y.chunks_exact_mut(32).enumerate() {
                    let low = &low[32 * (part % 2)..][..32];
                    let (right, shift) = (4 * (part / 2), 2 * part);
                    for (half, y) in y.chunks_exact_mut(16).enumerate() {
                        let scale = d * f32::from(scales[2 * part + half] as i8);
                        let at = 16 * half;
                        for ((y, l), h) in y.iter_mut().zip(&low[at..]).zip(&high[at..]) {
                            let q = (l >> right) & 15 | (h >> shift & 3) << 4;
                            *y = scale * (i32::from(q) - 32) as f32;
                        }
                    }
                }
            }
        });
    }
}
