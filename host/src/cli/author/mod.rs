//! What authors of plugins use: `codetune plugin new`, `build`, `check`, `test`, `bench`, `watch` and `install`.

pub(super) mod bench;
pub(super) mod build;
pub(super) mod check;
pub(super) mod install;
pub(super) mod new;
mod registry;
mod signature;
pub(super) mod test;
mod trial;
pub(super) mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use domain::PluginManifest;

use super::usage_error;

/// Reads a project's `plugin.toml`.
///
/// # Errors
/// Names the file, and what is wrong in it.
fn manifest(folder: &Path) -> anyhow::Result<PluginManifest> {
    let path = folder.join("plugin.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        usage_error(format!(
            "{}: {error}; `codetune plugin new` makes a project",
            path.display()
        ))
    })?;
    toml::from_str(&text).map_err(|error| {
        usage_error(format!(
            "{}: {}",
            path.display(),
            error.to_string().trim_end()
        ))
    })
}

/// The component beside a project's `plugin.toml`.
///
/// # Errors
/// When the manifest cannot be read, or names a file somewhere else.
fn component(folder: &Path) -> anyhow::Result<PathBuf> {
    let name = manifest(folder)?.component;
    if Path::new(&name).file_name() != Some(name.as_ref()) {
        return Err(usage_error(format!(
            "{}: component {name:?} must be a file name, without folders",
            folder.join("plugin.toml").display()
        )));
    }
    Ok(folder.join(name))
}

/// What a call took of its fuel, of which every call takes some.
fn told_fuel(fuel: u64) -> String {
    match fuel {
        0 => "fuel not counted".to_owned(),
        fuel => format!("{fuel} fuel"),
    }
}

/// Writes a file beside, to the disk, into place: whoever reads it sees the old one or the new one.
///
/// # Errors
/// Names the file.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let work = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
        file.write_all(bytes)?;
        // Not for the owner alone, as temporary files are.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.as_file()
                .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    work().with_context(|| format!("cannot write {}", path.display()))
}
