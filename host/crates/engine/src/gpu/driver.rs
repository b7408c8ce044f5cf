//! What the driver and its monitor tell, both loaded when they are asked.

use std::sync::OnceLock;

use cudarc::driver::result::{self, device};
use cudarc::driver::{CudaContext, sys};
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

use super::Gpu;

/// What this build needs: the CUDA release of its bindings and kernels, and the drivers that have it.
const CUDA: (i32, i32) = (13, 0);
const DRIVER: &str = "580 or newer";
/// The oldest GPUs that the kernels are compiled for.
const CAPABILITY: (i32, i32) = (8, 0);

/// Fails with what is missing for any GPU to be used.
fn ready() -> Result<(), String> {
    // cudarc panics where a library is missing, so this is asked first. SAFETY: loading libraries of NVIDIA's runs their
    // initializers alone.
    if !unsafe { sys::is_culib_present() } {
        return Err(format!(
            "there is no NVIDIA driver: libcuda.so.1 was not found. Install driver {DRIVER} (CUDA {}.{})",
            CUDA.0, CUDA.1
        ));
    }
    let mut version = 0;
    // SAFETY: the library is there, and the pointer is to a live number.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) }.result();
    asked.map_err(|error| format!("the NVIDIA driver does not tell its version: {error}"))?;
    fitting(version)?;
    result::init().map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => {
            "the NVIDIA driver finds no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES".to_owned()
        }
        _ => format!(
            "the NVIDIA driver does not start: {error}. Check nvidia-smi; after an update of the driver, restart the machine"
        ),
    })?;
    // SAFETY: as above.
    if !unsafe { cudarc::cublas::sys::is_culib_present() } {
        return Err(format!(
            "cuBLAS was not found: libcublas.so.{0} and libcublasLt.so.{0}. Install CUDA {0}'s, or `pip install \
             'nvidia-cublas=={0}.*'` and name the folder of the two files in LD_LIBRARY_PATH",
            CUDA.0
        ));
    }
    Ok(())
}

/// Whether a driver's version of CUDA (13000 for 13.0) will do.
fn fitting(version: i32) -> Result<(), String> {
    let (major, minor) = (version / 1000, version % 1000 / 10);
    if (major, minor) >= CUDA {
        return Ok(());
    }
    Err(format!(
        "the NVIDIA driver is too old: it has CUDA {major}.{minor}, and {}.{} is needed. Install driver {DRIVER}",
        CUDA.0, CUDA.1
    ))
}

/// See [`super::gpus`].
pub(super) fn gpus() -> Result<Vec<Gpu>, String> {
    ready()?;
    let count =
        device::get_count().map_err(|error| format!("the GPUs cannot be counted: {error}"))?;
    // Monitoring is a convenience: a GPU without it can train.
    let nvml = monitor();
    (0..count.max(0) as usize)
        .map(|index| {
            read(index, nvml).map_err(|error| format!("cuda:{index} cannot be read: {error}"))
        })
        .collect()
}

/// See [`super::now`].
pub(super) fn now(index: usize) -> Option<Gpu> {
    ready().ok()?;
    read(index, monitor()).ok()
}

fn monitor() -> Option<&'static Nvml> {
    static NVML: OnceLock<Option<Nvml>> = OnceLock::new();
    NVML.get_or_init(|| {
        // The name without a version comes with NVIDIA's development files alone.
        let by_version = Nvml::builder()
            .lib_path("libnvidia-ml.so.1".as_ref())
            .init();
        by_version.or_else(|_| Nvml::init()).ok()
    })
    .as_ref()
}

fn read(index: usize, nvml: Option<&Nvml>) -> Result<Gpu, result::DriverError> {
    let of = device::get(index as i32)?;
    let capability = capability(of)?;
    // SAFETY: the device was just found.
    let total = unsafe { device::total_mem(of)? } as u64;
    let uuid = device::get_uuid(of)?;
    let watched = nvml.and_then(|nvml| nvml.device_by_uuid(written(&uuid)).ok());
    let watched = watched.as_ref();
    let free = watched
        .and_then(|gpu| gpu.memory_info().ok())
        .map(|memory| memory.free);
    Ok(Gpu {
        index,
        name: device::get_name(of)?,
        compute_capability: format!("{}.{}", capability.0, capability.1),
        memory_total: total,
        memory_free: match free {
            Some(free) => free,
            // Without the monitor only a context of our own can tell.
            None => CudaContext::new(index)?.mem_get_info()?.0 as u64,
        },
        temperature: watched.and_then(|gpu| gpu.temperature(TemperatureSensor::Gpu).ok()),
        power: watched
            .and_then(|gpu| gpu.power_usage().ok())
            .map(|milliwatts| f64::from(milliwatts) / 1e3),
        utilization: watched
            .and_then(|gpu| gpu.utilization_rates().ok())
            .map(|rates| rates.gpu),
    })
}

/// As the monitor writes it: `GPU-` and hexadecimal groups.
fn written(uuid: &sys::CUuuid) -> String {
    let hex: Vec<String> = uuid
        .bytes
        .iter()
        .map(|byte| format!("{:02x}", *byte as u8))
        .collect();
    let group = |from: usize, to: usize| hex[from..to].concat();
    format!(
        "GPU-{}-{}-{}-{}-{}",
        group(0, 4),
        group(4, 6),
        group(6, 8),
        group(8, 10),
        group(10, 16)
    )
}

fn capability(of: sys::CUdevice) -> Result<(i32, i32), result::DriverError> {
    use sys::CUdevice_attribute_enum as Attribute;
    // SAFETY: the device came from the driver.
    unsafe {
        let major =
            device::get_attribute(of, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor =
            device::get_attribute(of, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok((major, minor))
    }
}

/// See [`super::usable`].
pub(super) fn usable(ordinal: usize, bf16: bool) -> Result<(), String> {
    ready()?;
    let count =
        device::get_count().map_err(|error| format!("the GPUs cannot be counted: {error}"))?;
    if ordinal >= count.max(0) as usize {
        let are = match count {
            ..=0 => "there is none".to_owned(),
            1 => "there is one, cuda:0".to_owned(),
            _ => format!("there are {count}, cuda:0 to cuda:{}", count - 1),
        };
        return Err(format!("cuda:{ordinal} is no GPU of this machine: {are}"));
    }
    let found =
        device::get(ordinal as i32).and_then(|of| Ok((capability(of)?, device::get_name(of)?)));
    let (capability, name) =
        found.map_err(|error| format!("cuda:{ordinal} cannot be read: {error}"))?;
    able(&format!("cuda:{ordinal} ({name})"), capability, bf16)
}

/// Whether a GPU of this compute capability can run the kernels.
fn able(which: &str, capability: (i32, i32), bf16: bool) -> Result<(), String> {
    if capability >= CAPABILITY {
        return Ok(());
    }
    let (major, minor) = capability;
    let lacks = if bf16 {
        "it has no bf16, and the"
    } else {
        "the"
    };
    Err(format!(
        "{which} has compute capability {major}.{minor}: {lacks} kernels need {}.{} (Ampere). Use a newer GPU, or set it to cpu",
        CAPABILITY.0, CAPABILITY.1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_without_this_cuda_is_refused_with_what_to_install() {
        assert_eq!(fitting(13_000), Ok(()));
        assert_eq!(fitting(13_020), Ok(()));
        let error = fitting(12_080).unwrap_err();
        assert!(
            error.contains("it has CUDA 12.8, and 13.0 is needed. Install driver 580"),
            "{error}"
        );
    }

    #[test]
    fn a_gpu_without_bf16_is_refused_by_its_number_and_name() {
        assert_eq!(able("cuda:0 (A100)", (8, 0), true), Ok(()));
        let error = able("cuda:1 (T4)", (7, 5), true).unwrap_err();
        assert!(
            error.starts_with("cuda:1 (T4) has compute capability 7.5: it has no bf16"),
            "{error}"
        );
    }

    #[test]
    fn without_a_driver_every_question_is_answered_by_what_is_missing() {
        // SAFETY: as in `ready`.
        if unsafe { sys::is_culib_present() } {
            return;
        }
        for answer in [gpus().map(drop), usable(0, false), usable(7, true)] {
            let error = answer.unwrap_err();
            assert!(
                error.contains("libcuda.so.1 was not found. Install driver 580"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_uuid_is_written_as_the_monitor_writes_it() {
        let mut uuid = sys::CUuuid { bytes: [0; 16] };
        uuid.bytes[0] = 0x1f;
        uuid.bytes[15] = -1;
        assert_eq!(written(&uuid), "GPU-1f000000-0000-0000-0000-0000000000ff");
    }
}
