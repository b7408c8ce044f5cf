//! `curate.toml`.

use std::collections::BTreeMap;

use domain::Only;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, HoldOut, Result};

/// What rows go through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Drop rows whose texts are those of an earlier row, before any plugin sees them.
    #[serde(default = "yes")]
    pub exact_duplicates: bool,
    /// How rows are compared whose plugins gave them a signature.
    #[serde(default)]
    pub near_duplicates: NearDuplicates,
    /// Rows that go into `held-out.jsonl` instead of `data.jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<HoldOut>,
    /// A column under another name: `text = "body"`.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// The curators, in the order in which rows go through them.
    #[serde(default, rename = "plugins")]
    pub steps: Vec<Step>,
}

/// How near duplicates are found: MinHash signatures in an index of `bands` times `rows` values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NearDuplicates {
    /// The estimated Jaccard similarity from which a row is a duplicate of an earlier one that was kept.
    pub threshold: f64,
    /// Bands of the index.
    pub bands: usize,
    /// Values of a band; `bands * rows` is at most the length of a signature.
    pub rows: usize,
}

/// Those of bigcode: 256 hash functions, threshold 0.7.
impl Default for NearDuplicates {
    fn default() -> Self {
        Self {
            threshold: 0.7,
            bands: 25,
            rows: 10,
        }
    }
}

/// One curator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The plugin's name.
    pub name: String,
    /// As in RUN.toml; `curate` is the only one here.
    #[serde(default = "curate")]
    pub stage: String,
    /// What becomes of a row on which the plugin fails.
    #[serde(default)]
    pub on_error: OnError,
    /// Rows that it is for; all where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// Values for its config schema.
    #[serde(default)]
    pub config: BTreeMap<String, Value>,
}

/// What becomes of a row on which a plugin fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It goes: nobody has said that it may stay.
    #[default]
    Drop,
    /// It stays.
    Keep,
}

fn yes() -> bool {
    true
}

fn curate() -> String {
    "curate".to_owned()
}

impl Pipeline {
    /// Reads the text of a `curate.toml`.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub fn parse(text: &str) -> Result<Self> {
        let pipeline: Self =
            toml::from_str(text).map_err(|error| Error::Invalid(error.to_string()))?;
        let NearDuplicates {
            threshold,
            bands,
            rows,
        } = pipeline.near_duplicates;
        let fault = |text: String| Err(Error::Invalid(text));
        if !(0.0..=1.0).contains(&threshold) {
            return fault(format!(
                "near_duplicates.threshold = {threshold}: must be from 0 to 1"
            ));
        }
        if bands == 0 || rows == 0 || bands.saturating_mul(rows) > 4096 {
            return fault(format!(
                "near_duplicates.bands = {bands}, rows = {rows}: both at least 1, their product at most 4096"
            ));
        }
        if let Some(HoldOut { share, .. }) = pipeline.hold_out
            && !(share > 0.0 && share <= 0.5)
        {
            return fault(format!(
                "hold_out.share = {share}: must be more than 0 and at most 0.5"
            ));
        }
        for step in &pipeline.steps {
            if step.stage != "curate" {
                return fault(format!(
                    "plugins: {}: stage = {:?}: a pipeline curates; scorers are used by runs",
                    step.name, step.stage
                ));
            }
        }
        if pipeline.steps.is_empty() && !pipeline.exact_duplicates {
            return fault("plugins: names none, and exact_duplicates is off".to_owned());
        }
        Ok(pipeline)
    }

    /// The first step that is for rows to train on alone.
    pub fn only_for_training(&self) -> Option<&Step> {
        self.steps
            .iter()
            .find(|step| step.only == Some(Only::Train))
    }
}

#[cfg(test)]
mod tests {
    use super::{OnError, Pipeline};

    #[test]
    fn a_pipeline_has_defaults_and_names_its_faults() {
        let pipeline = Pipeline::parse("[[plugins]]\nname = \"secrets\"\nconfig.action = \"drop\"");
        let pipeline = pipeline.unwrap();
        assert!(pipeline.exact_duplicates);
        assert_eq!(pipeline.near_duplicates.bands, 25);
        assert_eq!(pipeline.steps[0].on_error, OnError::Drop);
        assert_eq!(pipeline.steps[0].config["action"], "drop");
        for (text, part) in [
            ("colour = 1", "colour"),
            ("[[plugins]]\nname = \"a\"\nstage = \"score\"", "stage"),
            ("near_duplicates.threshold = 2.0", "threshold"),
            ("near_duplicates.threshold = nan", "threshold"),
            ("near_duplicates.bands = 0", "bands"),
            ("exact_duplicates = false", "names none"),
            ("hold_out.share = 0.6", "hold_out.share"),
            ("hold_out.share = nan", "hold_out.share"),
            ("hold_out.seed = 1", "share"),
            ("[[plugins]]\nname = \"a\"\nonly = \"eval\"", "only"),
            ("[[plugins]]\nname = \"a\"\non_error = \"x\"", "on_error"),
        ] {
            let message = Pipeline::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
