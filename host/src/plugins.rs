//! The plugin host as the user has set it, and what runs use plugins for.

use std::sync::Arc;

use anyhow::Context;
use domain::{CurationSummary, RunConfig, RunEvent};
use engine::{ScoreTexts, StopFlag};
use plugin_host::{HostConfig, PluginHost};
use store::Store;

use crate::api::generate::Playground;
use crate::config::Config;
use crate::curated::curated;
use crate::lending::Lending;
use crate::plugin_settings::Settings;
use crate::scoring::Scorers;
use crate::secrets::Secrets;

/// Opens the plugins, each enabled and granted what the database says.
///
/// # Errors
/// A plugin host that cannot start, or a database that cannot be read.
pub fn open(config: &Config, store: &Store) -> anyhow::Result<PluginHost> {
    let host = PluginHost::open(folders(config)).context("cannot start the plugin host")?;
    as_set(host, config, store)
}

/// The same for who asks for plugins by their names: of those that have to be compiled first, no other is.
///
/// # Errors
/// As [`open`].
pub fn open_named(config: &Config, store: &Store) -> anyhow::Result<PluginHost> {
    let host =
        PluginHost::open_when_asked(folders(config)).context("cannot start the plugin host")?;
    as_set(host, config, store)
}

fn folders(config: &Config) -> HostConfig {
    HostConfig {
        plugins_dir: config.paths.plugins.clone(),
        cache_dir: config.paths.plugin_cache(),
        remembers: true,
    }
}

fn as_set(host: PluginHost, config: &Config, store: &Store) -> anyhow::Result<PluginHost> {
    Settings::default().apply(store, &host)?;
    host.lend(Arc::new(Lending::new(
        Playground::default(),
        Secrets::new(&config.paths.data),
        store.clone(),
    )));
    Ok(host)
}

/// A run as the engine takes it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// With curated data in place of the dataset, where the run names curators.
    pub run: RunConfig,
    /// What they made of it.
    pub curation: Option<CurationSummary>,
    /// The run's scorers.
    pub scorer: Option<Arc<dyn ScoreTexts>>,
}

/// Does what a run wants of plugins before it trains: opens its scorers, then curates its data. The plugins are opened for
/// runs only that name some.
///
/// # Errors
/// A plugin that cannot be used, and what [`curated`] refuses.
pub fn prepare(
    config: &Config,
    open: impl FnOnce() -> anyhow::Result<PluginHost>,
    run: &RunConfig,
    stop: &StopFlag,
    on_event: &mut dyn FnMut(RunEvent),
) -> engine::Result<Prepared> {
    let mut prepared = Prepared {
        run: run.clone(),
        curation: None,
        scorer: None,
    };
    if !run.is_curated() && !run.is_scored() {
        return Ok(prepared);
    }
    let host = open().map_err(|error| engine::Error::Input(format!("plugins: {error:#}")))?;
    if run.is_scored() {
        let scorers = Scorers::of_run(&host, run);
        let scorers = scorers.map_err(|error| engine::Error::Input(error.to_string()))?;
        prepared.scorer = Some(Arc::new(scorers));
    }
    if run.is_curated() {
        let done = curated(config, &host, run, stop, on_event)?;
        (prepared.run, prepared.curation) = (done.run, Some(done.summary));
    }
    Ok(prepared)
}
