use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One text of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplePart {
    /// Which field of the row it is: `text`, `prompt`, `messages.0.content`.
    pub name: String,
    /// Its whole text.
    pub text: String,
    /// Whether the model learns to write it.
    pub learned: bool,
}

/// One row of a dataset, as curators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its texts, in the order in which the model reads them.
    pub parts: Vec<SamplePart>,
    /// The file that it came from, where the dataset says one.
    pub path: Option<String>,
    /// The language by name, where the dataset says one.
    pub language: Option<String>,
}

/// Why a sample is dropped or rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A word to count by: `long-line`.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// A stretch of one part and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleEdit {
    /// Which part, from 0.
    pub part: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// What to put there.
    pub replacement: String,
}

/// What is to become of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop {
        /// Why.
        reason: Reason,
    },
    /// It stays, changed.
    Rewrite {
        /// In the order of parts and places, not overlapping.
        edits: Vec<SampleEdit>,
        /// Why, each code once.
        reasons: Vec<Reason>,
    },
}

/// Rows that a curator is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Those that are trained on; what is held out goes past it.
    Train,
}

/// One number about a sample or a completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// A word: `alphabetic_fraction`.
    pub name: String,
    /// A finite number.
    pub value: f64,
    /// One sentence that says why; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What near duplicates are found by: two samples are as alike as many of their values are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Only signatures of one name are compared.
    pub name: String,
    /// One minimum for each hash function.
    pub values: Vec<u32>,
}

/// What a curator says of one sample, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is to become of it.
    #[serde(flatten)]
    pub decision: Decision,
    /// Numbers, whatever the decision.
    pub scores: Vec<Score>,
    /// For the index of near duplicates.
    pub signature: Option<Signature>,
}

/// One text that a model wrote, and what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// What the model was given.
    pub prompt: String,
    /// What it wrote after it.
    pub text: String,
    /// What it should have written, where somebody knows.
    pub reference: Option<String>,
    /// The language by name, where the caller knows it.
    pub language: Option<String>,
}

/// What a plugin came to about one row, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged<T> {
    /// The answer, or why there is none: `code: sentence`.
    pub result: Result<T, String>,
    /// Fuel that the answer took.
    pub fuel: u64,
}

/// What a pipeline of curators made of a run's data: enough to say what was learned from, and to make it again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CurationSummary {
    /// Lower-case hex SHA-256 of the pipeline: its settings, and each plugin with its digest and settings.
    pub pipeline: String,
    /// Lower-case hex SHA-256 over all rows that were read.
    pub input_sha256: String,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that are trained on.
    pub kept: u64,
    /// Rows that are held out, past the steps that are for training alone; 0 where something else says what is held out.
    #[serde(default)]
    pub held_out: u64,
    /// Of both, rows that were changed.
    pub rewritten: u64,
    /// Rows that went.
    pub dropped: u64,
    /// Of these, rows whose texts are an earlier row's.
    pub exact_duplicates: u64,
    /// Of these, rows that are like an earlier row that was kept.
    pub near_duplicates: u64,
    /// One for each plugin, in the order of the pipeline.
    pub steps: Vec<CurationStep>,
}

/// What one plugin did in a curation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CurationStep {
    /// Its name.
    pub plugin: String,
    /// What it calls its version.
    pub version: String,
    /// Lower-case hex SHA-256 of the component.
    pub digest: String,
    /// The settings that it ran with.
    pub config: BTreeMap<String, serde_json::Value>,
    /// Rows that it let through as they are.
    pub kept: u64,
    /// Rows that it dropped.
    pub dropped: u64,
    /// Rows that it changed.
    pub rewritten: u64,
    /// Rows on which it failed.
    pub failed: u64,
}
