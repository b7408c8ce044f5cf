//! A plugins folder of a test's own.

use std::fs;
use std::path::PathBuf;

use domain::{Execution, ExecutionOutcome, PluginHealth};
use plugin_host::{HostConfig, PluginHost};
use serde_json::{Value, json};

use crate::wat::Component;

pub(crate) struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("plugins")).unwrap();
        Self { root }
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.path().join("plugins")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// Writes a file of the plugins folder, as a user would: beside, then renamed into place.
    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.plugins().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = self.root.path().join("beside");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, path).unwrap();
    }

    /// A folder with manifest and component; `manifest` is what stands after name and component.
    pub(crate) fn install(&self, component: &Component, manifest: &str) {
        let name = &component.name;
        self.write(&format!("{name}/{name}.wasm"), component.bytes());
        let text = format!("name = \"{name}\"\ncomponent = \"{name}.wasm\"\n{manifest}\n");
        self.write(&format!("{name}/plugin.toml"), text);
    }

    pub(crate) fn open(&self) -> PluginHost {
        let config = HostConfig {
            plugins_dir: self.plugins(),
            cache_dir: self.cache(),
            remembers: true,
        };
        PluginHost::open(config).unwrap()
    }
}

pub(crate) fn run(host: &PluginHost, name: &str) -> Execution {
    host.run(name, &json!({})).unwrap()
}

/// The answer, which must be one.
pub(crate) fn answer(host: &PluginHost, name: &str) -> Value {
    match run(host, name).outcome {
        ExecutionOutcome::Ok { output } => output,
        failed @ ExecutionOutcome::Failed { .. } => panic!("{failed:?}"),
    }
}

/// Code and message of a call, which must fail.
pub(crate) fn failure(host: &PluginHost, name: &str) -> (String, String) {
    match run(host, name).outcome {
        ExecutionOutcome::Failed { code, message } => (code, message),
        ok @ ExecutionOutcome::Ok { .. } => panic!("{ok:?}"),
    }
}

/// Why a plugin cannot be called.
pub(crate) fn broken(host: &PluginHost, name: &str) -> String {
    match host
        .get(name)
        .unwrap_or_else(|| panic!("{name} is listed: {:?}", host.list()))
        .health
    {
        PluginHealth::Broken { message } | PluginHealth::NeedsConsent { message } => message,
        health => panic!("{name} is {health:?}"),
    }
}
