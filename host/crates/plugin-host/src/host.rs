use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use domain::{
    Capability, Execution, FileAnalysis, PluginHealth, PluginInfo, PluginKind, SourceFile,
};
use rayon::prelude::*;
use serde_json::Value;

use crate::cache::CompileCache;
use crate::registry::{Entry, Registry};
use crate::runtime::Runtime;
use crate::source;
use crate::version::Version;
use crate::watch::Watcher;
use crate::{Error, PluginJob};

/// Digests of the components that come with the studio, in the format of sha256sum; they are granted what they ask for.
const SHIPPED: &str = include_str!("../../../../plugins/SHA256SUMS");
/// Source that one call of an analyzer gets: enough that the call itself costs nothing, little enough for its memory.
const BATCH_BYTES: usize = 512 << 10;
const BATCH_FILES: usize = 256;

/// Where a host finds things.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Folders with a `plugin.toml`, and components by themselves.
    pub plugins_dir: PathBuf,
    /// Compiled code; made when it is not there.
    pub cache_dir: PathBuf,
}

/// All plugins of a folder. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct PluginHost {
    inner: Arc<Inner>,
}

struct Inner {
    config: HostConfig,
    runtime: Runtime,
    cache: CompileCache,
    registry: ArcSwap<Registry>,
    settings: RwLock<Settings>,
    /// Held by the one reload that runs.
    reloading: Mutex<()>,
    generation: Mutex<u64>,
    swapped: Condvar,
}

#[derive(Default)]
struct Settings {
    disabled: BTreeSet<String>,
    /// By name and digest.
    grants: HashMap<(String, String), Vec<Capability>>,
}

impl PluginHost {
    /// Starts the engine and loads every plugin of the folder, compiled ones from the cache.
    ///
    /// A plugin that cannot be loaded does not stop the others: it is listed with what is wrong.
    ///
    /// # Errors
    /// When the engine cannot start, or a folder cannot be read or made.
    pub fn open(config: HostConfig) -> Result<Self, Error> {
        let host = Self::without_plugins(config)?;
        host.reload()?;
        Ok(host)
    }

    /// The same, but waits for the plugins no longer than `patience`: what has to be compiled first joins when it is
    /// ready, as after any other change of the folder.
    ///
    /// # Errors
    /// When the engine cannot start, or a folder turns out within `patience` to be unreadable; later it is logged.
    pub fn open_within(config: HostConfig, patience: Duration) -> Result<Self, Error> {
        let host = Self::without_plugins(config)?;
        let (done, loaded) = mpsc::sync_channel(1);
        let loader = host.clone();
        // Nobody joins it: it ends by itself, and a host that goes away has no use for it.
        std::thread::spawn(move || {
            if let Err(mpsc::SendError(Err(error))) = done.send(loader.reload()) {
                tracing::error!("the plugins could not be loaded: {error}");
            }
        });
        match loaded.recv_timeout(patience) {
            Ok(result) => result.map(|_| host),
            Err(_) => Ok(host),
        }
    }

    fn without_plugins(config: HostConfig) -> Result<Self, Error> {
        let runtime = Runtime::new()?;
        let cache = CompileCache::open(&config.cache_dir, &runtime.engine)?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                runtime,
                cache,
                registry: ArcSwap::default(),
                settings: RwLock::default(),
                reloading: Mutex::new(()),
                generation: Mutex::new(0),
                swapped: Condvar::new(),
            }),
        })
    }

    /// Everything that is shown of every plugin, by name. Runs no plugin.
    pub fn list(&self) -> Vec<PluginInfo> {
        let registry = self.inner.registry.load();
        registry
            .entries
            .iter()
            .map(|entry| self.info(entry))
            .collect()
    }

    /// The same of one plugin.
    pub fn get(&self, name: &str) -> Option<PluginInfo> {
        let registry = self.inner.registry.load();
        registry.get(name).map(|entry| self.info(entry))
    }

    /// Calls a plugin's tool. What the plugin does wrong is in the [`Execution`]: a call that traps is still a call.
    ///
    /// # Errors
    /// When the plugin was not called: unknown, disabled, broken, resting, or not granted what it asks for.
    pub fn run(&self, name: &str, input: &Value) -> Result<Execution, Error> {
        let version = self.admitted(name)?;
        let runtime = &self.inner.runtime;
        Ok(runtime.on_guest_thread(|| version.execute(runtime, input)))
    }

    /// Analyses files with one version of a plugin, in batches over all cores; the answers are in the order of `files`.
    /// A file on which the plugin falls over is `unanalyzable`, and the others are not touched by it.
    ///
    /// # Errors
    /// When the plugin was not called, or is no analyzer.
    pub fn analyze(&self, name: &str, files: &[SourceFile]) -> Result<Vec<FileAnalysis>, Error> {
        let version = self.admitted(name)?;
        if !version.kinds.contains(&PluginKind::Analyzer) {
            return Err(Error::NoAbility {
                name: name.to_owned(),
                kind: PluginKind::Analyzer,
            });
        }
        let runtime = &self.inner.runtime;
        let batches = batches(files);
        let analyses = runtime.on_guest_thread(|| {
            let analyze =
                |batch: &&[SourceFile]| version.analyze(runtime, batch).unwrap_or_default();
            batches.par_iter().map(analyze).collect::<Vec<_>>()
        });
        Ok(analyses.into_iter().flatten().collect())
    }

    /// Holds one version of a curator or scorer for a dataset job, with `config` laid over the manifest's settings.
    ///
    /// # Errors
    /// When the plugin may not be called, has not that ability, or the settings do not fit its schema.
    pub fn job(
        &self,
        name: &str,
        kind: PluginKind,
        config: &BTreeMap<String, Value>,
    ) -> Result<PluginJob, Error> {
        PluginJob::new(self.clone(), self.admitted(name)?, kind, config)
    }

    /// Switches a plugin on or off; a name without a plugin is remembered for when it comes.
    pub fn set_enabled(&self, name: &str, enabled: bool) {
        let mut settings = self
            .inner
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if enabled {
            settings.disabled.remove(name);
        } else {
            settings.disabled.insert(name.to_owned());
        }
    }

    /// Sets what the version with that digest may use, of what its manifest asks for; an empty list takes all back.
    pub fn set_grants(&self, name: &str, digest: &str, capabilities: &[Capability]) {
        let mut settings = self
            .inner
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        settings
            .grants
            .insert((name.to_owned(), digest.to_owned()), capabilities.to_vec());
    }

    /// Looks at the folder again and swaps the whole set when something changed: first everything new is captured,
    /// checked, compiled and tried, then it answers. Whatever fails keeps its version before.
    ///
    /// Returns the generation that is in place then.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn reload(&self) -> Result<u64, Error> {
        let inner = &*self.inner;
        let _one_at_a_time = inner
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = source::scan(&inner.config.plugins_dir)?;
        let before = inner.registry.load_full();
        let load = |source: &source::Source, entry: Option<&Entry>| {
            let inherited = entry.map(|entry| self.granted(entry)).unwrap_or_default();
            inner
                .runtime
                .on_loader_thread(|| Version::load(&inner.runtime, &inner.cache, source, inherited))
        };
        let Some(next) = before.next(found, load) else {
            return Ok(before.generation);
        };
        for entry in &next.entries {
            if let Some(fault) = entry.fault.as_ref().or(entry.conflict.as_ref()) {
                tracing::warn!("plugin {}: {fault}", entry.name);
            }
        }
        let generation = next.generation;
        inner.registry.store(Arc::new(next));
        *inner
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = generation;
        inner.swapped.notify_all();
        Ok(generation)
    }

    /// Reloads by itself whenever something in the folder changes, until the watcher is dropped.
    ///
    /// # Errors
    /// When the folder cannot be watched; it is made when it is not there.
    pub fn watch(&self) -> Result<Watcher, Error> {
        Watcher::start(self.clone(), &self.inner.config.plugins_dir)
    }

    /// Grows with each swap of the set.
    pub fn generation(&self) -> u64 {
        self.inner.registry.load().generation
    }

    /// Waits until the generation is above `seen`; none when `timeout` ends first.
    pub fn wait_past(&self, seen: u64, timeout: Duration) -> Option<u64> {
        let deadline = Instant::now() + timeout;
        let mut generation = self
            .inner
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while *generation <= seen {
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.inner.swapped.wait_timeout(generation, left);
            generation = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(*generation)
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// The version that may be called now.
    pub(crate) fn admitted(&self, name: &str) -> Result<Arc<Version>, Error> {
        let registry = self.inner.registry.load();
        let Some(entry) = registry.get(name) else {
            let names: Vec<&str> = registry
                .entries
                .iter()
                .map(|entry| entry.name.as_str())
                .collect();
            let known = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            return Err(Error::Unknown {
                name: name.to_owned(),
                known,
            });
        };
        let name = || entry.name.clone();
        if self.is_disabled(entry) {
            return Err(Error::Disabled { name: name() });
        }
        let broken = |message: &str| Error::Broken {
            name: name(),
            message: message.to_owned(),
        };
        if let Some(conflict) = &entry.conflict {
            return Err(broken(conflict));
        }
        let Some(version) = &entry.version else {
            return Err(broken(entry.fault.as_deref().unwrap_or("it did not load")));
        };
        let capabilities = self.missing(entry);
        if !capabilities.is_empty() {
            return Err(Error::NotGranted {
                name: name(),
                capabilities,
            });
        }
        if let Some(rest) = version.breaker.rest(Instant::now()) {
            let retry_after_ms = milliseconds(rest.remaining);
            return Err(Error::Resting {
                name: name(),
                message: rest.message,
                retry_after_ms,
            });
        }
        Ok(Arc::clone(version))
    }

    fn is_disabled(&self, entry: &Entry) -> bool {
        let settings = self
            .inner
            .settings
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        settings.disabled.contains(&entry.name)
    }

    /// What the user, the studio, or the user for the version before has granted, of what it asks for.
    fn granted(&self, entry: &Entry) -> Vec<Capability> {
        let Some(version) = &entry.version else {
            return Vec::new();
        };
        let asked = &version.manifest.capabilities;
        if asked.is_empty() {
            return Vec::new();
        }
        let settings = self
            .inner
            .settings
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (version.manifest.name.clone(), version.digest.clone());
        let granted = match settings.grants.get(&key) {
            Some(granted) => granted,
            None if is_shipped(&version.digest) => asked,
            None => &version.inherited,
        };
        asked
            .iter()
            .copied()
            .filter(|capability| granted.contains(capability))
            .collect()
    }

    fn missing(&self, entry: &Entry) -> Vec<Capability> {
        let asked = entry
            .version
            .as_ref()
            .map_or(&[][..], |version| &version.manifest.capabilities);
        if asked.is_empty() {
            return Vec::new();
        }
        let granted = self.granted(entry);
        asked
            .iter()
            .copied()
            .filter(|capability| !granted.contains(capability))
            .collect()
    }

    fn info(&self, entry: &Entry) -> PluginInfo {
        let version = entry.version.as_deref();
        PluginInfo {
            name: entry.name.clone(),
            digest: version
                .map(|version| version.digest.clone())
                .unwrap_or_default(),
            size_bytes: version.map_or(0, |version| version.size_bytes),
            kinds: version
                .map(|version| version.kinds.clone())
                .unwrap_or_default(),
            metadata: version.map(|version| version.metadata.clone()),
            capabilities: version
                .map(|version| version.manifest.capabilities.clone())
                .unwrap_or_default(),
            granted: self.granted(entry),
            imports: version
                .map(|version| version.imports.clone())
                .unwrap_or_default(),
            limits: version
                .map(|version| version.manifest.limits)
                .unwrap_or_default(),
            health: self.health(entry),
            last_error: version.and(entry.fault.clone()),
        }
    }

    fn health(&self, entry: &Entry) -> PluginHealth {
        match self.admitted(&entry.name) {
            Ok(_) => PluginHealth::Ready,
            Err(Error::Disabled { .. }) => PluginHealth::Disabled,
            Err(Error::Resting {
                message,
                retry_after_ms,
                ..
            }) => PluginHealth::Resting {
                message,
                retry_after_ms,
            },
            Err(Error::Broken { message, .. }) => PluginHealth::Broken { message },
            Err(error) => PluginHealth::Broken {
                message: error.to_string(),
            },
        }
    }
}

fn is_shipped(digest: &str) -> bool {
    SHIPPED
        .lines()
        .any(|line| line.split_ascii_whitespace().next() == Some(digest))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// Cuts `files` into batches of a bounded size, each with at least one file.
fn batches(files: &[SourceFile]) -> Vec<&[SourceFile]> {
    let mut batches = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (index, file) in files.iter().enumerate() {
        let is_full = size + file.code.len() > BATCH_BYTES || index - start >= BATCH_FILES;
        if index > start && is_full {
            batches.push(&files[start..index]);
            (start, size) = (index, 0);
        }
        size += file.code.len();
    }
    if start < files.len() {
        batches.push(&files[start..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use domain::SourceFile;

    use super::{BATCH_BYTES, BATCH_FILES, batches};

    #[test]
    fn batches_are_bounded_and_lose_no_file() {
        let file = |bytes: usize| SourceFile {
            path: String::new(),
            code: "x".repeat(bytes),
            language: None,
        };
        let files = [file(10), file(BATCH_BYTES), file(10), file(10)];
        let sizes = |files: &[SourceFile]| {
            batches(files)
                .iter()
                .map(|batch| batch.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&files), [1, 1, 2]);
        assert_eq!(sizes(&vec![file(0); BATCH_FILES + 1]), [BATCH_FILES, 1]);
        assert!(sizes(&[]).is_empty());
    }
}
