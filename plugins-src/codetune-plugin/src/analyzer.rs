use serde_json::{Value, json};

use crate::{About, LineIndex, Settings};

/// One file. The plugin gets its text and cannot open it.
#[derive(Debug, Clone, Default)]
pub struct SourceFile {
    /// Where it came from, with `/`; none when a person typed the text into the form.
    pub path: Option<String>,
    /// Its whole text.
    pub code: String,
    /// The language by name, where the caller knows it.
    pub language: Option<String>,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used as it is.
    Error,
    /// Probably a fault.
    Warning,
    /// Worth knowing.
    Info,
    /// A matter of taste.
    Hint,
}

impl Severity {
    /// The word in the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Hint => "hint",
        }
    }
}

/// A change that would mend what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// First byte of what is replaced and one past its last.
    pub span: (usize, usize),
    /// What to put there.
    pub replacement: String,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
}

/// One finding. Its line and column are worked out from the span.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// A stable word in kebab-case.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// First byte and one past the last.
    pub span: (usize, usize),
    /// One sentence.
    pub message: String,
    /// How it could be mended.
    pub suggestion: Option<Suggestion>,
}

impl Diagnostic {
    /// A finding that nothing mends.
    pub fn new(
        code: &'static str,
        severity: Severity,
        span: (usize, usize),
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            span,
            message: message.into(),
            suggestion: None,
        }
    }

    /// The same with text to put in the span's place, and how sure that is.
    #[must_use]
    pub fn instead(mut self, replacement: impl Into<String>, confidence: f64) -> Self {
        self.suggestion = Some(Suggestion {
            span: self.span,
            replacement: replacement.into(),
            confidence,
        });
        self
    }
}

/// What was found in one file.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// In the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Names and finite numbers, always the same names in the same order.
    pub metrics: Vec<(&'static str, f64)>,
    /// The tool's answer as JSON where it is not the usual one, [`ANALYSIS_OUTPUT`]; then the trait's `OUTPUT_SCHEMA` is another one too.
    pub details: Option<String>,
}

/// A plugin that looks at source files.
pub trait Analyzer: Sized {
    /// What it says of itself.
    const ABOUT: About;
    /// JSON Schema of what its tool takes: a file as `code`, `language` and `path`.
    const INPUT_SCHEMA: &'static str = FILE_INPUT;
    /// JSON Schema of what its tool answers.
    const OUTPUT_SCHEMA: &'static str = ANALYSIS_OUTPUT;

    /// Made once for each instance.
    ///
    /// # Errors
    /// One sentence that names the setting.
    fn new(settings: &Settings) -> Result<Self, String>;

    /// Looks at a tool's input beyond what a schema can say.
    ///
    /// # Errors
    /// One sentence that names the field.
    fn check(_file: &SourceFile) -> Result<(), String> {
        Ok(())
    }

    /// Analyses one file; the same file always gets the same analysis.
    ///
    /// # Errors
    /// One sentence why this file cannot be analysed.
    fn analyze(&self, file: &SourceFile) -> Result<Analysis, String>;
}

/// What an analyzer's tool takes.
pub const FILE_INPUT: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "code": { "type": "string", "title": "Code", "description": "The whole text of one file.", "format": "code" },
    "language": { "type": "string", "title": "Language", "description": "Found out from the path or the code when left open." },
    "path": { "type": "string", "title": "Path", "description": "The file's name, a hint to the language." }
  },
  "required": ["code"],
  "additionalProperties": false
}"#;
/// What an analyzer's tool answers where its analyses have no details.
pub const ANALYSIS_OUTPUT: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "diagnostics": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "code": { "type": "string" },
          "severity": { "enum": ["error", "warning", "info", "hint"] },
          "line": { "type": "integer", "minimum": 1 },
          "column": { "type": "integer", "minimum": 1 },
          "message": { "type": "string" },
          "suggestion": {
            "type": "object",
            "properties": {
              "line": { "type": "integer", "minimum": 1 },
              "column": { "type": "integer", "minimum": 1 },
              "end_line": { "type": "integer", "minimum": 1 },
              "end_column": { "type": "integer", "minimum": 1 },
              "replacement": { "type": "string" },
              "confidence": { "type": "number", "minimum": 0, "maximum": 1 }
            },
            "required": ["line", "column", "end_line", "end_column", "replacement", "confidence"],
            "additionalProperties": false
          }
        },
        "required": ["code", "severity", "line", "column", "message"],
        "additionalProperties": false
      }
    },
    "metrics": { "type": "object", "additionalProperties": { "type": "number" } }
  },
  "required": ["diagnostics", "metrics"],
  "additionalProperties": false
}"#;

/// Findings with their places and what would mend them, as a tool shows them.
pub fn diagnostics_json(code: &str, diagnostics: &[Diagnostic]) -> Value {
    let lines = LineIndex::new(code);
    let shown = diagnostics.iter().map(|found| {
        let place = lines.position(found.span.0 as u32);
        let mut shown = json!({
            "code": found.code, "severity": found.severity.word(),
            "line": place.line, "column": place.column, "message": found.message,
        });
        if let Some(suggestion) = &found.suggestion {
            let (start, end) = suggestion.span;
            let (start, end) = (lines.position(start as u32), lines.position(end as u32));
            shown["suggestion"] = json!({
                "line": start.line, "column": start.column, "end_line": end.line, "end_column": end.column,
                "replacement": suggestion.replacement, "confidence": suggestion.confidence,
            });
        }
        shown
    });
    shown.collect()
}

/// How often each code was found, as metrics.
pub fn counts(codes: &[&'static str], found: &[Diagnostic]) -> Vec<(&'static str, f64)> {
    let count = |code| found.iter().filter(|found| found.code == code).count();
    codes
        .iter()
        .map(|code| (*code, count(*code) as f64))
        .collect()
}

/// An analysis as the tool's answer.
pub fn analysis_json(file: &SourceFile, analysis: Analysis) -> String {
    analysis.details.unwrap_or_else(|| {
        let metrics = analysis.metrics.iter();
        let metrics: serde_json::Map<String, Value> = metrics
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let diagnostics = diagnostics_json(&file.code, &analysis.diagnostics);
        json!({ "diagnostics": diagnostics, "metrics": metrics }).to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_shows_findings_with_line_and_column_and_all_metrics() {
        let file = SourceFile {
            code: "a\né x\n".to_owned(),
            ..SourceFile::default()
        };
        let analysis = Analysis {
            diagnostics: vec![
                Diagnostic::new("odd", Severity::Info, (5, 6), "x is odd"),
                Diagnostic::new("accent", Severity::Hint, (2, 4), "é has an accent")
                    .instead("e", 0.5),
            ],
            metrics: vec![("odd", 1.0)],
            details: None,
        };
        let shown: Value = serde_json::from_str(&analysis_json(&file, analysis)).unwrap();
        assert_eq!(
            shown,
            json!({
                "diagnostics": [
                    { "code": "odd", "severity": "info", "line": 2, "column": 3, "message": "x is odd" },
                    {
                        "code": "accent", "severity": "hint", "line": 2, "column": 1, "message": "é has an accent",
                        "suggestion": {
                            "line": 2, "column": 1, "end_line": 2, "end_column": 2,
                            "replacement": "e", "confidence": 0.5,
                        }
                    }
                ],
                "metrics": { "odd": 1.0 }
            })
        );
    }

    #[test]
    fn details_are_the_tools_whole_answer() {
        let analysis = Analysis {
            details: Some("{\"mine\":1}".to_owned()),
            ..Analysis::default()
        };
        assert_eq!(
            analysis_json(&SourceFile::default(), analysis),
            "{\"mine\":1}"
        );
    }
}
