use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, TryLockError, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use domain::{
    Capability, Execution, FileAnalysis, Grants, Pending, PluginHealth, PluginInfo, PluginKind,
    SourceFile,
};
use rayon::prelude::*;
use serde_json::Value;

use crate::cache::CompileCache;
use crate::call::Terms;
use crate::consent;
use crate::lent::{Lending, Services};
use crate::registry::{Entry, Loaded, Registry};
use crate::runtime::Runtime;
use crate::version::Version;
use crate::watch::Watcher;
use crate::{Error, PluginJob, canary, source};

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
    /// By name: the digest that they are for, and the grants.
    grants: HashMap<String, (String, Arc<Grants>)>,
    /// The user's values for a plugin's settings, by name.
    config: HashMap<String, Arc<BTreeMap<String, Value>>>,
    services: Option<Arc<dyn Services>>,
}

/// A version that may be called now, and what its calls may do.
pub(crate) struct Admitted {
    pub(crate) version: Arc<Version>,
    pub(crate) terms: Terms,
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
        let Admitted { version, terms } = self.admitted(name)?;
        let runtime = &self.inner.runtime;
        let _place = terms.lending.as_ref().map(|_| runtime.wait_place());
        Ok(runtime.on_guest_thread(|| version.run(runtime, &terms, input)))
    }

    /// Analyses files with one version of a plugin, in batches over all cores; the answers are in the order of `files`.
    /// A file on which the plugin falls over is `unanalyzable`, and the others are not touched by it.
    ///
    /// # Errors
    /// When the plugin was not called, or is no analyzer.
    pub fn analyze(&self, name: &str, files: &[SourceFile]) -> Result<Vec<FileAnalysis>, Error> {
        let Admitted { version, terms } = self.admitted(name)?;
        if !version.kinds.contains(&PluginKind::Analyzer) {
            return Err(Error::NoAbility {
                name: name.to_owned(),
                kind: PluginKind::Analyzer,
            });
        }
        let runtime = &self.inner.runtime;
        let batches = batches(files);
        let place = terms.lending.as_ref().map(|_| runtime.wait_place());
        let analyses = runtime.on_guest_thread(|| {
            let analyze =
                |batch: &&[SourceFile]| version.analyze(runtime, &terms, batch).unwrap_or_default();
            match place {
                // What may wait for somebody else does not take all threads.
                Some(_) => batches.iter().map(analyze).collect::<Vec<_>>(),
                None => batches.par_iter().map(analyze).collect(),
            }
        });
        drop(place);
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
        self.change_settings(|settings| {
            if enabled {
                settings.disabled.remove(name);
            } else {
                settings.disabled.insert(name.to_owned());
            }
        });
    }

    /// Sets what the version with that digest may use, of what its manifest asks for; empty grants take all back. A
    /// version of that digest that waited for it takes its place.
    pub fn set_grants(&self, name: &str, digest: &str, grants: impl Into<Grants>) {
        let mut grants = grants.into();
        if grants.imports.is_empty() {
            grants.imports = self
                .with_digest(name, digest)
                .map(|version| consent::host_imports(&version.imports))
                .unwrap_or_default();
        }
        self.change_settings(|settings| {
            let granted = (digest.to_owned(), Arc::new(grants));
            settings.grants.insert(name.to_owned(), granted);
        });
        self.promote();
    }

    /// Sets the user's values for a plugin's settings, over those of its manifest.
    pub fn set_config(&self, name: &str, config: BTreeMap<String, Value>) {
        self.change_settings(|settings| {
            if config.is_empty() {
                settings.config.remove(name);
            } else {
                settings.config.insert(name.to_owned(), Arc::new(config));
            }
        });
    }

    /// Lends plugins what the studio has; before that every request for it fails.
    pub fn lend(&self, services: Arc<dyn Services>) {
        self.change_settings(|settings| settings.services = Some(services));
    }

    fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self
            .inner
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut settings);
    }

    /// Looks whether grants are within what the version with that digest asks for, answering or waiting, and completes
    /// them by what it imports. Nothing is set yet.
    ///
    /// # Errors
    /// The key of [`Grants`] and one sentence; under `digest` when there is no such version any more.
    pub fn check_grants(
        &self,
        name: &str,
        digest: &str,
        mut grants: Grants,
    ) -> Result<Grants, (&'static str, String)> {
        let version = self.with_digest(name, digest).ok_or_else(|| {
            let changed = format!(
                "The plugin {name} has changed since it was shown; look at what the new version asks for."
            );
            ("digest", changed)
        })?;
        consent::check(&version.manifest, &grants)?;
        grants.imports = consent::host_imports(&version.imports);
        Ok(grants)
    }

    /// Looks whether values fit the schema of the plugin's settings, laid over those of its manifest.
    ///
    /// # Errors
    /// When there is no such plugin, it takes no settings, or they do not fit.
    pub fn check_config(&self, name: &str, config: &BTreeMap<String, Value>) -> Result<(), Error> {
        let registry = self.inner.registry.load();
        let refused = |message: &str| Error::Config {
            name: name.to_owned(),
            message: message.to_owned(),
        };
        let version = registry
            .get(name)
            .and_then(|entry| entry.version.as_ref())
            .ok_or_else(|| refused("it has not loaded"))?;
        if !version.manifest.capabilities.contains(&Capability::Config) {
            return Err(refused(
                "it takes no settings: its plugin.toml does not ask for `config`",
            ));
        }
        let mut merged = version.manifest.config.clone();
        merged.extend(config.clone());
        version
            .check_config(&merged)
            .map_err(|message| refused(&message))
    }

    /// The user's values for a plugin's settings.
    pub fn config(&self, name: &str) -> BTreeMap<String, Value> {
        let settings = self.settings();
        let config = settings.config.get(name);
        config
            .map(|config| BTreeMap::clone(config))
            .unwrap_or_default()
    }

    fn settings(&self) -> std::sync::RwLockReadGuard<'_, Settings> {
        self.inner
            .settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of that digest, answering or waiting.
    fn with_digest(&self, name: &str, digest: &str) -> Option<Arc<Version>> {
        let registry = self.inner.registry.load();
        let entry = registry.get(name)?;
        [&entry.pending, &entry.version]
            .into_iter()
            .flatten()
            .find(|version| version.digest == digest)
            .cloned()
    }

    /// Puts versions in their places that waited for a consent that is there now. While a reload runs it does nothing:
    /// that one does the same when it has ended.
    fn promote(&self) {
        let inner = &*self.inner;
        let _one_at_a_time = match inner.reloading.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let before = inner.registry.load_full();
        if let Some(next) = before.promote(|version| self.standing(version).is_err()) {
            self.swap(next);
        }
    }

    /// Looks at the folder again and swaps the whole set when something changed: first everything new is captured,
    /// checked, compiled and tried, then it answers. Whatever fails keeps its version before. Compiled code that a full
    /// disk did not take is written again first.
    ///
    /// Returns the generation that is in place then.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn reload(&self) -> Result<u64, Error> {
        let reloaded = self.reload_alone();
        // For a consent that came meanwhile.
        self.promote();
        reloaded.map(|_| self.generation())
    }

    fn reload_alone(&self) -> Result<u64, Error> {
        let inner = &*self.inner;
        let _one_at_a_time = inner
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = source::scan(&inner.config.plugins_dir)?;
        let before = inner.registry.load_full();
        for entry in &before.entries {
            for version in [&entry.version, &entry.pending].into_iter().flatten() {
                version.keep(&inner.cache);
            }
        }
        let load = |source: &source::Source, entry: Option<&Entry>| {
            let runtime = &inner.runtime;
            runtime.on_loader_thread(|| self.load(source, entry))
        };
        let Some(next) = before.next(found, load) else {
            return Ok(before.generation);
        };
        for entry in &next.entries {
            if let Some(fault) = entry.fault.as_ref().or(entry.conflict.as_ref()) {
                tracing::warn!("plugin {}: {fault}", entry.name);
            }
        }
        Ok(self.swap(next))
    }

    fn swap(&self, next: Registry) -> u64 {
        let inner = &*self.inner;
        let generation = next.generation;
        inner.registry.store(Arc::new(next));
        *inner
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = generation;
        inner.swapped.notify_all();
        generation
    }

    /// Loads a version and tries it on the inputs of late, beside the one before.
    fn load(&self, source: &source::Source, entry: Option<&Entry>) -> Result<Loaded, String> {
        let Inner { runtime, cache, .. } = &*self.inner;
        let before = entry.and_then(|entry| entry.version.as_ref());
        let recent = before.map(|before| Arc::clone(&before.recent));
        let mut version = Version::load(runtime, cache, source, recent.unwrap_or_default())?;
        let mut waits = false;
        if let Some(before) = before {
            let terms = |version: &Version| {
                let user = self.settings().config.get(&version.manifest.name).cloned();
                version.terms(user.as_ref())
            };
            // Settings that a version does not take are told at its first call, as after any other start.
            if let (Ok(old), Ok(new)) = (terms(before), terms(&version)) {
                let canary = canary::replay(runtime, (before, &old), (&version, &new))?;
                version.canary = Some(canary);
            }
            waits = self.standing(before).is_ok() && self.standing(&version).is_err();
        }
        Ok(Loaded { version, waits })
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
    pub(crate) fn admitted(&self, name: &str) -> Result<Admitted, Error> {
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
        let grants = self
            .standing(version)
            .map_err(|capabilities| Error::NotGranted {
                name: name(),
                capabilities,
            })?;
        if let Some(rest) = version.breaker.rest(Instant::now()) {
            let retry_after_ms = milliseconds(rest.remaining);
            return Err(Error::Resting {
                name: name(),
                message: rest.message,
                retry_after_ms,
            });
        }
        let settings = self.settings();
        let user = settings.config.get(&entry.name);
        let mut terms = version.terms(user).map_err(|message| Error::Config {
            name: name(),
            message,
        })?;
        if let Some(grants) = grants.filter(|_| asks_for_lent(version)) {
            let mut grants = Grants::clone(&grants);
            let asked = &version.manifest.capabilities;
            grants.capabilities.retain(|word| asked.contains(word));
            terms.lending = Some(Arc::new(Lending {
                plugin: entry.name.clone(),
                digest: version.digest.clone(),
                origins: consent::origins(&grants.hosts),
                rate: Arc::clone(&version.rate),
                requests_per_minute: terms.limits.requests_per_minute,
                grants,
                services: settings.services.clone(),
            }));
        }
        Ok(Admitted {
            version: Arc::clone(version),
            terms,
        })
    }

    fn is_disabled(&self, entry: &Entry) -> bool {
        self.settings().disabled.contains(&entry.name)
    }

    /// What a version may use; none when it asks for nothing. Whether the user said it of this component or of one
    /// before that asked for as much, or the studio ships it.
    ///
    /// Of what reaches beyond the sandbox the user may grant a part, and the plugin has to live with that; without its
    /// log or its settings, or a word of the user's at all, it is not called.
    ///
    /// # Errors
    /// The capabilities that wait for the user's word.
    fn standing(&self, version: &Version) -> Result<Option<Arc<Grants>>, Vec<Capability>> {
        let manifest = &version.manifest;
        let asked = &manifest.capabilities;
        if asked.is_empty() {
            return Ok(None);
        }
        let settings = self.settings();
        let granted = settings.grants.get(&manifest.name);
        if let Some((_, grants)) = granted.filter(|(digest, _)| *digest == version.digest) {
            let missing: Vec<Capability> = asked
                .iter()
                .copied()
                .filter(|word| !word.is_lent() && !grants.capabilities.contains(word))
                .collect();
            return match missing.is_empty() {
                true => Ok(Some(Arc::clone(grants))),
                false => Err(missing),
            };
        }
        if !asks_for_lent(version) && is_shipped(&version.digest) {
            return Ok(Some(Arc::new(Grants::of(asked, &manifest.asks))));
        }
        match granted {
            Some((_, grants)) if consent::carries(manifest, &version.imports, grants) => {
                Ok(Some(Arc::clone(grants)))
            }
            Some((_, grants)) => {
                let more = |word: &Capability| !grants.capabilities.contains(word);
                let mut missing: Vec<Capability> = asked.iter().copied().filter(more).collect();
                if missing.is_empty() {
                    missing.clone_from(asked);
                }
                Err(missing)
            }
            None => Err(asked.clone()),
        }
    }

    fn pending(&self, version: &Version) -> Pending {
        let manifest = &version.manifest;
        let settings = self.settings();
        let none = Grants::default();
        let granted = settings.grants.get(&manifest.name);
        let grants = granted.map_or(&none, |(_, grants)| grants);
        Pending {
            digest: version.digest.clone(),
            version: version.metadata.version.clone(),
            capabilities: manifest.capabilities.clone(),
            asks: manifest.asks.clone(),
            more: consent::more(manifest, &version.imports, grants),
        }
    }

    fn info(&self, entry: &Entry) -> PluginInfo {
        let version = entry.version.as_deref();
        let granted = version.and_then(|version| self.standing(version).ok().flatten());
        let mut grants = granted
            .map(|grants| Grants::clone(&grants))
            .unwrap_or_default();
        if let Some(version) = version {
            let asked = &version.manifest.capabilities;
            grants.capabilities.retain(|word| asked.contains(word));
        }
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
            granted: grants.capabilities.clone(),
            asks: version
                .map(|version| version.manifest.asks.clone())
                .unwrap_or_default(),
            grants,
            pending: entry
                .pending
                .as_deref()
                .map(|version| self.pending(version)),
            canary: version.and_then(|version| version.canary.clone()),
            imports: version
                .map(|version| version.imports.clone())
                .unwrap_or_default(),
            limits: version
                .map(|version| version.manifest.limits)
                .unwrap_or_default(),
            health: self.health(entry),
            last_error: version.and(entry.fault.clone()),
            unkept: version.and_then(Version::unkept),
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
            Err(error @ Error::NotGranted { .. }) => PluginHealth::NeedsConsent {
                message: error.to_string(),
            },
            Err(error) => PluginHealth::Broken {
                message: error.to_string(),
            },
        }
    }
}

fn asks_for_lent(version: &Version) -> bool {
    let asked = &version.manifest.capabilities;
    asked.iter().any(|capability| capability.is_lent())
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
