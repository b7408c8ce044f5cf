//! Makes a plugin out of one function: the contract, settings and the tool are here.
//!
//! Implement the trait of the kind of plugin and name the type to its macro:
//!
//! | trait | macro |
//! |---|---|
//! | [`Analyzer`] | `codetune_plugin::analyzer!(Mine);` |
//! | [`Curator`] | `codetune_plugin::curator!(Mine);` |
//! | [`Scorer`] | `codetune_plugin::scorer!(Mine);` |
//! | [`Tool`] | `codetune_plugin::tool!(Mine);` |
//!
//! The crate is built as a `cdylib`; its `plugin.toml` asks for the capability `config`, by which settings come in.
//! On other targets than WebAssembly the macros make nothing, so that unit tests run natively.

mod allocator;
mod analyzer;
mod curator;
mod export;
mod json;
mod position;
mod scorer;
mod settings;
mod tool;

pub use allocator::{PluginAllocator, SmallPieces, scratch};
pub use analyzer::{
    ANALYSIS_OUTPUT, Analysis, Analyzer, Diagnostic, FILE_INPUT, Severity, SourceFile, Suggestion,
    counts, diagnostics_json,
};
pub use curator::{Curator, Decision, Edit, Part, Reason, Sample, Verdict};
pub use position::{LineIndex, Position};
pub use scorer::{Completion, Score, Scorer};
pub use settings::Settings;
pub use tool::Tool;
pub use {serde_json, wit_bindgen};

#[doc(hidden)]
pub use analyzer::analysis_json;
#[doc(hidden)]
pub use json::{
    COMPLETION_INPUT, COMPLETION_OUTPUT, SAMPLE_INPUT, SAMPLE_OUTPUT, completion_of, file_of,
    input_of, sample_of, scores_json, verdict_json,
};

/// What a plugin says of itself.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// In kebab-case; the same as in `plugin.toml`.
    pub name: &'static str,
    /// `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// One or two sentences.
    pub description: &'static str,
    /// Who wrote it.
    pub author: &'static str,
    /// Words to find it by.
    pub tags: &'static [&'static str],
    /// JSON Schema of its settings, an object; `{}` for none.
    pub config_schema: &'static str,
}
