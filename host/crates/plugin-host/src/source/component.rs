//! A plugin's component, read as far as it has to be.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::digests::{Digests, Stat};
use super::hex;
use crate::inspect;

/// The file of a component, whose digest is known.
#[derive(Debug)]
pub(crate) struct ComponentFile {
    /// Lower-case hex SHA-256.
    pub(crate) digest: String,
    pub(crate) size_bytes: u64,
    bytes: Bytes,
    /// What a later scan may know the digest by.
    pub(super) stat: Option<Stat>,
}

#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    /// They were digested by an earlier scan.
    Unread(PathBuf),
}

impl ComponentFile {
    /// The file's digest, with its bytes unless `known` has it; none when it is not there.
    pub(super) fn open(path: &Path, known: &Digests) -> Option<Result<Self, String>> {
        match Self::try_open(path, known) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(format!("{}: {error}", file_name(path)))),
        }
    }

    fn try_open(path: &Path, known: &Digests) -> std::io::Result<Result<Self, String>> {
        // A pipe would be waited for without an end, and a device has none.
        if !fs::metadata(path)?.is_file() {
            return Ok(Err(format!("{} is no file", file_name(path))));
        }
        let file = File::open(path)?;
        // Before reading: whatever is written meanwhile has a later time.
        let about = file.metadata()?;
        let size_bytes = about.len();
        if size_bytes > inspect::MAX_COMPONENT {
            let why = inspect::too_large(size_bytes);
            return Ok(Err(format!("{} {why}", file_name(path))));
        }
        let (now, stat) = (SystemTime::now(), Stat::of(&about));
        if let Some(digest) = known.digest(path, stat.as_ref()) {
            return Ok(Ok(Self {
                digest,
                size_bytes,
                bytes: Bytes::Unread(path.to_owned()),
                stat,
            }));
        }
        let stat = stat.filter(|stat| stat.is_settled(now));
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or_default());
        // It may have grown since.
        file.take(inspect::MAX_COMPONENT + 1)
            .read_to_end(&mut bytes)?;
        Ok(Ok(Self {
            stat,
            ..Self::of(bytes)
        }))
    }

    /// A component that is no file.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self {
            digest: hex(&bytes),
            size_bytes: bytes.len() as u64,
            bytes: Bytes::Read(bytes),
            stat: None,
        }
    }

    /// Hands the bytes over for compiling.
    ///
    /// # Errors
    /// When they have to be read now and are not there any more, or are others than were digested.
    pub(crate) fn with_bytes<T>(
        &self,
        compile: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        match &self.bytes {
            Bytes::Read(bytes) => compile(bytes),
            Bytes::Unread(path) => {
                let bytes = super::read(path, inspect::MAX_COMPONENT)
                    .map_err(|error| format!("{}: {error}", file_name(path)))?;
                if hex(&bytes) != self.digest {
                    return Err(format!(
                        "{} changed while it was loaded; save it again",
                        file_name(path)
                    ));
                }
                compile(&bytes)
            }
        }
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
