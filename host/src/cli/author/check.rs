//! `codetune plugin check`: whether a plugin would load, and what it is made of.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use domain::{PluginInfo, PluginKind};
use plugin_host::Anatomy;
use serde::Serialize;
use serde_json::Value;

use super::trial::Trial;
use crate::config::Config;

/// Arguments of `codetune plugin check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  codetune plugin check my-plugin\n  \
    codetune plugin check my-plugin/target/wasm32-wasip2/release/my_plugin.wasm --json")]
pub(crate) struct CheckArgs {
    /// A component, or a folder with plugin.toml and the component that it names
    file: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON: what the studio shows of a plugin, and what is in its component.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    plugin: &'a PluginInfo,
    /// The worlds of the contract that it fits: `analyzer-plugin`.
    worlds: Vec<String>,
    /// What it is made of; null when it is no component.
    component: Option<Anatomy>,
    /// Why it does not load; null when it does.
    fault: Option<&'a str>,
}

/// Looks and prints; exit code 1 when it would not load.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn run(args: &CheckArgs, config: &Config) -> anyhow::Result<ExitCode> {
    check(&args.file, args.json, config)
}

/// The same for `watch`.
pub(super) fn check(path: &Path, json: bool, config: &Config) -> anyhow::Result<ExitCode> {
    let trial = Trial::open(path, config)?;
    let report = Report {
        plugin: &trial.plugin,
        worlds: worlds(&trial.plugin.kinds),
        component: plugin_host::anatomy(&trial.component).ok(),
        fault: trial.fault(),
    };
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    if let Some(fault) = report.fault {
        eprintln!("error: {} {fault}", path.display());
    }
    Ok(ExitCode::from(u8::from(report.fault.is_some())))
}

/// A plugin that has an ability beside the tool fits the world of that ability; one that has several fits several.
fn worlds(kinds: &[PluginKind]) -> Vec<String> {
    let word = |kind: &PluginKind| match kind {
        PluginKind::Tool => "tool-plugin",
        PluginKind::Analyzer => "analyzer-plugin",
        PluginKind::Curator => "curator-plugin",
        PluginKind::Scorer => "scorer-plugin",
    };
    let is_tool = |kind: &&PluginKind| **kind == PluginKind::Tool;
    let abilities: Vec<&PluginKind> = kinds.iter().filter(|kind| !is_tool(kind)).collect();
    match abilities.as_slice() {
        [] => kinds.iter().map(word).map(str::to_owned).collect(),
        abilities => abilities.iter().map(|kind| word(kind).to_owned()).collect(),
    }
}

fn print(report: &Report<'_>) {
    let plugin = report.plugin;
    if let Some(metadata) = &plugin.metadata {
        println!("{} {}", metadata.name, metadata.version);
        println!("  {}", metadata.description);
        println!("  world        {}", report.worlds.join(", "));
    }
    if let Some(component) = &report.component {
        println!(
            "  contract     {}",
            component.contract.as_deref().unwrap_or("not said")
        );
        println!(
            "  size         {} bytes: {} of code, {} of data, {} of names and other sections",
            component.size_bytes,
            component.code_bytes,
            component.data_bytes,
            component.custom_bytes
        );
        println!(
            "  modules      {}, with {} functions; {} bytes of memory to begin with",
            component.modules, component.functions, component.memory_bytes
        );
        println!("  exports      {}", list(&component.exports));
        println!("  imports      {}", list(&component.imports));
    }
    if !plugin.capabilities.is_empty() {
        let words = serde_json::to_value(&plugin.capabilities).unwrap_or_default();
        println!("  asks for     {}", list(&words_of(&words)));
    }
    if let Some(metadata) = &plugin.metadata {
        println!("  input        {}", fields(&metadata.input_schema));
        println!("  output       {}", fields(&metadata.output_schema));
        println!("  settings     {}", fields(&metadata.config_schema));
        println!("  sha256       {}", plugin.digest);
    }
}

fn list(words: &[String]) -> String {
    match words {
        [] => "nothing".to_owned(),
        words => words.join(", "),
    }
}

fn words_of(value: &Value) -> Vec<String> {
    let words = value.as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A schema's fields on one line: `code: string, path?: string`.
fn fields(schema: &Value) -> String {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return match schema.get("type").and_then(Value::as_str) {
            Some(kind) => kind.to_owned(),
            None => "anything".to_owned(),
        };
    };
    let required = words_of(&schema["required"]);
    let fields: Vec<String> = properties
        .iter()
        .map(|(name, schema)| {
            let kind = schema.get("type").and_then(Value::as_str).unwrap_or("any");
            let mark = if required.contains(name) { "" } else { "?" };
            format!("{name}{mark}: {kind}")
        })
        .collect();
    fields.join(", ")
}

#[cfg(test)]
mod tests {
    use domain::PluginKind;
    use serde_json::json;

    use super::{fields, worlds};

    #[test]
    fn a_plugin_fits_the_world_of_its_ability() {
        assert_eq!(worlds(&[PluginKind::Tool]), ["tool-plugin"]);
        assert_eq!(
            worlds(&[PluginKind::Tool, PluginKind::Scorer]),
            ["scorer-plugin"]
        );
    }

    #[test]
    fn a_schema_is_one_line() {
        let schema = json!({
            "properties": { "code": { "type": "string" }, "path": { "enum": ["a"] } }, "required": ["code"]
        });
        assert_eq!(fields(&schema), "code: string, path?: any");
        assert_eq!(fields(&json!({})), "anything");
    }
}
