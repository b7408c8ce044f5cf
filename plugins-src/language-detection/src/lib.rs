//! The analyzer `language-detection`: which language a file is in, what says so, and how sure that is.
//!
//! The data and the rules are Linguist's, by the crate `linguist`; where they say nothing, the words at the starts of lines do.

mod detect;

use codetune_plugin::serde_json::json;
use codetune_plugin::{About, Analysis, Analyzer, Diagnostic, Settings, Severity, SourceFile};

use detect::detect;

/// The plugin.
pub struct LanguageDetection;

impl Analyzer for LanguageDetection {
    const ABOUT: About = About {
        name: "language-detection",
        version: env!("CARGO_PKG_VERSION"),
        description: "Which language a file is in, by Linguist's data, what says so, and how sure that is.",
        author: "CodeTune Studio",
        tags: &["language-detection", "linguist", "provenance"],
        config_schema: "{}",
    };
    const OUTPUT_SCHEMA: &'static str = include_str!("schema/output.json");

    fn new(_settings: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn analyze(&self, file: &SourceFile) -> Result<Analysis, String> {
        let found = detect(file.language.as_deref(), file.path.as_deref(), &file.code)?;
        let is_open = found.candidates.len() > 1;
        let message = || format!("it may be {}", found.candidates.join(" or "));
        let diagnostics = is_open
            .then(|| Diagnostic::new("ambiguous-language", Severity::Info, (0, 0), message()));
        let details = json!({
            "language": found.language(), "linguist": found.name, "kind": found.kind, "found_by": found.found_by,
            "confidence": found.confidence, "candidates": found.candidates, "vendored": found.vendored,
        });
        Ok(Analysis {
            diagnostics: diagnostics.into_iter().collect(),
            metrics: vec![
                ("confidence", found.confidence),
                ("candidates", found.candidates.len() as f64),
                ("vendored", f64::from(u8::from(found.vendored))),
            ],
            details: Some(details.to_string()),
        })
    }
}

codetune_plugin::analyzer!(LanguageDetection);
