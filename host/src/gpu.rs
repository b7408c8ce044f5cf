//! The GPUs that runs can have: those of this program where it is the GPU build, else those of `codetune-cuda`, the same
//! program with the feature `cuda`, which is looked for beside this one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use engine::gpu::Gpu;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What `codetune devices --json` prints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Devices {
    /// The GPUs that runs can have.
    pub gpus: Vec<Gpu>,
    /// Why there is none, and what to do; null where there is one.
    pub missing: Option<String>,
}

/// Whether this program trains on GPUs itself.
const GPU_BUILD: bool = cfg!(feature = "cuda");

/// How long the GPU build may take to tell its devices: a driver starts within seconds, and one that hangs must take nothing
/// with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The GPU build beside this program.
pub fn companion(config: &Config) -> PathBuf {
    let name = format!("codetune-cuda{}", std::env::consts::EXE_SUFFIX);
    config.paths.program.with_file_name(name)
}

/// The GPUs of this machine, or what is missing.
pub fn devices(config: &Config) -> Devices {
    if GPU_BUILD {
        return own();
    }
    asked(&companion(config), PATIENCE)
}

/// The GPUs that this program sees itself.
pub fn own() -> Devices {
    match engine::gpu::gpus() {
        Ok(gpus) if gpus.is_empty() => Devices {
            missing: Some("the NVIDIA driver finds no GPU; check nvidia-smi".to_owned()),
            gpus,
        },
        Ok(gpus) => Devices {
            gpus,
            missing: None,
        },
        Err(missing) => Devices {
            missing: Some(missing),
            ..Devices::default()
        },
    }
}

/// What the GPU build says. It is another program: whatever it does, this one goes on.
fn asked(program: &Path, patience: Duration) -> Devices {
    let missing = |message: String| Devices {
        missing: Some(message),
        ..Devices::default()
    };
    if !program.is_file() {
        return missing(format!(
            "{} is not there, the build that trains on GPUs: make it with `cargo build --release --features cuda --bin \
             codetune-cuda` (CUDA_HOME from .ci/cuda-toolkit), and put it beside this program",
            program.display()
        ));
    }
    let mut command = Command::new(program);
    let output = match output_within(command.args(["devices", "--json"]), patience) {
        Ok(Some(output)) => output,
        Ok(None) => {
            return missing(format!(
                "{} did not tell its devices within {} s: the NVIDIA driver hangs. Check nvidia-smi, and restart the machine \
                 where that hangs too",
                program.display(),
                patience.as_secs_f32()
            ));
        }
        Err(error) => return missing(format!("{} cannot be started: {error}", program.display())),
    };
    match serde_json::from_slice(&output.stdout) {
        Ok(devices) => devices,
        Err(_) => missing(format!(
            "{} does not tell its devices ({}): {}. Build it from the same release as this program",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// What a program says before it ends; `None` where it does not end in time.
fn output_within(command: &mut Command, most: Duration) -> io::Result<Option<Output>> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let until = Instant::now() + most;
    while child.try_wait()?.is_none() {
        if Instant::now() > until {
            // Not waited for: what hangs in a driver may not even end by this.
            child.kill()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().map(Some)
}

/// The program that works on runs: the GPU build where it is there and sees a GPU, else this one. It trains on the CPU too.
pub fn worker_program(config: &Config) -> PathBuf {
    if GPU_BUILD {
        return config.paths.program.clone();
    }
    match devices(config).missing {
        None => companion(config),
        Some(reason) => {
            tracing::debug!("runs have the CPU: {reason}");
            config.paths.program.clone()
        }
    }
}

/// Goes on as the GPU build with the same arguments where `device` asks for a GPU, or leaves the choice and there is one.
/// Returns where this program is the one to go on. `setting` is what an error calls it.
///
/// # Errors
/// `device` names a GPU, and there is none; or the GPU build cannot be started.
pub fn hand_over(setting: &str, device: &str, config: &Config) -> anyhow::Result<()> {
    let named = device.starts_with("cuda");
    if GPU_BUILD || !(named || device == "auto") {
        return Ok(());
    }
    let program = companion(config);
    if !named && !program.is_file() {
        return Ok(());
    }
    match devices(config).missing {
        None => Err(become_program(&program)),
        Some(reason) if named => Err(crate::cli::usage_error(format!(
            "{setting}: {device:?} cannot be had: {reason}"
        ))),
        Some(_) => Ok(()),
    }
}

/// Returns only with what kept the other program from starting.
#[cfg(unix)]
fn become_program(program: &Path) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec();
    anyhow::anyhow!("{} cannot be started: {error}", program.display())
}

/// As on Unix, with this process waiting for the other and ending as it does.
#[cfg(not(unix))]
fn become_program(program: &Path) -> anyhow::Error {
    match Command::new(program)
        .args(std::env::args_os().skip(1))
        .status()
    {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => anyhow::anyhow!("{} cannot be started: {error}", program.display()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_driver_that_hangs_takes_nothing_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("codetune-cuda");
        std::fs::write(&program, "#!/bin/sh\nexec tail -f /dev/null\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let devices = asked(&program, Duration::from_millis(200));
        let missing = devices.missing.unwrap();
        assert!(
            missing.contains("did not tell its devices within 0.2 s: the NVIDIA driver hangs"),
            "{missing}"
        );
    }
}
