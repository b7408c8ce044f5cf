//! `codetune plugin`: what plugins there are, and one call of one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use domain::{Capability, ExecutionOutcome, PluginHealth, PluginInfo};
use plugin_host::{HostConfig, PluginHost};
use serde_json::{Value, json};
use store::Store;

use super::usage_error;
use crate::config::Config;

/// Arguments of `codetune plugin`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin list\n  codetune plugin run code-analyzer \
    --input '{\"code\": \"def f(): pass\"}' --json\n  codetune plugin check target/wasm32-wasip1/release/mine.wasm"
)]
pub(crate) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Every plugin with its version, abilities, grants and health
    List {
        /// One JSON array on standard output
        #[arg(long)]
        json: bool,
    },
    /// Call a plugin's tool
    Run {
        /// The plugin
        name: String,
        /// Its inputs: a JSON object, or @FILE that holds one
        #[arg(long)]
        input: String,
        /// One JSON object on standard output: the answer with time, fuel, memory and log
        #[arg(long)]
        json: bool,
    },
    /// Let a plugin be called again
    Enable {
        /// The plugin
        name: String,
    },
    /// Let nobody call a plugin
    Disable {
        /// The plugin
        name: String,
    },
    /// Grant the plugin's present version what it asks for, all of it or only the capabilities named
    Grant {
        /// The plugin
        name: String,
        /// `log`, `config`
        capabilities: Vec<String>,
        /// Take every grant back
        #[arg(long, conflicts_with = "capabilities")]
        revoke: bool,
    },
    /// Look whether a component, or a folder with a plugin.toml, would load; exit code 1 when not
    Check {
        /// The .wasm file or the folder
        file: PathBuf,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
}

/// Does what was asked for.
///
/// # Errors
/// An unknown name, an input that cannot be read, a database or plugin folder that cannot be opened.
pub(crate) fn run(args: &PluginArgs, config: &Config) -> anyhow::Result<ExitCode> {
    match &args.command {
        PluginCommand::List { json } => list(*json, config),
        PluginCommand::Run { name, input, json } => call(name, input, *json, config),
        PluginCommand::Enable { name } => set_enabled(name, true, config),
        PluginCommand::Disable { name } => set_enabled(name, false, config),
        PluginCommand::Grant {
            name,
            capabilities,
            revoke,
        } => grant(name, capabilities, *revoke, config),
        PluginCommand::Check { file, json } => check(file, *json, config),
    }
}

/// The plugins as the user has set them, and the database that holds it.
pub(super) fn open(config: &Config) -> anyhow::Result<(PluginHost, Store)> {
    let mut store_config = config.store_config();
    // One command makes a few queries; the pool of the server would cost it ten connections.
    store_config.pool.min_idle = 1;
    let store = Store::open(&store_config).context("cannot open the database")?;
    Ok((crate::plugins::open(config, &store)?, store))
}

/// The host's refusal: a wrong name or ability is wrong input, anything else a failure.
pub(super) fn refused(error: plugin_host::Error) -> anyhow::Error {
    match error {
        plugin_host::Error::Unknown { .. }
        | plugin_host::Error::NoAbility { .. }
        | plugin_host::Error::Config { .. } => usage_error(error.to_string()),
        error => error.into(),
    }
}

fn list(json: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let (host, _) = open(config)?;
    let plugins = host.list();
    if json {
        println!("{}", serde_json::to_string(&plugins)?);
        return Ok(ExitCode::SUCCESS);
    }
    if plugins.is_empty() {
        println!("no plugins in {}", config.paths.plugins.display());
    }
    for plugin in &plugins {
        describe(plugin);
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(plugin: &PluginInfo) {
    let health = match &plugin.health {
        PluginHealth::Ready => "ready".to_owned(),
        PluginHealth::Disabled => "disabled".to_owned(),
        PluginHealth::Broken { message } => format!("broken: {message}"),
        PluginHealth::Resting {
            message,
            retry_after_ms,
        } => {
            format!("rests for {retry_after_ms} ms: {message}")
        }
    };
    let version = plugin
        .metadata
        .as_ref()
        .map_or("-", |metadata| &metadata.version);
    println!("{} {version}  {health}", plugin.name);
    if let Some(metadata) = &plugin.metadata {
        println!("    {}", metadata.description);
    }
    if !plugin.capabilities.is_empty() {
        println!(
            "    asks for {:?}, granted {:?}",
            plugin.capabilities, plugin.granted
        );
    }
    if let Some(error) = &plugin.last_error {
        println!("    the newest file does not load: {error}");
    }
}

fn call(name: &str, input: &str, json: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let input = read_input(input)?;
    let (host, store) = open(config)?;
    let execution = host.run(name, &input).map_err(refused)?;
    if let Err(error) = store.record_execution(&execution, None) {
        tracing::warn!("the call is not in the history: {error}");
    }
    if json {
        println!("{}", serde_json::to_string(&execution)?);
    }
    match &execution.outcome {
        ExecutionOutcome::Ok { output } => {
            if !json {
                println!("{}", serde_json::to_string_pretty(output)?);
                eprint!("{}", execution.log);
            }
            Ok(ExitCode::SUCCESS)
        }
        ExecutionOutcome::Failed { code, message } => {
            if !json {
                eprint!("{}", execution.log);
            }
            eprintln!("error: {name}: {code}: {message}");
            let is_input = code == "invalid_input";
            Ok(ExitCode::from(if is_input { 2 } else { 1 }))
        }
    }
}

/// `JSON` or `@FILE`.
fn read_input(input: &str) -> anyhow::Result<Value> {
    let (text, from) = match input.strip_prefix('@') {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| usage_error(format!("--input @{path}: {error}")))?;
            (text, format!("@{path}"))
        }
        None => (input.to_owned(), "JSON".to_owned()),
    };
    serde_json::from_str(&text)
        .map_err(|error| usage_error(format!("--input {from}: no JSON: {error}")))
}

/// The plugin, or a usage error that lists the ones there are.
fn find(host: &PluginHost, name: &str) -> anyhow::Result<PluginInfo> {
    host.get(name).ok_or_else(|| {
        let names: Vec<String> = host.list().into_iter().map(|plugin| plugin.name).collect();
        usage_error(format!(
            "no plugin is named {name:?}; there are: {}",
            names.join(", ")
        ))
    })
}

fn set_enabled(name: &str, enabled: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let (host, store) = open(config)?;
    find(&host, name)?;
    store.set_plugin_enabled(name, enabled)?;
    println!("{name} is {}", if enabled { "enabled" } else { "disabled" });
    Ok(ExitCode::SUCCESS)
}

fn grant(name: &str, words: &[String], revoke: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let (host, store) = open(config)?;
    let plugin = find(&host, name)?;
    let capabilities = match words {
        [] if revoke => Vec::new(),
        [] => plugin.capabilities.clone(),
        words => words
            .iter()
            .map(|word| asked(&plugin, word))
            .collect::<Result<_, _>>()?,
    };
    store.set_plugin_grants(name, &plugin.digest, &capabilities)?;
    println!(
        "{name} ({}) may use {}",
        &plugin.digest[..12.min(plugin.digest.len())],
        serde_json::to_string(&capabilities)?
    );
    Ok(ExitCode::SUCCESS)
}

/// A capability that the plugin asks for.
fn asked(plugin: &PluginInfo, word: &str) -> anyhow::Result<Capability> {
    let capability: Option<Capability> = serde_json::from_value(json!(word)).ok();
    capability
        .filter(|capability| plugin.capabilities.contains(capability))
        .ok_or_else(|| {
            let asked = serde_json::to_string(&plugin.capabilities).unwrap_or_default();
            usage_error(format!(
                "{} does not ask for {word:?}; it asks for {asked}",
                plugin.name
            ))
        })
}

fn check(file: &Path, json: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let name = file
        .file_name()
        .ok_or_else(|| usage_error(format!("{}: no file", file.display())))?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let place = folder.path().join(name);
    if file.is_dir() {
        std::fs::create_dir(&place)?;
        for entry in std::fs::read_dir(file)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), place.join(entry.file_name()))?;
            }
        }
    } else {
        std::fs::copy(file, &place)
            .map_err(|error| usage_error(format!("{}: {error}", file.display())))?;
    }
    let host = PluginHost::open(HostConfig {
        plugins_dir: folder.path().to_owned(),
        cache_dir: config.paths.plugin_cache(),
    })?;
    let plugins = host.list();
    let [plugin] = plugins.as_slice() else {
        return Err(usage_error(format!(
            "{}: neither a .wasm file nor a folder with a plugin.toml and its component",
            file.display()
        )));
    };
    let is_good = plugin.metadata.is_some();
    if json {
        println!("{}", serde_json::to_string(plugin)?);
    } else if is_good {
        describe(plugin);
        println!("    {} bytes, sha256 {}", plugin.size_bytes, plugin.digest);
        println!("    imports {}", plugin.imports.join(", "));
    }
    if let (false, PluginHealth::Broken { message }) = (is_good, &plugin.health) {
        eprintln!("error: {} {message}", file.display());
    }
    Ok(ExitCode::from(u8::from(!is_good)))
}
