//! All plugins of a folder: loading and reloading them, and calling one.

mod batches;
mod kept;
mod reload;
mod settings;
mod standing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use domain::{Execution, FileAnalysis, PluginInfo, PluginKind, SourceFile};
use serde_json::Value;

use crate::cache::{Answers, CompileCache};
use crate::registry::Registry;
use crate::runtime::Runtime;
use crate::source::{Found, Known};
use crate::watch::Watcher;
use crate::{Error, PluginJob};

use self::batches::{batches, on_workers};
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
    /// goes on answering while the new one waits for consent, and which files need not be read again; false for a host that
    /// tries something out.
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
    /// Of the plugins folder.
    known: Mutex<Known>,
    /// Whether a plugin is compiled when it is asked for, and not by itself.
    compiles_when_asked: bool,
    /// What has to be compiled and nobody has asked for.
    unasked: Mutex<Vec<Found>>,
    registry: ArcSwap<Registry>,
    settings: RwLock<Settings>,
    /// Held by the one reload that runs.
    reloading: Mutex<()>,
    /// Until the first reload has ended.
    is_loading: AtomicBool,
    /// How many plugins the first reload has still to compile, or wait to be asked for.
    awaited: AtomicUsize,
    generation: Mutex<u64>,
    swapped: Condvar,
}

impl Inner {
    fn unasked(&self) -> MutexGuard<'_, Vec<Found>> {
        self.unasked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PluginHost {
    /// Starts the engine and loads every plugin of the folder, compiled ones from the cache.
    ///
    /// A plugin that cannot be loaded does not stop the others: it is listed with what is wrong.
    ///
    /// # Errors
    /// When the engine cannot start, or a folder cannot be read or made.
    pub fn open(config: HostConfig) -> Result<Self, Error> {
        let host = Self::without_plugins(config, false)?;
        host.reload()?;
        Ok(host)
    }

    /// The same, but waits for the plugins no longer than `patience`: what has to be compiled first joins when it is
    /// ready, as after any other change of the folder. Who asks for a plugin by its name until then waits for that one.
    ///
    /// # Errors
    /// When the engine cannot start, or a folder turns out within `patience` to be unreadable; later it is logged.
    pub fn open_within(config: HostConfig, patience: Duration) -> Result<Self, Error> {
        let host = Self::without_plugins(config, false)?;
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

    /// The same, but compiles a plugin only when it is asked for by its name: for commands that name what they use and end
    /// soon. What is listed is what needed no compiling or was asked for.
    ///
    /// # Errors
    /// When the engine cannot start, or a folder cannot be read or made.
    pub fn open_when_asked(config: HostConfig) -> Result<Self, Error> {
        let host = Self::without_plugins(config, true)?;
        host.load_ready()?;
        Ok(host)
    }

    fn without_plugins(config: HostConfig, compiles_when_asked: bool) -> Result<Self, Error> {
        let runtime = Runtime::new()?;
        let cache = CompileCache::open(&config.cache_dir, &runtime.counting().engine)?;
        let (answers, digests) = match config.remembers {
            true => (
                cache.load_answers(&config.plugins_dir),
                cache.load_digests(&config.plugins_dir),
            ),
            false => Default::default(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                runtime,
                cache,
                answers: Mutex::new(answers),
                known: Mutex::new(Known::new(digests)),
                compiles_when_asked,
                unasked: Mutex::default(),
                registry: ArcSwap::default(),
                settings: RwLock::default(),
                reloading: Mutex::new(()),
                is_loading: AtomicBool::new(true),
                awaited: AtomicUsize::new(0),
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
    /// When the plugin was not called: unknown, disabled, broken, resting, not granted what it asks for, or busy with as many
    /// calls as may run at once for as long as one may take.
    pub fn run(&self, name: &str, input: &Value) -> Result<Execution, Error> {
        let Admitted { version, terms } = self.admitted(name)?;
        let runtime = &self.inner.runtime;
        let patience = Duration::from_millis(terms.limits.time_ms);
        let most = version.most_calls(runtime);
        let Some(_turn) = version.turns.wait_within(most, patience) else {
            return Err(Error::Busy {
                name: name.to_owned(),
                calls: most,
            });
        };
        Ok(runtime.on_guest_thread_for(&terms, || version.run(runtime, &terms, input)))
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
        let analyze =
            |batch: &&[SourceFile]| version.analyze(runtime, &terms, batch).unwrap_or_default();
        // What may wait for somebody else takes one place.
        let workers = match terms.lending {
            Some(_) => 1,
            None => version.most_calls(runtime),
        };
        let batches = batches(files);
        let answers =
            runtime.on_guest_thread_for(&terms, || on_workers(&batches, workers, analyze));
        Ok(answers.into_iter().flatten().collect())
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

    /// The folder has not been gone through yet: that a plugin is not listed says nothing.
    pub fn is_loading(&self) -> bool {
        self.inner.is_loading.load(Ordering::Acquire)
    }

    /// How many plugins are still to be compiled: until then, or once they are asked for.
    pub fn awaited(&self) -> usize {
        self.inner.awaited.load(Ordering::Acquire)
    }

    /// Reloads by itself whenever something in the folder changes, until the watcher is dropped; where the system does not
    /// tell of changes, within seconds.
    ///
    /// # Errors
    /// When the folder is not there and cannot be made, or the system gives no thread.
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
