//! Between the bytes of a file and the values of a tensor, in every float type.

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use crate::{Error, Result};

/// A tensor of stored values as `wanted`.
///
/// # Errors
/// They are no floats.
pub(super) fn read(
    bytes: &[u8],
    stored: Dtype,
    shape: &[usize],
    wanted: DType,
) -> Result<Tensor, String> {
    fn tensor<T: candle_core::WithDType>(data: Vec<T>, shape: &[usize]) -> Result<Tensor, String> {
        Tensor::from_vec(data, shape, &Device::Cpu).map_err(|error| error.to_string())
    }
    match (stored, wanted) {
        (Dtype::F32, DType::F32) => tensor(convert(bytes, f32::from_le_bytes), shape),
        (Dtype::F32, DType::BF16) => tensor(
            convert(bytes, |x| bf16::from_f32(f32::from_le_bytes(x))),
            shape,
        ),
        (Dtype::F32, DType::F16) => tensor(
            convert(bytes, |x| f16::from_f32(f32::from_le_bytes(x))),
            shape,
        ),
        (Dtype::BF16, DType::F32) => {
            tensor(convert(bytes, |x| bf16::from_le_bytes(x).to_f32()), shape)
        }
        (Dtype::BF16, DType::BF16) => tensor(convert(bytes, bf16::from_le_bytes), shape),
        (Dtype::BF16, DType::F16) => tensor(
            convert(bytes, |x| f16::from_f32(bf16::from_le_bytes(x).to_f32())),
            shape,
        ),
        (Dtype::F16, DType::F32) => {
            tensor(convert(bytes, |x| f16::from_le_bytes(x).to_f32()), shape)
        }
        (Dtype::F16, DType::BF16) => tensor(
            convert(bytes, |x| bf16::from_f32(f16::from_le_bytes(x).to_f32())),
            shape,
        ),
        (Dtype::F16, DType::F16) => tensor(convert(bytes, f16::from_le_bytes), shape),
        (Dtype::F64, DType::F32) => tensor(convert(bytes, |x| f64::from_le_bytes(x) as f32), shape),
        (stored, _) => Err(format!(
            "is of type {stored:?}; f32, f16 and bf16 are supported"
        )),
    }
}

fn convert<const N: usize, T: Send + Copy + Default>(
    bytes: &[u8],
    one: impl Fn([u8; N]) -> T + Sync,
) -> Vec<T> {
    let mut out = vec![T::default(); bytes.len() / N];
    const TASK: usize = 1 << 16;
    out.par_chunks_mut(TASK)
        .zip(bytes.par_chunks(TASK * N))
        .for_each(|(out, bytes)| {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *out = one(*bytes);
            }
        });
    out
}

/// Little-endian bytes of a contiguous tensor as `dtype`.
pub(crate) fn to_bytes(tensor: &Tensor, dtype: DType) -> Result<Vec<u8>> {
    let values = crate::ops::widen(tensor)?;
    let (storage, layout) = values.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        return Err(Error::Compute("a tensor to save is not on the CPU".into()));
    };
    let values = crate::ops::storage::floats("save", storage, layout)?;
    Ok(match dtype {
        DType::BF16 => pack(values, |x| bf16::from_f32(x).to_le_bytes()),
        DType::F16 => pack(values, |x| f16::from_f32(x).to_le_bytes()),
        _ => pack(values, f32::to_le_bytes),
    })
}

fn pack<const N: usize>(values: &[f32], one: impl Fn(f32) -> [u8; N] + Sync) -> Vec<u8> {
    let mut out = vec![0u8; values.len() * N];
    const TASK: usize = 1 << 16;
    out.par_chunks_mut(TASK * N)
        .zip(values.par_chunks(TASK))
        .for_each(|(out, values)| {
            for (out, value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
                *out = one(*value);
            }
        });
    out
}
