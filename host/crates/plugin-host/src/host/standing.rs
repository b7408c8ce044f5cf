//! Whether a plugin may be called now, with what, and how that is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Capability, Grants, Pending, PluginHealth, PluginInfo};

use super::PluginHost;
use crate::call::Terms;
use crate::lent::Lending;
use crate::registry::Entry;
use crate::version::Version;
use crate::{Error, consent};

/// Digests of the components that come with the studio, in the format of sha256sum; they are granted what they ask for.
const SHIPPED: &str = include_str!("../../../../../plugins/SHA256SUMS");

/// A version that may be called now, and what its calls may do.
pub(crate) struct Admitted {
    pub(crate) version: Arc<Version>,
    pub(crate) terms: Terms,
}

impl PluginHost {
    /// The version that may be called now. Until the folder has been gone through, a plugin that is not there or may not be
    /// called may still come to be, and is waited for.
    pub(crate) fn admitted(&self, name: &str) -> Result<Admitted, Error> {
        self.once_loaded(name, || self.admitted_now(name))
    }

    /// What is shown of a plugin, which is waited for in the same way.
    pub fn find(&self, name: &str) -> Option<PluginInfo> {
        self.once_loaded(name, || self.get(name).ok_or(())).ok()
    }

    /// What `look` finds of the plugin `name`, or does not find once the folder has been gone through.
    fn once_loaded<T, E>(&self, name: &str, look: impl Fn() -> Result<T, E>) -> Result<T, E> {
        /// Between two looks: the end of loading alone is told by nothing.
        const LOOK: Duration = Duration::from_millis(50);
        self.load_asked(name);
        loop {
            // Both before: what comes meanwhile is seen the next time.
            let (is_loading, seen) = (self.is_loading(), self.generation());
            match look() {
                Err(_) if is_loading => self.wait_past(seen, LOOK),
                found => return found,
            };
        }
    }

    fn admitted_now(&self, name: &str) -> Result<Admitted, Error> {
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

    pub(super) fn is_disabled(&self, entry: &Entry) -> bool {
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
    pub(super) fn standing(
        &self,
        version: &Version,
    ) -> Result<Option<Arc<Grants>>, Vec<Capability>> {
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

    /// Whether a version waits that took the place of one that the user agreed to.
    fn has_changed(&self, version: &Version) -> bool {
        let agreed_to_another = {
            let settings = self.settings();
            let granted = settings.grants.get(&version.manifest.name);
            granted.is_some_and(|(digest, grants)| {
                *digest != version.digest && !grants.capabilities.is_empty()
            })
        };
        agreed_to_another && self.standing(version).is_err()
    }

    /// A version that waits, and what it asks for beyond the one that answers.
    pub(super) fn pending(&self, version: &Version, answers: Option<&Version>) -> Pending {
        let manifest = &version.manifest;
        let said = self.settings().grants.get(&manifest.name).cloned();
        // What a shipped one has without a word of the user's is no more when its successor asks for it.
        let grants = match (said, answers) {
            (Some((_, grants)), _) => Some(grants),
            (None, Some(before)) => self.standing(before).ok().flatten().map(|grants| {
                Arc::new(Grants {
                    imports: consent::host_imports(&before.imports),
                    ..Grants::clone(&grants)
                })
            }),
            (None, None) => None,
        };
        let grants = grants.unwrap_or_default();
        Pending {
            digest: version.digest.clone(),
            version: version.metadata.version.clone(),
            capabilities: manifest.capabilities.clone(),
            asks: manifest.asks.clone(),
            more: consent::more(manifest, &version.imports, &grants),
        }
    }

    pub(super) fn info(&self, entry: &Entry) -> PluginInfo {
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
            pending: match entry.pending.as_deref() {
                Some(waits) => Some(self.pending(waits, version)),
                None => version
                    .filter(|version| self.has_changed(version))
                    .map(|version| self.pending(version, None)),
            },
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

    pub(super) fn health(&self, entry: &Entry) -> PluginHealth {
        match self.admitted_now(&entry.name) {
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
