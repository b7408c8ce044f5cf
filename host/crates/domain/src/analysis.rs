use serde::{Deserialize, Serialize};

use crate::Details;

/// One file that an analyzer looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it came from; for names and language detection only, the plugin cannot open it.
    pub path: String,
    /// Its text.
    pub code: String,
    /// The language by name (`python`, `rust`, …) when the caller knows it.
    pub language: Option<String>,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// Line of the first byte, from 1.
    pub line: u32,
    /// Column of the first byte in characters, from 1.
    pub column: u32,
}

/// A change that a plugin proposes; the host never applies one by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuggestedEdit {
    /// What to replace.
    pub span: Span,
    /// What to put there.
    pub replacement: String,
    /// How sure the plugin is, in [0, 1].
    pub confidence: f64,
}

/// One finding in one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// A stable word: `syntax-error`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is; in JSON its four fields stand beside the others.
    #[serde(flatten)]
    pub span: Span,
    /// One sentence.
    pub message: String,
    /// How it could be mended.
    pub suggestion: Option<SuggestedEdit>,
}

/// One number about one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// A stable word: `complexity`.
    pub name: String,
    /// A finite number.
    pub value: f64,
}

/// What an analyzer says about one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileAnalysis {
    /// The path of the [`SourceFile`].
    pub path: String,
    /// What was found, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// What was measured.
    pub metrics: Vec<Metric>,
    /// What the plugin's tool would answer for this file, where it has more to say than numbers.
    #[serde(default)]
    pub details: Option<Details>,
    /// Why the file could not be analysed (a trap, a limit); the two lists are empty then.
    pub unanalyzable: Option<String>,
}
