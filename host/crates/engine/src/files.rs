//! Writing files so that they are whole or not there.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// A file's name below a folder, with `/` between its parts; none where it lies elsewhere.
pub(crate) fn name_below(folder: &Path, file: &Path) -> Option<String> {
    let parts = file.strip_prefix(folder).ok()?.iter();
    let parts: Vec<_> = parts.map(|part| part.to_string_lossy()).collect();
    Some(parts.join("/"))
}

/// Writes a file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io("write", path))
}

/// Lets everybody read a file that others are meant to use.
pub(crate) fn make_readable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644))
            .map_err(Error::io("write", path))?;
    }
    let _ = path;
    Ok(())
}

/// Makes the names in a folder last through a loss of power.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("write", path))?;
    let _ = path;
    Ok(())
}

/// Fills a folder beside its place and renames it there, so that nobody ever sees half of it.
pub(crate) fn replace_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("output");
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let fresh = parent.join(format!(".{name}.new"));
    let old = parent.join(format!(".{name}.old"));
    remove_folder(&fresh)?;
    remove_folder(&old)?;
    fs::create_dir(&fresh).map_err(Error::io("create", &fresh))?;
    if let Err(error) = fill(&fresh).and_then(|()| sync_folder(&fresh)) {
        // What is half written is of no use to anybody; the first error is the one to tell.
        let _ = remove_folder(&fresh);
        return Err(error);
    }
    if path.exists() {
        fs::rename(path, &old).map_err(Error::io("rename", path))?;
    }
    fs::rename(&fresh, path).map_err(Error::io("rename", &fresh))?;
    sync_folder(parent)?;
    remove_folder(&old)
}

/// Fills a file beside its place, waits until it is on the disk, and renames it there.
pub(crate) fn replace_file(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("output");
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    // The ending stays: it tells readers what the file is.
    let fresh = parent.join(format!(".new-{name}"));
    let filled = fill(&fresh).and_then(|()| {
        File::open(&fresh)
            .and_then(|file| file.sync_all())
            .map_err(Error::io("write", &fresh))
    });
    if let Err(error) = filled {
        // What is half written is of no use to anybody; the first error is the one to tell.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    fs::rename(&fresh, path).map_err(Error::io("rename", &fresh))?;
    sync_folder(parent)
}

/// Removes a folder, where there is one.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// SHA-256 of a file in hexadecimal.
pub(crate) fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
