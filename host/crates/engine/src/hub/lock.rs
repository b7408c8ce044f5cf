use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use super::failure::Failure;
use crate::StopFlag;

/// A lock on a file's blob, held while it is fetched, where Python's client has it too.
pub(super) struct Lock(#[expect(dead_code, reason = "held until it is dropped")] File);

impl Lock {
    /// Waits for it; `wait` is called once when another process has it.
    pub(super) fn take(
        path: &Path,
        stop: &StopFlag,
        wait: &mut dyn FnMut(),
    ) -> Result<Self, Failure> {
        let disk = |source| Failure::Disk {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(disk)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(disk)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(fs::TryLockError::WouldBlock) if stop.is_stopped() => {
                    return Err(Failure::Stopped);
                }
                Err(fs::TryLockError::WouldBlock) => {
                    if !told {
                        wait();
                    }
                    told = true;
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(fs::TryLockError::Error(source)) => return Err(disk(source)),
            }
        }
    }
}
