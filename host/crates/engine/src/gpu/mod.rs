//! The GPUs of this machine, and what keeps a run from using them, in words.

#[cfg(feature = "cuda")]
mod driver;

use serde::{Deserialize, Serialize};

/// One NVIDIA GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its number: N of `cuda:N`, counted within `CUDA_VISIBLE_DEVICES`.
    pub index: usize,
    /// What its maker calls it.
    pub name: String,
    /// Compute capability, as `9.0`.
    pub compute_capability: String,
    /// Bytes.
    pub memory_total: u64,
    /// Bytes that no process holds.
    pub memory_free: u64,
    /// Degrees Celsius; `None` where the driver's monitor (NVML) does not tell.
    pub temperature: Option<u32>,
    /// Watts.
    pub power: Option<f64>,
    /// Percent of the last moments in which it computed.
    pub utilization: Option<u32>,
}

/// The GPUs that this program could train on; where there is none, one sentence that says what is missing and what to do.
///
/// # Errors
/// The sentence.
pub fn gpus() -> Result<Vec<Gpu>, String> {
    #[cfg(feature = "cuda")]
    return driver::gpus();
    #[cfg(not(feature = "cuda"))]
    Err("this build trains on the CPU; codetune-cuda is the one for GPUs".to_owned())
}

/// GPU `ordinal` as it is at this moment; `None` where nobody tells.
#[cfg(any(test, feature = "cuda"))]
pub(crate) fn now(ordinal: usize) -> Option<Gpu> {
    #[cfg(feature = "cuda")]
    return driver::now(ordinal);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = ordinal;
        None
    }
}

/// Number of the GPU that `model.device` names; `None` for what names none (`auto`, `cpu`).
#[cfg(any(test, feature = "cuda"))]
pub(crate) fn ordinal(device: &str) -> Option<usize> {
    match device.strip_prefix("cuda")? {
        "" => Some(0),
        number => number.strip_prefix(':')?.parse().ok(),
    }
}

/// Fails with what keeps a run from using GPU `ordinal`.
#[cfg(feature = "cuda")]
pub(crate) fn usable(ordinal: usize, bf16: bool) -> crate::Result<()> {
    driver::usable(ordinal, bf16)
        .map_err(|message| domain::FieldErrors::one("model.device", message).into())
}
