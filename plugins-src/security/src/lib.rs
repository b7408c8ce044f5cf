//! The analyzer `security`: dangerous calls, SQL put together from pieces, and secrets in the source.
//!
//! It reads words, not grammar: `source-lints` finds what is shown.
//! That is quick and works on code that does not parse; what a value is made of elsewhere in the file is not followed.

use codetune_plugin::serde_json::json;
use codetune_plugin::{About, Analysis, Analyzer, Settings, SourceFile, counts, diagnostics_json};
use source_lints::security;
use source_text::language_of;

/// The plugin.
pub struct Security {
    ignore: Vec<String>,
}

impl Analyzer for Security {
    const ABOUT: About = About {
        name: "security",
        version: env!("CARGO_PKG_VERSION"),
        description: "Dangerous calls, SQL put together from pieces, and secrets in the source.",
        author: "CodeTune Studio",
        tags: &["code-analysis", "security", "injection", "secrets"],
        config_schema: include_str!("schema/config.json"),
    };
    const OUTPUT_SCHEMA: &'static str = include_str!("schema/output.json");

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            ignore: settings.get("ignore", Vec::new())?,
        })
    }

    fn check(file: &SourceFile) -> Result<(), String> {
        language_of(file.language.as_deref(), file.path.as_deref(), &file.code).map(drop)
    }

    fn analyze(&self, file: &SourceFile) -> Result<Analysis, String> {
        let language = language_of(file.language.as_deref(), file.path.as_deref(), &file.code)?;
        let mut found = security::look(&file.code, language);
        found.retain(|found| !self.ignore.iter().any(|code| code == found.code));
        let details = json!({
            "language": language.name, "findings": found.len(),
            "diagnostics": diagnostics_json(&file.code, &found),
        });
        Ok(Analysis {
            metrics: counts(&security::CODES, &found),
            diagnostics: found,
            details: Some(details.to_string()),
        })
    }
}

codetune_plugin::analyzer!(Security);
