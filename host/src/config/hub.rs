use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ConfigError, Source, flag, parsed};

/// The Hugging Face hub, with its own variables.
#[derive(Clone)]
pub struct HubConfig {
    /// `HF_HUB_CACHE`, else `HF_HOME/hub`, else the hub's own default.
    pub cache: PathBuf,
    /// `HF_ENDPOINT`; a mirror.
    pub endpoint: String,
    /// `HF_TOKEN`; sent to the endpoint only.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`; no request at all.
    pub offline: bool,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds; how long the hub may be silent.
    pub timeout: Duration,
}

impl HubConfig {
    pub(super) fn read(source: Source<'_>) -> Result<Self, ConfigError> {
        let home = source("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let cache = source("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| source("HOME").map(|home| Path::new(&home).join(".cache")))
                .unwrap_or_else(|| PathBuf::from(".cache"));
            cache.join("huggingface")
        });
        Ok(Self {
            cache: source("HF_HUB_CACHE")
                .map(PathBuf::from)
                .unwrap_or_else(|| home.join("hub")),
            endpoint: source("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: source("HF_TOKEN"),
            offline: flag(source, "HF_HUB_OFFLINE", false)?,
            timeout: parsed(
                source,
                "HF_HUB_DOWNLOAD_TIMEOUT",
                Duration::from_secs(30),
                "a number of seconds above 0",
                |value| {
                    let seconds = value.parse().ok().filter(|seconds| *seconds > 0)?;
                    Some(Duration::from_secs(seconds))
                },
            )?,
        })
    }
}

impl HubConfig {
    /// The same for the engine, which does not read the environment.
    pub fn settings(&self) -> engine::hub::HubSettings {
        engine::hub::HubSettings {
            cache: self.cache.clone(),
            endpoint: self.endpoint.clone(),
            token: self.token.clone(),
            offline: self.offline,
            retries: 3,
            timeout: self.timeout,
        }
    }
}

impl std::fmt::Debug for HubConfig {
    /// Leaves the token out: settings are logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubConfig")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .field("offline", &self.offline)
            .field("timeout", &self.timeout)
            .finish()
    }
}
