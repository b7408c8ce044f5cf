//! From candle's storage to plain slices and back.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// The elements of a contiguous f32 tensor.
pub(crate) fn floats<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&data[start..end]),
        _ => bail!("{op}: needs contiguous f32, has {layout:?}"),
    }
}

/// The elements of a contiguous f32 tensor, to write to.
pub(crate) fn floats_mut<'a>(
    op: &str,
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&mut data[start..end]),
        _ => bail!("{op}: needs contiguous f32, has {layout:?}"),
    }
}

/// The elements of a contiguous u32 tensor.
pub(crate) fn ids<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [u32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::U32(data), Some((start, end))) => Ok(&data[start..end]),
        _ => bail!("{op}: needs contiguous u32, has {layout:?}"),
    }
}

/// Runs `f` on the elements of a tensor that an op holds beside its arguments.
pub(crate) fn with_floats<R>(
    op: &str,
    tensor: &Tensor,
    f: impl FnOnce(&[f32]) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(floats(op, storage, layout)?),
        _ => bail!("{op}: runs on the CPU only"),
    }
}

/// As [`with_floats`], for u32.
pub(crate) fn with_ids<R>(
    op: &str,
    tensor: &Tensor,
    f: impl FnOnce(&[u32]) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(ids(op, storage, layout)?),
        _ => bail!("{op}: runs on the CPU only"),
    }
}

/// A buffer for an op that writes every element before anything reads one.
///
/// Zeroing it first would cost another pass over memory for each op.
#[expect(clippy::uninit_vec, reason = "every op writes the whole of its output")]
pub(crate) fn unwritten(len: usize) -> Vec<f32> {
    let mut data = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and f32 has neither a destructor nor invalid bit patterns.
    unsafe { data.set_len(len) };
    data
}

/// A tensor whose elements are written before they are read.
pub(crate) fn unwritten_tensor(shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(
        unwritten(shape.iter().product()),
        shape,
        &candle_core::Device::Cpu,
    )
}

/// A pointer that tasks share to write to places that do not overlap.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub(crate) *mut f32);

// SAFETY: whoever makes one promises that the tasks write to disjoint elements.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer at an offset; a method so that closures capture the whole struct.
    #[inline(always)]
    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// Rows that one task takes, so that a task is worth its start.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (16_384 / width.max(1)).max(1)
}
