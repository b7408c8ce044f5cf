//! Calls into the readers of Parquet and Arrow, which panic on some damaged files where an error is due.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::{Error, Result};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread will be caught here; the fuzz targets let such ones pass.
pub(crate) fn is_guarded() -> bool {
    GUARDED.get()
}

/// Calls a reader; a panic of it is an error about the file. What was called must not be called again then.
pub(super) fn guarded<T>(file: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(before);
    result.unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("without a reason");
        let line = reason.lines().next().unwrap_or_default();
        Err(Error::file(
            file,
            format!("is damaged: its reader broke off ({line}); write or download it again"),
        ))
    })
}
