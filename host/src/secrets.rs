//! Secrets that the user keeps for plugins: a file each in the data folder, readable by its owner only. Values leave it
//! for plugins that were granted them by name, and for nobody else: no page, no answer and no log shows one.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use plugin_host::check_secret_name;

/// Shortest value: a shorter one would be found, and taken out, in every second word of a plugin's log.
const SHORTEST: usize = 8;
const LONGEST: usize = 64 << 10;

/// The folder.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
}

/// Why a secret was not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its name or value will not do.
    #[error("{0}")]
    Invalid(String),
    /// The folder cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Secrets {
    /// The secrets of a data folder.
    pub fn new(data: &std::path::Path) -> Self {
        Self {
            folder: data.join("secrets"),
        }
    }

    /// Their names, in order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(error)),
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| check_secret_name(name).is_ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The value, for a plugin that was granted it.
    pub fn value(&self, name: &str) -> Option<String> {
        check_secret_name(name).ok()?;
        fs::read_to_string(self.folder.join(name)).ok()
    }

    /// Keeps a value, in place of the one before. White space around it is taken off: pasted keys end with it.
    ///
    /// # Errors
    /// A name or value that will not do, or a folder that cannot be written.
    pub fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        check_secret_name(name).map_err(Error::Invalid)?;
        let value = value.trim();
        if !(SHORTEST..=LONGEST).contains(&value.len()) {
            return Err(Error::Invalid(format!(
                "the secret {name} has {} bytes; it must have {SHORTEST} to {LONGEST}",
                value.len()
            )));
        }
        let write = || {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&self.folder)?;
            // A temporary file is its owner's alone from the start.
            let mut file = tempfile::Builder::new()
                .prefix(".new")
                .tempfile_in(&self.folder)?;
            file.write_all(value.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(self.folder.join(name))?;
            Ok(())
        };
        write().map_err(|error| self.failed(error))
    }

    /// Forgets a secret; one that is not there is forgotten already.
    ///
    /// # Errors
    /// A name that is none, or a file that cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        check_secret_name(name).map_err(Error::Invalid)?;
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io {
            path: self.folder.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Secrets};

    #[test]
    fn a_secret_is_kept_for_its_owner_alone_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path());
        assert!(secrets.names().unwrap().is_empty());
        secrets.set("API_KEY", " sk-0123456789\n").unwrap();
        assert_eq!(secrets.names().unwrap(), ["API_KEY"]);
        assert_eq!(secrets.value("API_KEY").as_deref(), Some("sk-0123456789"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            for (path, mode) in [("secrets", 0o700), ("secrets/API_KEY", 0o600)] {
                let found = folder.path().join(path).metadata().unwrap();
                assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
            }
        }
        secrets.remove("API_KEY").unwrap();
        secrets.remove("API_KEY").unwrap();
        assert_eq!(secrets.value("API_KEY"), None);
    }

    #[test]
    fn a_name_that_is_a_path_and_a_value_that_is_a_word_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path());
        for name in ["../up", "a/b", "", "."] {
            let refused = secrets.set(name, "long enough");
            assert!(matches!(refused, Err(Error::Invalid(_))), "{name}");
            assert_eq!(secrets.value(name), None);
        }
        assert!(matches!(
            secrets.set("KEY", "short"),
            Err(Error::Invalid(_))
        ));
    }
}
