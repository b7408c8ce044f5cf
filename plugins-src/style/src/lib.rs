//! The analyzer `style`: line lengths, white space, names, with edits that mend what can be mended without a doubt or with one.
//!
//! `source-lints` finds them.

use codetune_plugin::serde_json::json;
use codetune_plugin::{About, Analysis, Analyzer, Settings, SourceFile, counts, diagnostics_json};
use source_lints::style;
use source_text::language_of;

/// The plugin.
pub struct Style {
    max_line_length: Option<usize>,
    ignore: Vec<String>,
}

impl Analyzer for Style {
    const ABOUT: About = About {
        name: "style",
        version: env!("CARGO_PKG_VERSION"),
        description: "Line lengths, white space, line ends and names, with edits that mend them.",
        author: "CodeTune Studio",
        tags: &["code-analysis", "style", "naming", "formatting"],
        config_schema: include_str!("schema/config.json"),
    };
    const OUTPUT_SCHEMA: &'static str = include_str!("schema/output.json");

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            max_line_length: settings.get("max_line_length", None)?,
            ignore: settings.get("ignore", Vec::new())?,
        })
    }

    fn check(file: &SourceFile) -> Result<(), String> {
        language_of(file.language.as_deref(), file.path.as_deref(), &file.code).map(drop)
    }

    fn analyze(&self, file: &SourceFile) -> Result<Analysis, String> {
        let language = language_of(file.language.as_deref(), file.path.as_deref(), &file.code)?;
        let mut found = style::look(&file.code, language, self.max_line_length);
        found.retain(|found| !self.ignore.iter().any(|code| code == found.code));
        let details = json!({
            "language": language.name, "findings": found.len(),
            "diagnostics": diagnostics_json(&file.code, &found),
        });
        Ok(Analysis {
            metrics: counts(&style::CODES, &found),
            diagnostics: found,
            details: Some(details.to_string()),
        })
    }
}

codetune_plugin::analyzer!(Style);
