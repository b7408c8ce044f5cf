//! The contract's side: JSON in and out, files in and diagnostics out.

use serde::Deserialize;
use serde_json::json;
use source_text::{Language, LineIndex, detect};

use crate::bindings::codetune::plugin::config;
use crate::bindings::exports::codetune::plugin::analyzer::{
    self, Diagnostic, Edit, FileAnalysis, Metric, Severity, SourceFile, Span,
};
use crate::bindings::exports::codetune::plugin::tool::{self, PluginMetadata};
use crate::rules::{CODES, Finding, look};

/// The plugin.
pub struct Style;

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

/// Kinds of findings that the user does not want; the host has checked them against the config schema.
fn ignored() -> Vec<String> {
    config::get("ignore")
        .and_then(|value| serde_json::from_str(&value).ok())
        .unwrap_or_default()
}

fn language(
    code: &str,
    declared: Option<&str>,
    path: Option<&str>,
) -> Result<&'static Language, String> {
    detect(declared, path, code).ok_or_else(|| match declared {
        Some(name) if !name.trim().is_empty() => format!("language: unknown language {name:?}"),
        _ => "language: nothing shows which it is; name it".to_owned(),
    })
}

fn findings(code: &str, language: &Language, ignored: &[String]) -> Vec<Finding> {
    let max_line_length = config::get("max_line_length").and_then(|value| value.parse().ok());
    let mut found = look(code, language, max_line_length);
    found.retain(|finding| !ignored.iter().any(|code| code == finding.code));
    found
}

fn to_json(code: &str, language: &Language, found: &[Finding]) -> String {
    let lines = LineIndex::new(code);
    let diagnostics: Vec<serde_json::Value> = found
        .iter()
        .map(|finding| {
            let place = lines.position(finding.span.0 as u32);
            json!({
                "code": finding.code, "severity": if finding.is_warning { "warning" } else { "hint" },
                "line": place.line, "column": place.column, "message": finding.message,
            })
        })
        .collect();
    json!({ "language": language.name, "findings": found.len(), "diagnostics": diagnostics })
        .to_string()
}

impl tool::Guest for Style {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "style".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description:
                "Line lengths, white space, line ends and names, with edits that mend them."
                    .to_owned(),
            author: "CodeTune Studio".to_owned(),
            tags: ["code-analysis", "style", "naming", "formatting"]
                .map(str::to_owned)
                .to_vec(),
            input_schema: include_str!("schema/input.json").to_owned(),
            output_schema: include_str!("schema/output.json").to_owned(),
            config_schema: include_str!("schema/config.json").to_owned(),
        }
    }

    fn validate_inputs(inputs: String) -> Result<(), String> {
        let inputs = parse(&inputs)?;
        language(
            &inputs.code,
            inputs.language.as_deref(),
            inputs.path.as_deref(),
        )
        .map(drop)
    }

    fn execute(inputs: String) -> Result<String, String> {
        let inputs = parse(&inputs)?;
        let language = language(
            &inputs.code,
            inputs.language.as_deref(),
            inputs.path.as_deref(),
        )?;
        let found = findings(&inputs.code, language, &ignored());
        Ok(to_json(&inputs.code, language, &found))
    }
}

impl analyzer::Guest for Style {
    fn analyze(files: Vec<SourceFile>) -> Vec<Result<FileAnalysis, String>> {
        let ignored = ignored();
        files
            .into_iter()
            .map(|file| {
                let language = language(&file.code, file.language.as_deref(), Some(&file.path))?;
                let found = findings(&file.code, language, &ignored);
                Ok(file_analysis(&file.code, language, found))
            })
            .collect()
    }
}

fn file_analysis(code: &str, language: &Language, found: Vec<Finding>) -> FileAnalysis {
    let lines = LineIndex::new(code);
    let metrics = CODES.iter().map(|name| Metric {
        name: (*name).to_owned(),
        value: found.iter().filter(|finding| finding.code == *name).count() as f64,
    });
    let metrics = metrics.collect();
    let details = Some(to_json(code, language, &found));
    let diagnostics = found.into_iter().map(|finding| {
        let place = lines.position(finding.span.0 as u32);
        let span = Span {
            start: finding.span.0 as u32,
            end: finding.span.1 as u32,
            line: place.line,
            column: place.column,
        };
        Diagnostic {
            code: finding.code.to_owned(),
            severity: if finding.is_warning {
                Severity::Warning
            } else {
                Severity::Hint
            },
            span,
            message: finding.message,
            suggestion: finding.instead.map(|(replacement, confidence)| Edit {
                span,
                replacement,
                confidence,
            }),
        }
    });
    FileAnalysis {
        diagnostics: diagnostics.collect(),
        metrics,
        details,
    }
}
