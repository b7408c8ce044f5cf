//! `codetune plugin grant`, `config` and `audit`: what a plugin may use, with which settings, and what it used. A running
//! server sees within a second what is written here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use domain::{Asks, Capability, Grants, PluginInfo};
use serde_json::{Value, json};

use super::plugin::{find, open};
use super::usage_error;
use crate::config::Config;

/// Arguments of `codetune plugin grant`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin grant code-analyzer\n  codetune plugin grant ask-endpoint config http secrets \
    --host https://api.example.com --secret API_KEY\n  codetune plugin grant review config generate --tokens 500 --model models/base\n  \
    codetune plugin grant corpus-check folders --folder corpus=/data/corpus\n  codetune plugin grant ask-endpoint --revoke"
)]
pub(crate) struct GrantArgs {
    /// The plugin; the version that waits for consent, else the one that answers
    name: String,
    /// `log`, `config`, `generate`, `http`, `folders`, `secrets`; without any, all that it asks for
    capabilities: Vec<String>,
    /// A host that it may ask: https://api.example.com; without any, those that its manifest lists, and for `*` those in its
    /// settings
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// A private, loopback or link-local address that it may reach by the name of a granted host
    #[arg(long = "address", value_name = "IP")]
    addresses: Vec<IpAddr>,
    /// A folder that it may read, and the name that it knows it by
    #[arg(long = "folder", value_name = "NAME=DIR")]
    folders: Vec<String>,
    /// A secret that it may have; without any, those that its manifest lists
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<String>,
    /// Tokens that one call may have the model write; by default what its manifest asks for
    #[arg(long)]
    tokens: Option<u32>,
    /// The model that writes; by default the one that the studio has loaded
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// An adapter on that model
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
    /// Also for later versions that ask for no more and import no more
    #[arg(long)]
    updates: bool,
    /// Take every grant back
    #[arg(long, conflicts_with_all = ["capabilities", "hosts", "addresses", "folders", "secrets", "tokens", "model", "updates"])]
    revoke: bool,
}

/// Arguments of `codetune plugin config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin config code-analyzer\n  codetune plugin config code-analyzer max_complexity=15\n  \
    codetune plugin config code-analyzer --clear"
)]
pub(crate) struct ConfigArgs {
    /// The plugin
    name: String,
    /// Settings to set: a JSON value, or a text; without any, the present ones are shown
    #[arg(value_name = "KEY=VALUE")]
    values: Vec<String>,
    /// Forget every setting of yours first
    #[arg(long)]
    clear: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Arguments of `codetune plugin audit`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune plugin audit ask-endpoint --json")]
pub(crate) struct AuditArgs {
    /// The plugin, also one that is gone
    name: String,
    /// At most so many, the newest
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// One JSON array on standard output
    #[arg(long)]
    json: bool,
}

/// Grants, and says what.
///
/// # Errors
/// What the plugin does not ask for, or what is not there.
pub(crate) fn grant(args: &GrantArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let (host, store) = open(config)?;
    let plugin = find(&host, &args.name)?;
    let (digest, asked, asks) = concerned(&plugin);
    let wanted = match args.revoke {
        true => Grants::default(),
        false => {
            let mut usual = Grants::of(asked, asks);
            // Where it asks for those that the user names, the settings name some.
            if asks.hosts.iter().any(|host| host == "*") {
                let named = host.hosts_in_settings(&args.name, digest);
                usual.hosts.extend(named.into_iter().map(|(_, host)| host));
            }
            wanted(args, &plugin, asked, usual)?
        }
    };
    let grants = host
        .check_grants(&args.name, digest, wanted)
        .map_err(|(field, message)| usage_error(format!("{}: {field} {message}", args.name)))?;
    store.set_plugin_grants(&args.name, digest, &grants)?;
    let words: Vec<&str> = grants.capabilities.iter().map(|word| word.word()).collect();
    let words = if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    };
    println!("{} ({}) may use {words}", args.name, short(digest));
    let folders = grants
        .folders
        .iter()
        .map(|(name, path)| format!("folder {name} = {}", path.display()));
    let details = (grants.hosts.iter().map(|host| format!("host {host}")))
        .chain(grants.addresses.iter().map(|ip| format!("address {ip}")))
        .chain(folders)
        .chain(grants.secrets.iter().map(|name| format!("secret {name}")))
        .chain((grants.tokens > 0).then(|| format!("{} tokens a call", grants.tokens)));
    for detail in details {
        println!("    {detail}");
    }
    let missing = asks
        .folders
        .iter()
        .filter(|name| !grants.folders.contains_key(*name));
    for name in missing.filter(|_| grants.capabilities.contains(&Capability::Folders)) {
        println!("    folder {name} is not there for it: --folder {name}=DIR");
    }
    Ok(ExitCode::SUCCESS)
}

fn concerned(plugin: &PluginInfo) -> (&str, &[Capability], &Asks) {
    match &plugin.pending {
        Some(pending) => (&pending.digest, &pending.capabilities, &pending.asks),
        None => (&plugin.digest, &plugin.capabilities, &plugin.asks),
    }
}

fn wanted(
    args: &GrantArgs,
    plugin: &PluginInfo,
    asked: &[Capability],
    usual: Grants,
) -> anyhow::Result<Grants> {
    let capabilities = match args.capabilities.as_slice() {
        [] => asked.to_vec(),
        words => words
            .iter()
            .map(|word| capability(plugin, asked, word))
            .collect::<Result<_, _>>()?,
    };
    // Of a capability that is not granted, nothing is.
    let has = |capability| capabilities.contains(&capability);
    let or_usual = |given: &[String], usual: Vec<String>| match given {
        [] => usual,
        given => given.to_vec(),
    };
    let mut grants = Grants {
        addresses: args.addresses.clone(),
        folders: folders(&args.folders)?,
        model: args.model.as_deref().map(std::path::absolute).transpose()?,
        adapter: args
            .adapter
            .as_deref()
            .map(std::path::absolute)
            .transpose()?,
        updates: args.updates,
        hosts: or_usual(
            &args.hosts,
            if has(Capability::Http) {
                usual.hosts
            } else {
                Vec::new()
            },
        ),
        secrets: or_usual(
            &args.secrets,
            if has(Capability::Secrets) {
                usual.secrets
            } else {
                Vec::new()
            },
        ),
        tokens: args.tokens.unwrap_or(usual.tokens),
        imports: Vec::new(),
        capabilities: Vec::new(),
    };
    for (capability, option, is_given) in [
        (
            Capability::Http,
            "--host",
            !args.hosts.is_empty() || !args.addresses.is_empty(),
        ),
        (Capability::Folders, "--folder", !args.folders.is_empty()),
        (Capability::Secrets, "--secret", !args.secrets.is_empty()),
        (
            Capability::Generate,
            "--tokens",
            args.tokens.is_some() || args.model.is_some(),
        ),
    ] {
        if is_given && !has(capability) {
            return Err(usage_error(format!(
                "{option} says how much of `{}`, which is not among the capabilities granted",
                capability.word()
            )));
        }
    }
    if !has(Capability::Generate) {
        grants.tokens = 0;
    }
    grants.capabilities = capabilities;
    Ok(grants)
}

/// A capability that the plugin asks for.
fn capability(plugin: &PluginInfo, asked: &[Capability], word: &str) -> anyhow::Result<Capability> {
    let found = asked.iter().copied().find(|asked| asked.word() == word);
    found.ok_or_else(|| {
        let words: Vec<&str> = asked.iter().map(|asked| asked.word()).collect();
        usage_error(format!(
            "{} does not ask for {word:?}; it asks for {}",
            plugin.name,
            if words.is_empty() {
                "nothing".to_owned()
            } else {
                words.join(", ")
            }
        ))
    })
}

fn folders(pairs: &[String]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    pairs
        .iter()
        .map(|pair| {
            let (name, path) = pair
                .split_once('=')
                .ok_or_else(|| usage_error(format!("--folder {pair}: write it as NAME=DIR")))?;
            Ok((name.to_owned(), std::path::absolute(path)?))
        })
        .collect()
}

/// Sets or shows a plugin's settings.
///
/// # Errors
/// Settings that its schema does not take.
pub(crate) fn configure(args: &ConfigArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let (host, store) = open(config)?;
    find(&host, &args.name)?;
    let mut values = match args.clear {
        true => BTreeMap::new(),
        false => host.config(&args.name),
    };
    for pair in &args.values {
        let (key, text) = pair
            .split_once('=')
            .ok_or_else(|| usage_error(format!("{pair}: write it as KEY=VALUE")))?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        values.insert(key.to_owned(), value);
    }
    if args.clear || !args.values.is_empty() {
        if !values.is_empty() {
            host.check_config(&args.name, &values)
                .map_err(|error| usage_error(error.to_string()))?;
        }
        store.set_plugin_config(&args.name, &values)?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&values)?);
    } else if values.is_empty() {
        println!("{} has no settings of yours", args.name);
    } else {
        for (key, value) in &values {
            println!("{key} = {value}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what a plugin used.
///
/// # Errors
/// A database that cannot be read.
pub(crate) fn audit(args: &AuditArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = super::plugin::open_store(config)?;
    let uses = store.list_uses(&args.name, i64::from(args.limit))?;
    if args.json {
        println!("{}", json!(uses));
        return Ok(ExitCode::SUCCESS);
    }
    if uses.is_empty() {
        println!("{} used nothing beyond its sandbox", args.name);
    }
    for row in &uses {
        let used = &row.used;
        print!(
            "{}  {}  {} {}  {} times, {} bytes",
            row.created_at.format("%Y-%m-%d %H:%M:%S"),
            short(&row.digest),
            used.capability.word(),
            used.target,
            used.times,
            used.bytes
        );
        if used.tokens > 0 {
            print!(", {} tokens", used.tokens);
        }
        if used.refused > 0 {
            print!(", refused {} times", used.refused);
        }
        println!();
    }
    Ok(ExitCode::SUCCESS)
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
