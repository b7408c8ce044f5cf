//! The contract's side: JSON in and out, files in and metrics out.

use serde::Deserialize;

use crate::bindings::exports::codetune::plugin::analyzer::{
    self, FileAnalysis, Metric, SourceFile,
};
use crate::bindings::exports::codetune::plugin::tool::{self, PluginMetadata};
use crate::stats::{Stats, measure};

/// The plugin.
pub struct SourceStats;

/// What `execute` takes.
#[derive(Deserialize)]
struct Inputs {
    code: String,
    language: Option<String>,
    path: Option<String>,
}

fn parse(inputs: &str) -> Result<Inputs, String> {
    serde_json::from_str(inputs).map_err(|error| format!("inputs: {error}"))
}

fn to_json(stats: &Stats) -> String {
    serde_json::to_string(stats).expect("every number is finite")
}

impl tool::Guest for SourceStats {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "source-stats".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Size, line lengths, alphanumeric fraction, comment ratio and language of any source file."
                .to_owned(),
            author: "CodeTune Studio".to_owned(),
            tags: ["statistics", "language-detection", "curation"].map(str::to_owned).to_vec(),
            input_schema: include_str!("schema/input.json").to_owned(),
            output_schema: include_str!("schema/output.json").to_owned(),
            config_schema: "{}".to_owned(),
        }
    }

    fn validate_inputs(inputs: String) -> Result<(), String> {
        let inputs = parse(&inputs)?;
        match inputs.language.as_deref() {
            Some(name) if !name.trim().is_empty() && source_text::by_name(name).is_none() => Err(
                format!("language: unknown language {name:?}; leave it out to have it found"),
            ),
            _ => Ok(()),
        }
    }

    fn execute(inputs: String) -> Result<String, String> {
        let inputs = parse(&inputs)?;
        Ok(to_json(&measure(
            &inputs.code,
            inputs.language.as_deref(),
            inputs.path.as_deref(),
        )))
    }
}

impl analyzer::Guest for SourceStats {
    fn analyze(files: Vec<SourceFile>) -> Vec<Result<FileAnalysis, String>> {
        files
            .into_iter()
            .map(|file| {
                Ok(file_analysis(&measure(
                    &file.code,
                    file.language.as_deref(),
                    Some(&file.path),
                )))
            })
            .collect()
    }
}

fn file_analysis(stats: &Stats) -> FileAnalysis {
    let metric = |name: &str, value: f64| Metric {
        name: name.to_owned(),
        value,
    };
    FileAnalysis {
        diagnostics: Vec::new(),
        metrics: vec![
            metric("bytes", stats.bytes as f64),
            metric("lines", stats.lines as f64),
            metric("blank_lines", stats.blank_lines as f64),
            metric("longest_line", stats.longest_line as f64),
            metric("mean_line", stats.mean_line),
            metric("alphanumeric_fraction", stats.alphanumeric_fraction),
            metric("comment_ratio", stats.comment_ratio),
        ],
        details: Some(to_json(stats)),
    }
}
