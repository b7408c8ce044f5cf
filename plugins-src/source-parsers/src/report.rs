//! What an analysis finds, whatever the language; the shapes that leave the plugin.

use codetune_plugin::LineIndex;
use serde::Serialize;

/// Cyclomatic complexity above which a function gets a hint: McCabe's own bound, 10, unless the settings say otherwise.
pub const DEFAULT_MAX_COMPLEXITY: u32 = 10;

/// One function, method or closure with a name of its own.
#[derive(Debug, Serialize)]
pub struct Function {
    /// Its name; `<anonymous>` where the source gives none.
    pub name: String,
    /// Line of its keyword or name, from 1.
    pub line: u32,
    /// 1 and one more for each decision in it, functions inside it left out.
    pub complexity: u32,
    /// Whether it is declared `async`.
    pub is_async: bool,
    /// First byte, for the hint's span.
    #[serde(skip)]
    pub start: u32,
    /// One past the last byte of its head.
    #[serde(skip)]
    pub end: u32,
}

/// One finding.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// `error` or `hint`.
    pub severity: Severity,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// One sentence.
    pub message: String,
    /// A stable word.
    #[serde(skip)]
    pub code: &'static str,
    /// First byte.
    #[serde(skip)]
    pub start: u32,
    /// One past the last byte.
    #[serde(skip)]
    pub end: u32,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The text does not parse.
    Error,
    /// A matter of taste.
    Hint,
}

/// Everything about one file.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// One of [`LANGUAGES`](crate::LANGUAGES).
    pub language: &'static str,
    /// Length of `functions`.
    pub num_functions: u32,
    /// Classes; in Rust structs, enums, unions and traits.
    pub num_classes: u32,
    /// One entry an import, in the order of the source.
    pub imports: Vec<String>,
    /// Sum over `functions`.
    pub complexity: u32,
    /// Nodes of the parser's tree.
    pub nodes: u32,
    /// In the order of the source, outer before inner.
    pub functions: Vec<Function>,
    /// In the order of the source.
    #[serde(rename = "diagnostics")]
    pub findings: Vec<Finding>,
}

impl Report {
    /// Adds a syntax error.
    pub fn syntax_error(&mut self, lines: &LineIndex<'_>, start: u32, end: u32, message: String) {
        let position = lines.position(start);
        self.findings.push(Finding {
            severity: Severity::Error,
            line: position.line,
            column: position.column,
            message,
            code: "syntax-error",
            start,
            end: end.max(start),
        });
    }

    /// Counts, sums and hints, once all functions are known.
    pub fn finish(mut self, lines: &LineIndex<'_>, max_complexity: u32) -> Self {
        self.num_functions = self.functions.len() as u32;
        for function in &mut self.functions {
            self.complexity += function.complexity;
            if function.complexity > max_complexity {
                let position = lines.position(function.start);
                self.findings.push(Finding {
                    severity: Severity::Hint,
                    line: position.line,
                    column: position.column,
                    message: format!(
                        "`{}` has a cyclomatic complexity of {}, more than {max_complexity}; split it",
                        function.name, function.complexity
                    ),
                    code: "complex-function",
                    start: function.start,
                    end: function.end,
                });
            }
        }
        self.findings.sort_by_key(|finding| finding.start);
        self
    }
}

/// Functions that are open while a tree is walked, each counting its own decisions.
#[derive(Debug, Default)]
pub struct Scopes {
    open: Vec<usize>,
}

impl Scopes {
    /// Enters a function.
    pub fn enter(&mut self, report: &mut Report, function: Function) {
        self.open.push(report.functions.len());
        report.functions.push(function);
    }

    /// Leaves the innermost function.
    pub fn leave(&mut self) {
        self.open.pop();
    }

    /// Adds decisions to the innermost function; those outside every function count nowhere.
    pub fn decide(&self, report: &mut Report, decisions: u32) {
        if let Some(&innermost) = self.open.last() {
            report.functions[innermost].complexity += decisions;
        }
    }
}
