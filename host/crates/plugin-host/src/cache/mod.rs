//! Compiled components, kept by the digest of what they were compiled from and by what compiled them.
//!
//! Beside the machine code lies what else the host learned of the component, so that a warm start reads two files a
//! plugin and runs none of it. The folder is the user's alone, files are written beside and renamed, and one that is
//! there never changes: mapped code stays valid for as long as somebody calls it.

mod sweep;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use domain::{PluginKind, PluginManifest, PluginMetadata};
use serde::{Deserialize, Serialize};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::Error;
use crate::source::Digests;

/// Of the record beside the code; another number is a miss.
const FORMAT: u32 = 2;

/// What names of files begin with that are no record's.
const ANSWERS: &str = "answers";
const DIGESTS: &str = "digests";

/// The folder.
pub(crate) struct CompileCache {
    folder: PathBuf,
}

/// What is known of a component that passed every check.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// Size of the code file: one that a full disk cut short is a miss.
    code_bytes: u64,
    pub(crate) kinds: Vec<PluginKind>,
    pub(crate) imports: Vec<String>,
    pub(crate) metadata: PluginMetadata,
    /// Which manifest and examples it passed last (`Source::examples`).
    #[serde(default)]
    pub(crate) held_to: Option<String>,
}

/// A component that answered for a plugin, and what stood beside it then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) digest: String,
    pub(crate) size_bytes: u64,
    pub(crate) manifest: PluginManifest,
}

/// By places of the plugins folder.
pub(crate) type Answers = BTreeMap<String, Answer>;

/// A component that could not be kept.
pub(crate) struct Unkept {
    component: Component,
    record: Record,
    /// The folder, and what the system said.
    pub(crate) why: String,
}

impl Unkept {
    /// Tries again.
    ///
    /// # Errors
    /// As [`CompileCache::store`].
    pub(crate) fn store(self, cache: &CompileCache, key: &str) -> Result<(), Box<Self>> {
        cache.store(key, &self.component, self.record)
    }
}

impl Record {
    pub(crate) fn new(
        kinds: Vec<PluginKind>,
        imports: Vec<String>,
        metadata: PluginMetadata,
    ) -> Self {
        Self {
            format: FORMAT,
            code_bytes: 0,
            kinds,
            imports,
            metadata,
            held_to: None,
        }
    }
}

impl CompileCache {
    /// Makes the folder, for this user only.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, Error> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let all = folder;
        let folder = all.join(format!("{:016x}", hasher.finish()));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(Error::io(&folder))?;
        // A folder that was there before may be open to others, who could then put code into it.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
                .map_err(Error::io(&folder))?;
        }
        sweep::sweep(all, &folder, SystemTime::now());
        Ok(Self { folder })
    }

    fn code(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.cwasm"))
    }

    fn record(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    /// Whether a component was compiled and kept; that it can be used is told by loading it.
    pub(crate) fn holds(&self, key: &str) -> bool {
        self.record(key).is_file() && self.code(key).is_file()
    }

    /// Hosts of several plugins folders may share the cache.
    fn of_folder(&self, what: &str, plugins: &Path) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        let plugins = std::path::absolute(plugins).unwrap_or_else(|_| plugins.to_owned());
        plugins.hash(&mut hasher);
        let name = format!("{what}-{:016x}.json", hasher.finish());
        self.folder.join(name)
    }

    /// What answered when a host of that plugins folder was here last; nothing where that is not known.
    pub(crate) fn load_answers(&self, plugins: &Path) -> Answers {
        let text = fs::read(self.of_folder(ANSWERS, plugins)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps what answers now for the next start. A full disk is no one's concern but that one's.
    pub(crate) fn store_answers(&self, plugins: &Path, answers: &Answers) {
        let text = serde_json::to_vec(answers).expect("manifests serialize");
        let path = self.of_folder(ANSWERS, plugins);
        if let Err(error) = self.write(&path, &text) {
            tracing::warn!(
                "which plugins answer cannot be kept for the next start: {}: {error}",
                path.display()
            );
        }
    }

    /// Digests of the files of that plugins folder when a host was here last; none where that is not known.
    pub(crate) fn load_digests(&self, plugins: &Path) -> Digests {
        let text = fs::read(self.of_folder(DIGESTS, plugins)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps them for the next start, which reads the files where it cannot.
    pub(crate) fn store_digests(&self, plugins: &Path, digests: &Digests) {
        let path = self.of_folder(DIGESTS, plugins);
        let stored = serde_json::to_vec(digests)
            .map_err(std::io::Error::from)
            .and_then(|text| self.write(&path, &text));
        if let Err(error) = stored {
            tracing::debug!("{}: {error}", path.display());
        }
    }

    /// What was kept under the key (`machine::code_key`); none when nothing was, or it cannot be used.
    pub(crate) fn load(&self, engine: &Engine, key: &str) -> Option<(Component, Record)> {
        let record: Record = serde_json::from_slice(&fs::read(self.record(key)).ok()?).ok()?;
        let code = self.code(key);
        let size = fs::metadata(&code).ok()?.len();
        if record.format != FORMAT || record.code_bytes != size {
            return None;
        }
        // SAFETY: the file was written by `store` below, from this engine's own output, into a folder that only this
        // user can write, under a name that is never written twice. wasmtime checks version and settings itself.
        let component = unsafe { Component::deserialize_file(engine, &code) };
        match component {
            Ok(component) => {
                sweep::used(&self.record(key));
                Some((component, record))
            }
            Err(error) => {
                tracing::warn!(
                    "{} cannot be used and is made anew: {error:#}",
                    code.display()
                );
                None
            }
        }
    }

    /// Keeps a component, whole or not at all.
    ///
    /// # Errors
    /// Gives everything back for another try: a full disk is no one's concern but the next start's.
    pub(crate) fn store(
        &self,
        key: &str,
        component: &Component,
        mut record: Record,
    ) -> Result<(), Box<Unkept>> {
        let stored = component
            .serialize()
            .map_err(|error| std::io::Error::other(format!("{error:#}")))
            .and_then(|code| {
                record.code_bytes = code.len() as u64;
                self.write(&self.code(key), &code)?;
                self.write(&self.record(key), &serde_json::to_vec(&record)?)
            });
        stored.map_err(|error| {
            let why = format!("{}: {error}", self.folder.display());
            tracing::warn!("a compiled plugin cannot be kept in {why}");
            Box::new(Unkept {
                component: component.clone(),
                record,
                why,
            })
        })
    }

    /// Keeps that a component passed other examples since; where that cannot be kept, it is held to them again.
    pub(crate) fn note(&self, key: &str, record: &Record) {
        let path = self.record(key);
        let noted = serde_json::to_vec(record)
            .map_err(std::io::Error::from)
            .and_then(|text| self.write(&path, &text));
        if let Err(error) = noted {
            tracing::debug!("{}: {error}", path.display());
        }
    }

    /// Beside, to the disk, into place.
    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        // Through the file itself: errors would name the temporary path too.
        file.as_file_mut().write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}
