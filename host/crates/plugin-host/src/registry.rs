//! The set of plugins at one moment. It never changes; a reload makes the next one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::source::{Found, Source};
use crate::version::Version;

/// Every plugin, and who has which name.
#[derive(Default)]
pub(crate) struct Registry {
    /// Grows with each swap.
    pub(crate) generation: u64,
    /// In the order of names.
    pub(crate) entries: Vec<Arc<Entry>>,
}

/// One plugin, or one place where a plugin should be.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Path in the plugins folder.
    pub(crate) place: String,
    /// What it calls itself.
    pub(crate) own_name: String,
    /// What the studio calls it: its own name, and the place too when somebody else has that.
    pub(crate) name: String,
    stamp: String,
    /// The newest version that loaded and that the user has nothing to say about.
    pub(crate) version: Option<Arc<Version>>,
    /// A newer one, which waits for consent.
    pub(crate) pending: Option<Arc<Version>>,
    /// Why the newest files are not `version`.
    pub(crate) fault: Option<String>,
    /// Why it cannot have its name.
    pub(crate) conflict: Option<String>,
}

/// A version that loaded, and whether the user has to say something before it may take the place of the one before.
pub(crate) struct Loaded {
    pub(crate) version: Version,
    pub(crate) waits: bool,
}

/// What becomes of plugins in places that were not looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Others {
    /// The whole folder was looked at: they are gone.
    Go,
    Stay,
}

impl Registry {
    /// The set with every version that waited and need not any more in its place, and for those that have to wait or did not
    /// load the one that `before` still has; none when there is no such.
    pub(crate) fn promote(
        &self,
        waits: impl Fn(&Version) -> bool,
        before: impl Fn(&Entry, Option<&Version>) -> Option<Version>,
    ) -> Option<Self> {
        let mut changed = false;
        let entries = self
            .entries
            .iter()
            .map(|entry| {
                let (version, pending) = match (&entry.version, &entry.pending) {
                    (_, Some(pending)) if !waits(pending) => (Arc::clone(pending), None),
                    (Some(version), None) if waits(version) => match before(entry, Some(version)) {
                        Some(before) => (Arc::new(before), Some(Arc::clone(version))),
                        None => return Arc::clone(entry),
                    },
                    (None, None) if entry.fault.is_some() => match before(entry, None) {
                        Some(before) => (Arc::new(before), None),
                        None => return Arc::clone(entry),
                    },
                    _ => return Arc::clone(entry),
                };
                changed = true;
                Arc::new(Entry {
                    version: Some(version),
                    pending,
                    ..Entry::clone(entry)
                })
            })
            .collect();
        changed.then_some(Self {
            generation: self.generation + 1,
            entries,
        })
    }

    /// The plugin of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        let index = self
            .entries
            .binary_search_by(|entry| entry.name.as_str().cmp(name))
            .ok()?;
        self.entries.get(index)
    }

    /// The set after `found`, or none when nothing changed. What did not change is taken over, version and all; so are,
    /// where `others` stay, those of other places.
    pub(crate) fn next(
        &self,
        found: Vec<Found>,
        others: Others,
        load: impl Fn(&Source, Option<&Entry>) -> Result<Loaded, String>,
    ) -> Option<Self> {
        let is_found = |entry: &&Arc<Entry>| found.iter().any(|found| found.place == entry.place);
        let mut entries: Vec<Entry> = match others {
            Others::Go => Vec::with_capacity(found.len()),
            Others::Stay => {
                let stay = self.entries.iter().filter(|entry| !is_found(entry));
                stay.map(|entry| Entry::clone(entry)).collect()
            }
        };
        let mut changed = entries.len() + found.len() != self.entries.len();
        for found in found {
            let before = self.entries.iter().find(|entry| entry.place == found.place);
            if let Some(before) = before.filter(|before| before.stamp == found.stamp) {
                entries.push(Entry::clone(before));
                continue;
            }
            changed = true;
            let loaded = found
                .source
                .and_then(|source| load(&source, before.map(Arc::as_ref)));
            let old = before.and_then(|before| before.version.clone());
            // Wherever there is a version before, it goes on answering until the new one may.
            let (version, pending, fault) = match loaded {
                Ok(Loaded { version, waits }) if waits && old.is_some() => {
                    (old, Some(Arc::new(version)), None)
                }
                Ok(Loaded { version, .. }) => (Some(Arc::new(version)), None, None),
                Err(fault) => (old, None, Some(fault)),
            };
            let own_name = version
                .as_ref()
                .map_or(found.name, |version| version.manifest.name.clone());
            entries.push(Entry {
                name: own_name.clone(),
                place: found.place,
                own_name,
                stamp: found.stamp,
                version,
                pending,
                fault,
                conflict: None,
            });
        }
        if !changed {
            return None;
        }
        self.settle_names(&mut entries);
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let entries = entries.into_iter().map(Arc::new).collect();
        Some(Self {
            generation: self.generation + 1,
            entries,
        })
    }

    /// A name belongs to who had it, then to the first place.
    fn settle_names(&self, entries: &mut [Entry]) {
        let mut owners: HashMap<String, String> = HashMap::new();
        for entry in entries.iter() {
            let had_it = self
                .get(&entry.own_name)
                .is_some_and(|owner| owner.place == entry.place);
            if had_it {
                owners.insert(entry.own_name.clone(), entry.place.clone());
            }
        }
        for entry in entries {
            let owner = owners
                .entry(entry.own_name.clone())
                .or_insert_with(|| entry.place.clone());
            if *owner == entry.place {
                entry.name.clone_from(&entry.own_name);
                entry.conflict = None;
            } else {
                entry.name = format!("{}@{}", entry.own_name, entry.place);
                entry.conflict = Some(format!(
                    "{} and {} are both named {:?}; {owner} keeps the name, rename or remove one",
                    owner, entry.place, entry.own_name
                ));
            }
        }
    }
}
