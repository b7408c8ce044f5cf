//! The analyzer `source-stats`: size, line lengths, alphanumeric fraction, comment ratio and language of any text.
//! These are the numbers that the filters of StarCoder, The Stack and OpenCoder look at.

mod stats;

use codetune_plugin::{About, Analysis, Analyzer, Settings, SourceFile, serde_json};

use stats::measure;

/// The plugin.
pub struct SourceStats;

impl Analyzer for SourceStats {
    const ABOUT: About = About {
        name: "source-stats",
        version: env!("CARGO_PKG_VERSION"),
        description: "Size, line lengths, alphanumeric fraction, comment ratio and language of any source file.",
        author: "CodeTune Studio",
        tags: &["statistics", "language-detection", "curation"],
        config_schema: "{}",
    };
    const OUTPUT_SCHEMA: &'static str = include_str!("schema/output.json");

    fn new(_settings: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn check(file: &SourceFile) -> Result<(), String> {
        match file.language.as_deref() {
            Some(name) if !name.trim().is_empty() && source_text::by_name(name).is_none() => Err(
                format!("language: unknown language {name:?}; leave it out to have it found"),
            ),
            _ => Ok(()),
        }
    }

    fn analyze(&self, file: &SourceFile) -> Result<Analysis, String> {
        let stats = measure(&file.code, file.language.as_deref(), file.path.as_deref());
        Ok(Analysis {
            diagnostics: Vec::new(),
            metrics: vec![
                ("bytes", stats.bytes as f64),
                ("lines", stats.lines as f64),
                ("blank_lines", stats.blank_lines as f64),
                ("longest_line", stats.longest_line as f64),
                ("mean_line", stats.mean_line),
                ("alphanumeric_fraction", stats.alphanumeric_fraction),
                ("comment_ratio", stats.comment_ratio),
            ],
            details: Some(serde_json::to_string(&stats).expect("every number is finite")),
        })
    }
}

codetune_plugin::analyzer!(SourceStats);
