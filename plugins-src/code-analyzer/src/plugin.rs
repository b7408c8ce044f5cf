//! The contract's side: JSON in and out, files in and diagnostics out.

use serde::Deserialize;
use source_parsers::{DEFAULT_MAX_COMPLEXITY, Report, Severity};

use crate::bindings::codetune::plugin::config;
use crate::bindings::exports::codetune::plugin::analyzer::{
    self, Diagnostic, FileAnalysis, Metric, SourceFile, Span,
};
use crate::bindings::exports::codetune::plugin::tool::{self, PluginMetadata};

/// The plugin.
pub struct CodeAnalyzer;

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

/// The user's bound, else the default; the host has checked it against the config schema.
fn max_complexity() -> u32 {
    config::get("max_complexity")
        .and_then(|value| value.parse().ok())
        .unwrap_or(DEFAULT_MAX_COMPLEXITY)
}

fn to_json(report: &Report) -> String {
    serde_json::to_string(report).expect("a report has string keys and no float")
}

impl tool::Guest for CodeAnalyzer {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "code-analyzer".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description:
                "Functions, classes, imports, cyclomatic complexity and syntax errors of Python, \
                          JavaScript, TypeScript and Rust."
                    .to_owned(),
            author: "CodeTune Studio".to_owned(),
            tags: [
                "code-analysis",
                "complexity",
                "python",
                "javascript",
                "typescript",
                "rust",
            ]
            .map(str::to_owned)
            .to_vec(),
            input_schema: include_str!("schema/input.json").to_owned(),
            output_schema: include_str!("schema/output.json").to_owned(),
            config_schema: include_str!("schema/config.json").to_owned(),
        }
    }

    fn validate_inputs(inputs: String) -> Result<(), String> {
        let inputs = parse(&inputs)?;
        source_parsers::language_of(
            &inputs.code,
            inputs.language.as_deref(),
            inputs.path.as_deref(),
        )
        .map(drop)
    }

    fn execute(inputs: String) -> Result<String, String> {
        let inputs = parse(&inputs)?;
        let report = source_parsers::analyze(
            &inputs.code,
            inputs.language.as_deref(),
            inputs.path.as_deref(),
            max_complexity(),
        )?;
        Ok(to_json(&report))
    }
}

impl analyzer::Guest for CodeAnalyzer {
    fn analyze(files: Vec<SourceFile>) -> Vec<Result<FileAnalysis, String>> {
        let max_complexity = max_complexity();
        files
            .into_iter()
            .map(|file| {
                let language = file.language.as_deref();
                let report = source_parsers::analyze(
                    &file.code,
                    language,
                    Some(&file.path),
                    max_complexity,
                )?;
                Ok(file_analysis(report))
            })
            .collect()
    }
}

fn file_analysis(report: Report) -> FileAnalysis {
    let metric = |name: &str, value: usize| Metric {
        name: name.to_owned(),
        value: value as f64,
    };
    FileAnalysis {
        details: Some(to_json(&report)),
        metrics: vec![
            metric("num_functions", report.functions.len()),
            metric("num_classes", report.num_classes as usize),
            metric("num_imports", report.imports.len()),
            metric("complexity", report.complexity as usize),
            metric("nodes", report.nodes as usize),
        ],
        diagnostics: report
            .findings
            .into_iter()
            .map(|finding| Diagnostic {
                code: finding.code.to_owned(),
                severity: match finding.severity {
                    Severity::Error => analyzer::Severity::Error,
                    Severity::Hint => analyzer::Severity::Hint,
                },
                span: Span {
                    start: finding.start,
                    end: finding.end,
                    line: finding.line,
                    column: finding.column,
                },
                message: finding.message,
                suggestion: None,
            })
            .collect(),
    }
}
