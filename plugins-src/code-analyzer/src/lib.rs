//! The analyzer `code-analyzer`: functions, classes, imports, cyclomatic complexity and syntax errors of Python, JavaScript,
//! TypeScript, Rust, Go, Java, C, C++ and shell. The parsing is `source-parsers`.

use codetune_plugin::{About, Analysis, Analyzer, Diagnostic, Settings, SourceFile, serde_json};
use source_parsers::{DEFAULT_MAX_COMPLEXITY, Report, Severity, analyze, language_of};

/// The plugin.
pub struct CodeAnalyzer {
    max_complexity: u32,
}

impl Analyzer for CodeAnalyzer {
    const ABOUT: About = About {
        name: "code-analyzer",
        version: env!("CARGO_PKG_VERSION"),
        description: "Functions, classes, imports, cyclomatic complexity and syntax errors of Python, JavaScript, \
                      TypeScript, Rust, Go, Java, C, C++ and shell.",
        author: "CodeTune Studio",
        tags: &[
            "code-analysis",
            "complexity",
            "python",
            "javascript",
            "typescript",
            "rust",
            "go",
            "java",
            "c",
            "shell",
        ],
        config_schema: include_str!("schema/config.json"),
    };
    const INPUT_SCHEMA: &'static str = include_str!("schema/input.json");
    const OUTPUT_SCHEMA: &'static str = include_str!("schema/output.json");

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            max_complexity: settings.get("max_complexity", DEFAULT_MAX_COMPLEXITY)?,
        })
    }

    fn check(file: &SourceFile) -> Result<(), String> {
        language_of(&file.code, file.language.as_deref(), file.path.as_deref()).map(drop)
    }

    fn analyze(&self, file: &SourceFile) -> Result<Analysis, String> {
        let (language, path) = (file.language.as_deref(), file.path.as_deref());
        analyze(&file.code, language, path, self.max_complexity).map(analysis)
    }
}

fn analysis(report: Report) -> Analysis {
    let details = serde_json::to_string(&report).expect("a report has string keys and no float");
    Analysis {
        details: Some(details),
        metrics: vec![
            ("num_functions", report.functions.len() as f64),
            ("num_classes", f64::from(report.num_classes)),
            ("num_imports", report.imports.len() as f64),
            ("complexity", f64::from(report.complexity)),
            ("nodes", f64::from(report.nodes)),
        ],
        diagnostics: report
            .findings
            .into_iter()
            .map(|found| {
                let severity = match found.severity {
                    Severity::Error => codetune_plugin::Severity::Error,
                    Severity::Hint => codetune_plugin::Severity::Hint,
                };
                let span = (found.start as usize, found.end as usize);
                Diagnostic::new(found.code, severity, span, found.message)
            })
            .collect(),
    }
}

codetune_plugin::analyzer!(CodeAnalyzer);

/// Most of a parser's time in a sandbox goes into its tree's small pieces.
#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: codetune_plugin::PluginAllocator = codetune_plugin::PluginAllocator;
