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

/// Memory of a GPU, in bytes.
#[cfg(any(test, feature = "cuda"))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) free: u64,
    pub(crate) total: u64,
    /// By this process.
    pub(crate) held: u64,
}

/// That a GPU has no room for so many bytes more, and who has it, where that is known.
#[cfg(any(test, feature = "cuda"))]
pub(crate) fn full(which: &str, bytes: u64, room: Option<Room>) -> String {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let wanted = gigabytes(bytes);
    let Some(room) = room else {
        return format!("the memory of {which} is full: {wanted:.3} GB more are not there");
    };
    let others = room.total.saturating_sub(room.free + room.held);
    format!(
        "the memory of {which} is full: {wanted:.3} GB more are not there. Of its {:.1} GB this run holds {:.1}, {:.1} are held \
         by the driver and other processes, and {:.1} are free",
        gigabytes(room.total),
        gigabytes(room.held),
        gigabytes(others),
        gigabytes(room.free)
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_whose_memory_others_hold_is_told_with_who_holds_what() {
        let room = Room {
            free: 400_000_000,
            total: 80_000_000_000,
            held: 12_000_000_000,
        };
        assert_eq!(
            full("cuda:1", 1_500_000_000, Some(room)),
            "the memory of cuda:1 is full: 1.500 GB more are not there. Of its 80.0 GB this run holds 12.0, 67.6 are held by the \
             driver and other processes, and 0.4 are free"
        );
        let unknown = full("cuda:0", 4_000_000, None);
        assert!(
            unknown.ends_with("0.004 GB more are not there"),
            "{unknown}"
        );
    }

    #[test]
    fn devices_are_named_as_torch_names_them() {
        assert_eq!(ordinal("cuda"), Some(0));
        assert_eq!(ordinal("cuda:3"), Some(3));
        assert_eq!(ordinal("auto"), None);
        assert_eq!(ordinal("cuda:x"), None);
    }
}
