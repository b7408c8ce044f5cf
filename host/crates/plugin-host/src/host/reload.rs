//! Bringing what lies in the plugins folder into the registry.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};

use super::{Inner, PluginHost};
use crate::machine::code_key;
use crate::registry::{Entry, Loaded, Others, Registry};
use crate::source::{self, Found, Source};
use crate::version::Version;
use crate::{Error, canary};

impl PluginHost {
    /// Looks at the folder again and swaps the whole set when something changed: first everything new is captured,
    /// checked, compiled and tried, then it answers. Whatever fails keeps its version before. Compiled code that a full
    /// disk did not take is written again first. The first time, each plugin answers as soon as it is compiled.
    ///
    /// Returns the generation that is in place then.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn reload(&self) -> Result<u64, Error> {
        for entry in &self.inner.registry.load().entries {
            for version in [&entry.version, &entry.pending].into_iter().flatten() {
                version.keep(&self.inner.cache);
            }
        }
        self.poll()
    }

    /// The same without another try at what a full disk did not take: for every few seconds.
    pub(crate) fn poll(&self) -> Result<u64, Error> {
        let reloaded = self.swap_what_changed();
        // For a consent that came meanwhile, or is still missing.
        self.promote();
        self.inner.is_loading.store(false, Ordering::Release);
        reloaded.map(|_| self.generation())
    }

    /// Puts versions in their places that waited for a consent that is there now; and has the one that answered before go on
    /// where a version has to wait or did not load. While a reload runs it does nothing: that one does the same when it has ended.
    pub(super) fn promote(&self) {
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

    fn swap_what_changed(&self) -> Result<(), Error> {
        let inner = &*self.inner;
        let _one_at_a_time = inner
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = self.look()?;
        if !self.is_loading() {
            self.set_unasked(Vec::new());
            self.swap_in(found, Others::Go);
            return Ok(());
        }
        let (ready, mut rest): (Vec<Found>, Vec<Found>) =
            found.into_iter().partition(|found| self.is_ready(found));
        self.swap_in(ready, Others::Stay);
        rest.sort_by_key(|found| {
            found
                .source
                .as_ref()
                .map_or(0, |source| source.component.size_bytes)
        });
        inner.awaited.store(rest.len(), Ordering::Release);
        for found in rest {
            self.swap_in(vec![found], Others::Stay);
            inner.awaited.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Loads what needs no compiling; the rest stays until it is asked for.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn load_ready(&self) -> Result<(), Error> {
        let (ready, rest): (Vec<Found>, Vec<Found>) =
            (self.look()?.into_iter()).partition(|found| self.is_ready(found));
        self.set_unasked(rest);
        self.swap_in(ready, Others::Stay);
        self.inner.is_loading.store(false, Ordering::Release);
        self.promote();
        Ok(())
    }

    /// In a host that compiles when it is asked: compiles what waits and has that name; all that waits where nothing has,
    /// since a component by itself says its name only then. Who asks meanwhile waits.
    pub(super) fn load_asked(&self, name: &str) {
        let inner = &*self.inner;
        let is_there = || inner.registry.load().get(name).is_some();
        if !inner.compiles_when_asked || self.awaited() == 0 || is_there() {
            return;
        }
        {
            let _one_at_a_time = (inner.reloading.lock()).unwrap_or_else(PoisonError::into_inner);
            if is_there() {
                return;
            }
            let unasked = std::mem::take(&mut *inner.unasked());
            let has_name = |found: &Found| {
                let source = found.source.as_ref();
                source.map_or(&found.name, |source| &source.manifest.name) == name
            };
            let (mut asked, mut rest): (Vec<Found>, Vec<Found>) =
                unasked.into_iter().partition(has_name);
            if asked.is_empty() {
                std::mem::swap(&mut asked, &mut rest);
            }
            self.swap_in(asked, Others::Stay);
            self.set_unasked(rest);
        }
        self.promote();
    }

    fn set_unasked(&self, unasked: Vec<Found>) {
        let awaited = unasked.len();
        *self.inner.unasked() = unasked;
        self.inner.awaited.store(awaited, Ordering::Release);
    }

    /// Reads what is new in the folder.
    fn look(&self) -> Result<Vec<Found>, Error> {
        let Inner { config, cache, .. } = &*self.inner;
        let mut known = (self.inner.known.lock()).unwrap_or_else(PoisonError::into_inner);
        let found = source::scan(&config.plugins_dir, &known)?;
        let seen = source::digests(&config.plugins_dir, &found);
        if known.digests != seen {
            if config.remembers {
                cache.store_digests(&config.plugins_dir, &seen);
            }
            known.digests = seen;
        }
        Ok(found)
    }

    /// Whether nothing has to be compiled for it.
    fn is_ready(&self, found: &Found) -> bool {
        let source = found.source.as_ref();
        source.map_or(true, |source| {
            let key = code_key(&source.component.digest, &source.manifest.limits);
            self.inner.cache.holds(&key)
        })
    }

    /// Loads what changed and puts it in place.
    fn swap_in(&self, found: Vec<Found>, others: Others) {
        let inner = &*self.inner;
        let before = inner.registry.load_full();
        let load = |source: &Source, entry: Option<&Entry>| {
            let runtime = &inner.runtime;
            runtime.on_loader_thread(|| self.load(source, entry))
        };
        let Some(next) = before.next(found, others, load) else {
            return;
        };
        for entry in &next.entries {
            let fault = |entry: &Entry| entry.fault.clone().or(entry.conflict.clone());
            let known = before
                .entries
                .iter()
                .find(|known| known.place == entry.place);
            if let Some(fault) =
                fault(entry).filter(|_| known.is_none_or(|known| fault(known) != fault(entry)))
            {
                tracing::warn!("plugin {}: {fault}", entry.name);
            }
        }
        self.swap(next);
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
    fn load(&self, source: &Source, entry: Option<&Entry>) -> Result<Loaded, String> {
        let Inner { runtime, cache, .. } = &*self.inner;
        let before = entry.and_then(|entry| entry.version.as_ref());
        let recent = before.map(|before| Arc::clone(&before.recent));
        let mut version = Version::load(runtime, cache, source, recent.unwrap_or_default())?;
        let mut waits = false;
        if let Some(before) = before {
            version.rate = Arc::clone(&before.rate);
            version.turns = Arc::clone(&before.turns);
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
}
