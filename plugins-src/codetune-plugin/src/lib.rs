//! Makes a curator or a scorer out of one function: the contract, settings and the tool are here.
//!
//! Implement [`Curator`] and say `codetune_plugin::curator!(Mine);`, or [`Scorer`] and `codetune_plugin::scorer!(Mine);`.
//! The crate is built as a `cdylib`; its `plugin.toml` asks for the capability `config`, by which settings come in.

mod curator;
mod export;
mod scorer;
mod settings;
mod tool;

pub use curator::{Curator, Decision, Edit, Part, Reason, Sample, Verdict};
pub use scorer::{Completion, Score, Scorer};
pub use settings::Settings;
pub use {serde_json, wit_bindgen};

#[doc(hidden)]
pub use tool::{
    COMPLETION_INPUT, COMPLETION_OUTPUT, SAMPLE_INPUT, SAMPLE_OUTPUT, completion_of, sample_of,
    scores_json, verdict_json,
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
