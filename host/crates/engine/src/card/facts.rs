use std::path::Path;

use domain::{CurationSummary, RunConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is known of the run that made an adapter or a model. Nothing is there that no file says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<u64>,
    /// The step whose weights these are, where it is not the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) best_step: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epochs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) samples: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trained_parameters: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eval_loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) best_eval_loss: Option<f64>,
    /// The RUN.toml as it was run, without paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<RunConfig>,
    /// What the run's curators made of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) curation: Option<CurationSummary>,
    /// Where there are no settings: the highest rate of the events.
    #[serde(skip)]
    pub(crate) highest_rate: Option<f64>,
    /// Digest of the base's weights; stands beside the rest in `codetune.json`.
    #[serde(skip)]
    pub(crate) base_sha256: Option<String>,
}

/// A run's settings without what names a place of this machine.
pub(crate) fn without_paths(config: &RunConfig) -> RunConfig {
    let mut config = config.clone();
    config.model.path = None;
    config.data.path = None;
    for mixed in config.data.mix.values_mut() {
        mixed.path = None;
    }
    config.data.eval_path = None;
    config.data.curate = None;
    config.lora.init_adapter = None;
    config.train.output = "output".into();
    config
}

impl Facts {
    /// What the files in and beside a folder say: `codetune.json`, else the checkpoints and events of its run.
    pub(crate) fn beside(made: &Path) -> Self {
        let origin = read(&made.join("codetune.json"));
        let mut facts: Self = serde_json::from_value(origin["run"].clone()).unwrap_or_default();
        facts.base_sha256 = origin["base_model_sha256"].as_str().map(str::to_owned);
        if facts.steps.is_none() {
            facts.look_around(made);
        }
        facts
    }

    fn look_around(&mut self, made: &Path) {
        let mut state = read(&made.join("trainer_state.json"));
        let Some(output) = made.parent() else { return };
        if state.is_null() {
            let newest = std::fs::read_dir(output)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter_map(|name| name.strip_prefix("checkpoint-")?.parse::<u64>().ok())
                .max();
            if let Some(step) = newest {
                state = read(&output.join(format!("checkpoint-{step}/trainer_state.json")));
            }
        }
        let cursor = &state["cursor"];
        self.steps = state["step"].as_u64();
        self.epochs = state["epoch"].as_f64();
        self.last_loss = state["loss"].as_f64();
        self.eval_loss = state["eval_loss"].as_f64();
        self.best_eval_loss = state["best_eval_loss"].as_f64();
        self.samples = cursor["samples"].as_u64();
        self.data_sha256 = cursor["data_sha256"].as_str().map(str::to_owned);
        for folder in [Some(output), output.parent()].into_iter().flatten() {
            if let Ok(text) = std::fs::read_to_string(folder.join("events.jsonl")) {
                self.hear(&text);
                break;
            }
        }
    }

    fn hear(&mut self, events: &str) {
        let events = events
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for event in events {
            match event["event"].as_str() {
                Some("started") => {
                    self.trained_parameters = event["trainable_parameters"].as_u64();
                }
                Some("step") => {
                    let loss = event["loss"].as_f64();
                    self.first_loss = self.first_loss.or(loss);
                    self.last_loss = loss.or(self.last_loss);
                    if let Some(rate) = event["learning_rate"].as_f64() {
                        self.highest_rate =
                            Some(self.highest_rate.map_or(rate, |high| high.max(rate)));
                    }
                }
                Some("eval") => self.eval_loss = event["eval_loss"].as_f64().or(self.eval_loss),
                _ => {}
            }
        }
    }

    /// Rows of the card's table: a name and a figure each.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let count = |value: Option<u64>| value.map(|value| value.to_string());
        let number = |value: Option<f64>| value.map(|value| format!("{value:.4}"));
        [
            ("base, SHA-256 of its weights", self.base_sha256.clone()),
            (
                "data, SHA-256 of what was trained on",
                self.data_sha256.clone(),
            ),
            ("samples", count(self.samples)),
            ("optimizer steps", count(self.steps)),
            ("step that the weights are of", count(self.best_step)),
            ("epochs", number(self.epochs)),
            ("first loss", number(self.first_loss)),
            ("last loss", number(self.last_loss)),
            ("loss on held-out data", number(self.eval_loss)),
            ("best loss on held-out data", number(self.best_eval_loss)),
            (
                "highest learning rate",
                self.highest_rate.map(|rate| rate.to_string()),
            ),
            ("trained parameters", count(self.trained_parameters)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

fn read(path: &Path) -> Value {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}
