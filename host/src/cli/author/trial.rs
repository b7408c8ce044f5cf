//! One plugin by itself, apart from those of the studio and granted what it asks for: what an author tries out.

use std::path::Path;

use anyhow::Context;
use domain::{PluginHealth, PluginInfo};
use plugin_host::{HostConfig, PluginHost};

use super::usage_error;
use crate::config::Config;

/// See the module.
pub(super) struct Trial {
    pub(super) host: PluginHost,
    /// What is known of it, loaded or not.
    pub(super) plugin: PluginInfo,
    /// The component's bytes.
    pub(super) component: Vec<u8>,
    /// The copy that the host looks at.
    _copy: tempfile::TempDir,
}

impl Trial {
    /// Takes a component by itself, or a folder with `plugin.toml` and the component that it names. Examples are left out:
    /// who tries a plugin runs them one by one and sees each.
    ///
    /// # Errors
    /// When the files cannot be read; a plugin that does not load is no error here.
    pub(super) fn open(path: &Path, config: &Config) -> anyhow::Result<Self> {
        let shown = path.display();
        let copy = tempfile::tempdir().context("no temporary folder")?;
        let component = if path.is_dir() {
            let component = super::component(path)?;
            let place = copy.path().join("plugin");
            std::fs::create_dir(&place)?;
            for file in [path.join("plugin.toml"), component.clone()] {
                let name = file.file_name().unwrap_or_default();
                std::fs::copy(&file, place.join(name)).map_err(|error| {
                    usage_error(format!(
                        "{}: {error}; `codetune plugin build {shown}` makes it",
                        file.display()
                    ))
                })?;
            }
            component
        } else {
            let name = path
                .file_name()
                .filter(|_| {
                    path.extension()
                        .is_some_and(|extension| extension == "wasm")
                })
                .ok_or_else(|| {
                    usage_error(format!(
                        "{shown}: neither a .wasm file nor a folder with a plugin.toml"
                    ))
                })?;
            std::fs::copy(path, copy.path().join(name))
                .map_err(|error| usage_error(format!("{shown}: {error}")))?;
            path.to_owned()
        };
        let component = std::fs::read(&component)
            .with_context(|| format!("cannot read {}", component.display()))?;
        let host = PluginHost::open(HostConfig {
            plugins_dir: copy.path().to_owned(),
            cache_dir: config.paths.plugin_cache(),
            remembers: false,
        })?;
        let plugin = host
            .list()
            .pop()
            .with_context(|| format!("{shown}: holds no plugin"))?;
        host.set_grants(&plugin.name, &plugin.digest, plugin.capabilities.as_slice());
        let plugin = host.get(&plugin.name).unwrap_or(plugin);
        Ok(Self {
            host,
            plugin,
            component,
            _copy: copy,
        })
    }

    /// Why it does not load; none when it does.
    pub(super) fn fault(&self) -> Option<&str> {
        match &self.plugin.health {
            PluginHealth::Broken { message } => Some(message),
            _ => None,
        }
    }

    /// The same trial when it loaded.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn loaded(self, path: &Path) -> anyhow::Result<Self> {
        match self.fault() {
            Some(fault) => Err(anyhow::anyhow!("{} {fault}", path.display())),
            None => Ok(self),
        }
    }
}
