//! The analyzer `licence-headers`: which licence a file names at its head, and where none is named.

mod licence;
mod phrases;

use codetune_plugin::serde_json::json;
use codetune_plugin::{
    About, Analysis, Analyzer, Diagnostic, Settings, Severity, SourceFile, diagnostics_json,
};
use source_text::detect;

use licence::{Header, header, identifiers, line};

/// The plugin.
pub struct LicenceHeaders {
    require: bool,
    licence: Option<String>,
    allow: Option<Vec<String>>,
}

impl Analyzer for LicenceHeaders {
    const ABOUT: About = About {
        name: "licence-headers",
        version: env!("CARGO_PKG_VERSION"),
        description: "Which licence a file names at its head, by SPDX line or by its words, and where none is named.",
        author: "CodeTune Studio",
        tags: &["code-analysis", "licence", "spdx"],
        config_schema: include_str!("schema/config.json"),
    };
    const OUTPUT_SCHEMA: &'static str = include_str!("schema/output.json");

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            require: settings.get("require", true)?,
            licence: settings.get("licence", None)?,
            allow: settings.get("allow", None)?,
        })
    }

    fn analyze(&self, file: &SourceFile) -> Result<Analysis, String> {
        let header = header(&file.code);
        let diagnostics: Vec<Diagnostic> = match &header.licence {
            None => self.missing(file),
            Some(licence) => self.other(licence, &header),
        }
        .into_iter()
        .collect();
        let details = json!({
            "licence": header.licence, "found_by": header.found_by, "copyright": header.copyright,
            "diagnostics": diagnostics_json(&file.code, &diagnostics),
        });
        let metric = |is_so: bool| f64::from(u8::from(is_so));
        Ok(Analysis {
            metrics: vec![
                ("has_licence", metric(header.licence.is_some())),
                ("has_spdx_line", metric(header.found_by == Some("spdx"))),
                ("has_copyright", metric(!header.copyright.is_empty())),
            ],
            diagnostics,
            details: Some(details.to_string()),
        })
    }
}

impl LicenceHeaders {
    /// What is said of a file that names no licence.
    fn missing(&self, file: &SourceFile) -> Option<Diagnostic> {
        if !self.require || file.code.trim().is_empty() {
            return None;
        }
        let language = detect(file.language.as_deref(), file.path.as_deref(), &file.code);
        let own = self.licence.as_deref().zip(language);
        let insert = own.and_then(|(licence, language)| line(&file.code, licence, language));
        let at = insert.as_ref().map_or(0, |(at, _)| *at);
        let message = "the file names no licence";
        let found = Diagnostic::new("missing-licence", Severity::Hint, (at, at), message);
        Some(match insert {
            Some((_, line)) => found.instead(line, 0.8),
            None => found,
        })
    }

    /// What is said of a licence that is none of those allowed.
    fn other(&self, licence: &str, header: &Header) -> Option<Diagnostic> {
        let allow = self.allow.as_ref()?;
        let all = identifiers(licence);
        let is_allowed = |found: &&str| {
            allow
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(found))
        };
        let others: Vec<&str> = all.iter().copied().filter(|one| !is_allowed(one)).collect();
        // One side of `OR` that is allowed is enough.
        let has_choice = licence.contains(" OR ") && !licence.contains(" AND ");
        if others.is_empty() || has_choice && others.len() < all.len() {
            return None;
        }
        let message = format!(
            "{} is none of the licences that are allowed",
            others.join(", ")
        );
        Some(Diagnostic::new(
            "other-licence",
            Severity::Warning,
            header.span,
            message,
        ))
    }
}

codetune_plugin::analyzer!(LicenceHeaders);
