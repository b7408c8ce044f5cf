//! Reads a RUN.toml for the commands that run it.

use std::path::{Path, PathBuf};

use domain::{FieldErrors, RunConfig, RunEvent};
use engine::StopFlag;

use super::fetching::Fetching;
use crate::config::{Config, HubConfig};

/// What is wrong with a RUN.toml, named with its file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub(crate) struct RunFileError {
    path: PathBuf,
    message: String,
}

/// The config with folders in place of hub repositories, which are fetched where the cache does not hold them.
pub(crate) fn local(
    config: &RunConfig,
    hub: &HubConfig,
    stop: &StopFlag,
) -> engine::Result<RunConfig> {
    let mut shown = Fetching::new();
    engine::hub::local(config, &hub.settings(), stop, &mut |event| {
        shown.hear(event)
    })
}

/// The config with the data that its curators leave, for commands that look at a run's data: they are done in
/// `train.output`, where `train` finds them.
pub(crate) fn curated(
    run: &RunConfig,
    config: &Config,
    stop: &StopFlag,
) -> engine::Result<RunConfig> {
    if !run.is_curated() {
        return Ok(run.clone());
    }
    let host = super::plugin::open_named(config)
        .map_err(|error| engine::Error::Input(format!("plugins: {error:#}")))?;
    let done = crate::curated::curated(config, &host, run, stop, &mut |event| match event {
        RunEvent::Curating { rows, kept, .. } => eprintln!("curating: {rows} rows, {kept} kept"),
        RunEvent::Log { message } => eprintln!("{message}"),
        _ => {}
    })?;
    Ok(done.run)
}

/// Reads and validates a RUN.toml with its overrides, also against what the engine can do.
pub(crate) fn read(path: &Path, overrides: &[String]) -> Result<RunConfig, RunFileError> {
    let wrong = |message: String| RunFileError {
        path: path.to_owned(),
        message,
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let check = || -> Result<RunConfig, FieldErrors> {
        let config = RunConfig::from_toml(&text, overrides)?;
        engine::check_config(&config)?;
        Ok(config)
    };
    check().map_err(|errors| wrong(errors.to_string()))
}
