//! What the user decided about plugins: which are off, what they may use, their settings.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use domain::{Capability, Grants};
use serde_json::Value;

use super::PluginHost;
use crate::lent::Services;
use crate::version::Version;
use crate::{Error, consent};

#[derive(Default)]
pub(super) struct Settings {
    pub(super) disabled: BTreeSet<String>,
    /// By name: the digest that they are for, and the grants.
    pub(super) grants: HashMap<String, (String, Arc<Grants>)>,
    /// The user's values for a plugin's settings, by name.
    pub(super) config: HashMap<String, Arc<BTreeMap<String, Value>>>,
    pub(super) services: Option<Arc<dyn Services>>,
}

impl PluginHost {
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

    /// Hosts that the settings of the version with that digest name, for a user who may grant any: of each setting with an
    /// address its title, and the host as it is granted. The user's values go before the manifest's, and those before the
    /// schema's defaults.
    pub fn hosts_in_settings(&self, name: &str, digest: &str) -> Vec<(String, String)> {
        let Some(version) = self.with_digest(name, digest) else {
            return Vec::new();
        };
        let mut values = version.manifest.config.clone();
        values.extend(self.config(name));
        consent::hosts_in_settings(&version.metadata.config_schema, &values)
    }

    pub(super) fn settings(&self) -> RwLockReadGuard<'_, Settings> {
        self.inner
            .settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of that digest, answering or waiting.
    pub(super) fn with_digest(&self, name: &str, digest: &str) -> Option<Arc<Version>> {
        let registry = self.inner.registry.load();
        let entry = registry.get(name)?;
        [&entry.pending, &entry.version]
            .into_iter()
            .flatten()
            .find(|version| version.digest == digest)
            .cloned()
    }
}
