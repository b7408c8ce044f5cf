//! The contract's side: JSON in and out, files in and diagnostics out.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use source_text::{LineIndex, detect};

use crate::bindings::codetune::plugin::config;
use crate::bindings::exports::codetune::plugin::analyzer::{
    self, Diagnostic, Edit, FileAnalysis, Metric, Severity, SourceFile, Span,
};
use crate::bindings::exports::codetune::plugin::tool::{self, PluginMetadata};
use crate::licence::{Header, header, identifiers, line};

/// The plugin.
pub struct LicenceHeaders;

/// What `execute` takes.
#[derive(Deserialize)]
struct Inputs {
    code: String,
    language: Option<String>,
    path: Option<String>,
}

/// What the user set.
struct Settings {
    require: bool,
    licence: Option<String>,
    allow: Option<Vec<String>>,
}

/// One finding, and a line to insert.
struct Finding {
    code: &'static str,
    is_warning: bool,
    span: (usize, usize),
    message: String,
    insert: Option<(usize, String)>,
}

fn parse(inputs: &str) -> Result<Inputs, String> {
    serde_json::from_str(inputs).map_err(|error| format!("inputs: {error}"))
}

/// One setting; the host has checked it against the config schema.
fn setting<T: DeserializeOwned>(name: &str) -> Option<T> {
    config::get(name).and_then(|value| serde_json::from_str(&value).ok())
}

impl Settings {
    fn read() -> Self {
        Self {
            require: setting("require").unwrap_or(true),
            licence: setting("licence"),
            allow: setting("allow"),
        }
    }

    fn findings(
        &self,
        code: &str,
        language: Option<&str>,
        path: Option<&str>,
        found: &Header,
    ) -> Vec<Finding> {
        let Some(licence) = &found.licence else {
            let is_empty = code.trim().is_empty();
            if !self.require || is_empty {
                return Vec::new();
            }
            let own = self.licence.as_deref().zip(detect(language, path, code));
            let insert = own.and_then(|(licence, language)| line(code, licence, language));
            let at = insert.as_ref().map_or(0, |(at, _)| *at);
            return vec![Finding {
                code: "missing-licence",
                is_warning: false,
                span: (at, at),
                message: "the file names no licence".to_owned(),
                insert,
            }];
        };
        let Some(allow) = &self.allow else {
            return Vec::new();
        };
        let others: Vec<&str> = identifiers(licence)
            .into_iter()
            .filter(|found| {
                !allow
                    .iter()
                    .any(|allowed| allowed.eq_ignore_ascii_case(found))
            })
            .collect();
        // One side of `OR` that is allowed is enough.
        let has_choice = licence.contains(" OR ") && !licence.contains(" AND ");
        if others.is_empty() || has_choice && others.len() < identifiers(licence).len() {
            return Vec::new();
        }
        vec![Finding {
            code: "other-licence",
            is_warning: true,
            span: found.span,
            message: format!(
                "{} is none of the licences that are allowed",
                others.join(", ")
            ),
            insert: None,
        }]
    }
}

fn to_json(code: &str, header: &Header, findings: &[Finding]) -> String {
    let lines = LineIndex::new(code);
    let diagnostics: Vec<serde_json::Value> = findings
        .iter()
        .map(|finding| {
            let place = lines.position(finding.span.0 as u32);
            json!({
                "code": finding.code, "severity": if finding.is_warning { "warning" } else { "hint" },
                "line": place.line, "column": place.column, "message": finding.message,
            })
        })
        .collect();
    json!({
        "licence": header.licence, "found_by": header.found_by, "copyright": header.copyright,
        "diagnostics": diagnostics,
    })
    .to_string()
}

impl tool::Guest for LicenceHeaders {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "licence-headers".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description:
                "Which licence a file names at its head, by SPDX line or by its words, and where none is named."
                    .to_owned(),
            author: "CodeTune Studio".to_owned(),
            tags: ["code-analysis", "licence", "spdx"].map(str::to_owned).to_vec(),
            input_schema: include_str!("schema/input.json").to_owned(),
            output_schema: include_str!("schema/output.json").to_owned(),
            config_schema: include_str!("schema/config.json").to_owned(),
        }
    }

    fn validate_inputs(inputs: String) -> Result<(), String> {
        parse(&inputs).map(drop)
    }

    fn execute(inputs: String) -> Result<String, String> {
        let inputs = parse(&inputs)?;
        let (language, path) = (inputs.language.as_deref(), inputs.path.as_deref());
        let header = header(&inputs.code);
        let findings = Settings::read().findings(&inputs.code, language, path, &header);
        Ok(to_json(&inputs.code, &header, &findings))
    }
}

impl analyzer::Guest for LicenceHeaders {
    fn analyze(files: Vec<SourceFile>) -> Vec<Result<FileAnalysis, String>> {
        let settings = Settings::read();
        let files = files.into_iter();
        files
            .map(|file| Ok(file_analysis(&settings, &file)))
            .collect()
    }
}

fn file_analysis(settings: &Settings, file: &SourceFile) -> FileAnalysis {
    let header = header(&file.code);
    let language = file.language.as_deref();
    let findings = settings.findings(&file.code, language, Some(&file.path), &header);
    let lines = LineIndex::new(&file.code);
    let span = |start: usize, end: usize| {
        let place = lines.position(start as u32);
        Span {
            start: start as u32,
            end: end as u32,
            line: place.line,
            column: place.column,
        }
    };
    let metric = |name: &str, is_so: bool| Metric {
        name: name.to_owned(),
        value: f64::from(u8::from(is_so)),
    };
    FileAnalysis {
        details: Some(to_json(&file.code, &header, &findings)),
        metrics: vec![
            metric("has_licence", header.licence.is_some()),
            metric("has_spdx_line", header.found_by == Some("spdx")),
            metric("has_copyright", !header.copyright.is_empty()),
        ],
        diagnostics: findings
            .into_iter()
            .map(|finding| Diagnostic {
                code: finding.code.to_owned(),
                severity: if finding.is_warning {
                    Severity::Warning
                } else {
                    Severity::Hint
                },
                span: span(finding.span.0, finding.span.1),
                message: finding.message,
                suggestion: finding.insert.map(|(at, replacement)| Edit {
                    span: span(at, at),
                    replacement,
                    confidence: 0.8,
                }),
            })
            .collect(),
    }
}
