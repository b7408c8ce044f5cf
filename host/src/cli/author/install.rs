//! `codetune plugin install`: a plugin into the studio's plugins folder, where a running studio takes it up.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::test;
use super::trial::Trial;
use crate::config::Config;

/// Arguments of `codetune plugin install`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin install my-plugin\n  codetune plugin install my-plugin.wasm"
)]
pub(crate) struct InstallArgs {
    /// A folder with plugin.toml and component, or a component by itself
    file: PathBuf,
}

/// Checks, copies and says where to.
///
/// # Errors
/// A plugin that does not load or fails its own examples, a folder that cannot be written.
pub(crate) fn run(args: &InstallArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let place = if args.file.is_dir() {
        from_folder(&args.file, config)?
    } else {
        from_file(&args.file, config)?
    };
    println!("{}: installed", place.display());
    Ok(ExitCode::SUCCESS)
}

/// Installs a folder's manifest, component and examples under the plugin's name.
///
/// # Errors
/// As for `run`.
pub(super) fn from_folder(folder: &Path, config: &Config) -> anyhow::Result<PathBuf> {
    let trial = Trial::open(folder, config)?.loaded(folder)?;
    test::hold(folder, config)?;
    let place = config.paths.plugins.join(&trial.plugin.name);
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let manifest = super::manifest(folder)?;
    // The manifest last: until it is there, the folder is no plugin; over an older version each file is replaced whole,
    // and the studio waits for quiet before it looks.
    let fixtures = folder.join("fixtures.json");
    match std::fs::read(&fixtures) {
        Ok(bytes) => super::write(&place.join("fixtures.json"), &bytes)?,
        // Those of the version before would hold this one to its answers.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            match std::fs::remove_file(place.join("fixtures.json")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Err(error) => return Err(error).with_context(|| fixtures.display().to_string()),
    }
    super::write(&place.join(&manifest.component), &trial.component)?;
    let text = std::fs::read(folder.join("plugin.toml"))?;
    super::write(&place.join("plugin.toml"), &text)?;
    Ok(place)
}

/// Installs a component that asks for nothing, as a file of its name.
fn from_file(file: &Path, config: &Config) -> anyhow::Result<PathBuf> {
    let trial = Trial::open(file, config)?.loaded(file)?;
    let plugins = &config.paths.plugins;
    std::fs::create_dir_all(plugins).with_context(|| format!("cannot make {}", plugins.display()))?;
    let place = plugins.join(format!("{}.wasm", trial.plugin.name));
    super::write(&place, &trial.component)?;
    Ok(place)
}
