//! Which component answers for a plugin, over a restart: where a file was changed while no host ran, and wants more than was
//! granted or does not load, the component before it goes on from the cache, as it would have with a host.

use std::sync::{Arc, PoisonError};

use super::PluginHost;
use crate::cache::Answers;
use crate::registry::Entry;
use crate::version::Version;

impl PluginHost {
    /// What answered in this place before `waiting`, or before a file that did not load; none when it is not in the cache any
    /// more, or may not be called either.
    pub(super) fn kept(&self, entry: &Entry, waiting: Option<&Version>) -> Option<Version> {
        let inner = &*self.inner;
        let answer = {
            let answers = inner.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.get(&entry.place).cloned()
        };
        let answer = answer.filter(|answer| {
            entry.conflict.is_none()
                && answer.manifest.name == entry.own_name
                && waiting.is_none_or(|waiting| waiting.digest != answer.digest)
        })?;
        let recent = waiting.map(|waiting| Arc::clone(&waiting.recent));
        let recent = recent.unwrap_or_default();
        let runtime = &inner.runtime;
        let before = runtime
            .on_loader_thread(|| Version::revive(runtime, &inner.cache, answer, recent))
            .filter(|before| self.standing(before).is_ok())?;
        let (name, version) = (&entry.name, &before.metadata.version);
        match waiting {
            Some(waiting) => tracing::info!(
                "plugin {name}: version {} waits for consent, and {version} goes on answering",
                waiting.metadata.version
            ),
            None => tracing::warn!("plugin {name}: version {version} goes on answering"),
        }
        Some(before)
    }

    /// Keeps what answers for the next start. Of a plugin that only waits, what answered before stays known; a plugin that
    /// is gone is forgotten.
    pub(super) fn remember(&self) {
        let inner = &*self.inner;
        let registry = inner.registry.load();
        // Before the folder was read once, that nothing is there says nothing.
        if !inner.config.remembers || registry.generation == 0 {
            return;
        }
        let unasked = inner.unasked();
        let mut answers = inner.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // Of what nobody asked for, what answered stays known as well.
        let untouched = unasked.iter().filter_map(|found| {
            let answer = answers.get(&found.place)?;
            Some((found.place.clone(), answer.clone()))
        });
        let now: Answers = registry
            .entries
            .iter()
            .filter_map(|entry| {
                let answering = entry
                    .version
                    .as_ref()
                    .filter(|version| entry.conflict.is_none() && self.standing(version).is_ok());
                let answer = match answering {
                    Some(version) => version.answer(),
                    None => answers.get(&entry.place)?.clone(),
                };
                Some((entry.place.clone(), answer))
            })
            .chain(untouched)
            .collect();
        if *answers != now {
            let plugins = &inner.config.plugins_dir;
            inner.cache.store_answers(plugins, &now);
            *answers = now;
        }
    }
}
