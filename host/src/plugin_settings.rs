//! What the user decided about plugins, from the store to the plugin host; also what another process wrote there.

use std::collections::HashMap;
use std::time::Duration;

use actix_web::web::Data;
use chrono::{DateTime, Utc};
use plugin_host::PluginHost;
use store::{PluginSettings, Store};

use crate::state::{AppState, blocking};

/// How soon the server sees what `codetune plugin enable`, `grant` and `config` wrote: one small query each time.
const EVERY: Duration = Duration::from_secs(1);

/// Settings that the host has.
#[derive(Debug, Default)]
pub struct Settings {
    seen: HashMap<String, DateTime<Utc>>,
}

impl Settings {
    /// Hands the host everything that changed in the store since the last time.
    ///
    /// # Errors
    /// When the database fails.
    pub fn apply(&mut self, store: &Store, host: &PluginHost) -> Result<(), store::Error> {
        for settings in store.list_plugin_settings()? {
            let before = self.seen.insert(settings.name.clone(), settings.updated_at);
            if before != Some(settings.updated_at) {
                hand_over(settings, host);
            }
        }
        Ok(())
    }
}

fn hand_over(settings: PluginSettings, host: &PluginHost) {
    let name = &settings.name;
    host.set_enabled(name, settings.enabled);
    host.set_config(name, settings.config);
    if let Some(digest) = &settings.granted_digest {
        host.set_grants(name, digest, settings.grants);
    }
}

/// Follows the store until the server ends.
pub async fn follow(state: Data<AppState>, mut settings: Settings) {
    let mut failed = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let (store, host) = (state.store.clone(), state.plugin_host.clone());
        let applied = blocking(move || {
            let result = settings.apply(&store, &host);
            (settings, result)
        })
        .await;
        let Ok((next, result)) = applied else {
            return;
        };
        settings = next;
        // Said once: a database that is away is away for every query.
        if let (Err(error), false) = (&result, failed) {
            tracing::warn!("settings of plugins cannot be read: {error}");
        }
        failed = result.is_err();
    }
}
