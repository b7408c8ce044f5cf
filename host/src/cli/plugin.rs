//! `codetune plugin`: what plugins there are, and one call of one; what authors use is in `author`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use domain::{Capability, ExecutionOutcome, PluginHealth, PluginInfo};
use plugin_host::PluginHost;
use serde_json::Value;
use store::Store;

use super::{author, plugin_consent, plugin_secret, usage_error};
use crate::config::Config;

/// Arguments of `codetune plugin`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin list\n  codetune plugin run code-analyzer \
    --input '{\"code\": \"def f(): pass\"}' --json\n  codetune plugin new mine --lang python"
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
    /// Grant a version of a plugin what it asks for, all of it or a part
    Grant(plugin_consent::GrantArgs),
    /// Set or show a plugin's settings
    Config(plugin_consent::ConfigArgs),
    /// What a plugin used of what it was granted
    Audit(plugin_consent::AuditArgs),
    /// Keep secrets that plugins may be granted by name
    Secret(plugin_secret::SecretArgs),
    /// Make the project of a new plugin
    New(author::new::NewArgs),
    /// Build a project's component
    Build(author::build::BuildArgs),
    /// Look whether a component, or a folder with a plugin.toml, would load, and what it is made of; exit code 1 when not
    Check(author::check::CheckArgs),
    /// Build a project and run its examples; exit code 1 when an answer differs
    Test(author::test::TestArgs),
    /// Measure calls of one plugin
    Bench(author::bench::BenchArgs),
    /// Build, check and test a project at every save
    Watch(author::watch::WatchArgs),
    /// Put a plugin into the studio's plugins folder
    Install(author::install::InstallArgs),
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
        PluginCommand::Grant(args) => plugin_consent::grant(args, config),
        PluginCommand::Config(args) => plugin_consent::configure(args, config),
        PluginCommand::Audit(args) => plugin_consent::audit(args, config),
        PluginCommand::Secret(args) => plugin_secret::run(args, config),
        PluginCommand::New(args) => author::new::run(args),
        PluginCommand::Build(args) => author::build::run(args),
        PluginCommand::Check(args) => author::check::run(args, config),
        PluginCommand::Test(args) => author::test::run(args, config),
        PluginCommand::Bench(args) => author::bench::run(args, config),
        PluginCommand::Watch(args) => author::watch::run(args, config),
        PluginCommand::Install(args) => author::install::run(args, config),
    }
}

/// The plugins as the user has set them, and the database that holds it.
pub(super) fn open(config: &Config) -> anyhow::Result<(PluginHost, Store)> {
    let store = open_store(config)?;
    Ok((crate::plugins::open(config, &store)?, store))
}

/// The plugins for who asks for some by their names.
pub(super) fn open_named(config: &Config) -> anyhow::Result<PluginHost> {
    crate::plugins::open_named(config, &open_store(config)?)
}

/// Says why nothing happens, where the plugin that is asked for has to be compiled first.
pub(super) fn tell_of_compiling(host: &PluginHost, name: &str) {
    let (host, name) = (host.clone(), name.to_owned());
    // Nobody joins it: what is compiled is there within a blink, and a command that has ended has nothing to tell.
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        if host.awaited() > 0 && host.get(&name).is_none() {
            eprintln!("{name} is compiled first, once for this machine; that may take a minute");
        }
    });
}

/// The database alone.
pub(super) fn open_store(config: &Config) -> anyhow::Result<Store> {
    let mut store_config = config.store_config();
    // One command makes a few queries; the pool of the server would cost it ten connections.
    store_config.pool.min_idle = 1;
    Store::open(&store_config).context("cannot open the database")
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
        PluginHealth::NeedsConsent { message } => format!("needs consent: {message}"),
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
            "    asks for {}; granted {}",
            words(&plugin.capabilities),
            words(&plugin.granted)
        );
    }
    if let Some(pending) = &plugin.pending {
        println!(
            "    version {} ({}) waits for your consent, {}: {}",
            pending.version,
            &pending.digest[..12.min(pending.digest.len())],
            if matches!(plugin.health, PluginHealth::NeedsConsent { .. }) {
                "and the one before it is not kept here, so nothing answers"
            } else {
                "this one answers"
            },
            if pending.more.is_empty() {
                "it asks for the same".to_owned()
            } else {
                format!("it wants more: {}", pending.more.join(", "))
            }
        );
    }
    if let Some(canary) = plugin.canary.as_ref().filter(|canary| canary.changed > 0) {
        println!(
            "    says something else than the version before on {} of {} inputs of late",
            canary.changed, canary.replayed
        );
    }
    if let Some(error) = &plugin.last_error {
        println!("    the newest file does not load: {error}");
    }
    if let Some(why) = &plugin.unkept {
        println!("    its compiled code cannot be kept, so the next start takes longer: {why}");
    }
}

fn words(capabilities: &[Capability]) -> String {
    let words: Vec<&str> = capabilities.iter().map(|word| word.word()).collect();
    match words.is_empty() {
        true => "nothing".to_owned(),
        false => words.join(", "),
    }
}

fn call(name: &str, input: &str, json: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let input = read_input(input)?;
    let store = open_store(config)?;
    let host = crate::plugins::open_named(config, &store)?;
    tell_of_compiling(&host, name);
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
pub(super) fn read_input(input: &str) -> anyhow::Result<Value> {
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
pub(super) fn find(host: &PluginHost, name: &str) -> anyhow::Result<PluginInfo> {
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
