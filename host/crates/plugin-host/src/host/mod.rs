//! All plugins of a folder: loading and reloading them, and calling one.

mod batches;
mod kept;
mod settings;
mod standing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, TryLockError, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use domain::{Execution, FileAnalysis, PluginInfo, PluginKind, SourceFile};
use rayon::prelude::*;
use serde_json::Value;

use crate::cache::{Answers, CompileCache};
use crate::registry::{Entry, Loaded, Registry};
use crate::runtime::Runtime;
use crate::version::Version;
use crate::watch::Watcher;
use crate::{Error, PluginJob, canary, source};

use self::batches::batches;
use self::settings::Settings;
pub(crate) use self::standing::Admitted;

/// Where a host finds things.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Folders with a `plugin.toml`, and components by themselves.
    pub plugins_dir: PathBuf,
    /// Compiled code; made when it is not there.
    pub cache_dir: PathBuf,
    /// Whether to keep there which component answers for each plugin, so that one whose file is changed while no host runs
    /// goes on answering while the new one waits for consent; false for a host that tries something out.
    pub remembers: bool,
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
    /// What answers, as the cache has it.
    answers: Mutex<Answers>,
    registry: ArcSwap<Registry>,
    settings: RwLock<Settings>,
    /// Held by the one reload that runs.
    reloading: Mutex<()>,
    /// Until the first reload has ended.
    is_loading: AtomicBool,
    generation: Mutex<u64>,
    swapped: Condvar,
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
        let answers = match config.remembers {
            true => cache.load_answers(&config.plugins_dir),
            false => Answers::new(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                runtime,
                cache,
                answers: Mutex::new(answers),
                registry: ArcSwap::default(),
                settings: RwLock::default(),
                reloading: Mutex::new(()),
                is_loading: AtomicBool::new(true),
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

    /// Puts versions in their places that waited for a consent that is there now; and has the one that answered before go on
    /// where a version has to wait or did not load. While a reload runs it does nothing: that one does the same when it has ended.
    fn promote(&self) {
        let inner = &*self.inner;
        let _one_at_a_time = match inner.reloading.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let before = inner.registry.load_full();
        let waits = |version: &Version| self.standing(version).is_err();
        if let Some(next) = before.promote(waits, |entry, version| self.kept(entry, version)) {
            self.swap(next);
        }
        self.remember();
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
        // For a consent that came meanwhile, or is still missing.
        self.promote();
        reloaded.map(|_| self.generation())
    }

    /// The folder has not been gone through yet: that a plugin is not listed says nothing.
    pub fn is_loading(&self) -> bool {
        self.inner.is_loading.load(Ordering::Acquire)
    }

    fn reload_alone(&self) -> Result<u64, Error> {
        let reloaded = self.swap_what_changed();
        self.inner.is_loading.store(false, Ordering::Release);
        reloaded
    }

    fn swap_what_changed(&self) -> Result<u64, Error> {
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
}
