//! Deletes a run with everything that it wrote.

use std::fs;
use std::io;

use anyhow::Context;
use domain::RunId;
use store::Store;

use crate::config::PathsConfig;

/// Deletes a run's row and folder: both, or neither.
///
/// The folder is first renamed out of sight, which is one step and can be taken back when the row stays.
///
/// # Errors
/// As [`Store::delete_run`], kept as the cause; or when the folder cannot be moved.
pub fn delete_run(paths: &PathsConfig, store: &Store, id: RunId) -> anyhow::Result<()> {
    if store.find_run(id)?.is_none_or(|run| !run.status.is_final()) {
        // The store says what is wrong; the folder of a run in work is not touched.
        return Ok(store.delete_run(id)?);
    }
    let folder = paths.run(id);
    let hidden = folder.with_file_name(format!(".deleted-{id}"));
    let moved = match fs::rename(&folder, &hidden) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot move {}", folder.display()));
        }
    };
    if let Err(error) = store.delete_run(id) {
        if moved {
            fs::rename(&hidden, &folder)
                .with_context(|| format!("cannot move {} back", hidden.display()))?;
        }
        return Err(error.into());
    }
    if moved && let Err(error) = fs::remove_dir_all(&hidden) {
        tracing::warn!("{}: cannot be removed: {error}", hidden.display());
    }
    Ok(())
}
