//! RUN.toml: one validated struct for the web form, the API and the command line.

mod data;
mod fields;
mod interval;
mod lora;
mod model;
mod read;
mod size;
mod split;
mod train;
mod validate;
mod validate_data;
mod validate_pairs;

use serde::{Deserialize, Serialize};

use crate::Only;

pub use data::{
    DataConfig, DataFormat, Documents, FimLoss, FimMode, FimSpan, MixedData, Overflow, TrainOn,
};
pub use fields::{FIELDS, Field, FieldKind};
pub use interval::IntervalStrategy;
pub use lora::{InitLoraWeights, LoraBias, LoraConfig, TargetModules, TokenIndices};
pub use model::{ModelConfig, ModelDtype, Quantize};
pub use size::parse_size;
pub use split::SplitPart;
pub use train::{
    LossType, LrCurve, LrSchedulerKwargs, LrSchedulerType, Method, Optim, TrainConfig,
};

/// Everything that decides a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Which weights.
    pub model: ModelConfig,
    /// What the model learns from.
    pub data: DataConfig,
    /// The adapter.
    pub lora: LoraConfig,
    /// How it learns.
    pub train: TrainConfig,
    /// Plugins that curate the data or score the output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginUse>,
}

/// One `[[plugins]]` entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginUse {
    /// The plugin's name.
    pub name: String,
    /// What it is used for.
    pub stage: PluginStage,
    /// Rows that a curator is for; all where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// Values for its config schema.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

impl RunConfig {
    /// The plugins of one stage, in their order.
    pub fn plugins_of(&self, stage: PluginStage) -> impl Iterator<Item = &PluginUse> {
        self.plugins
            .iter()
            .filter(move |plugin| plugin.stage == stage)
    }

    /// The data goes through curators before it is trained on.
    pub fn is_curated(&self) -> bool {
        self.data.curate.is_some() || self.plugins_of(PluginStage::Curate).next().is_some()
    }

    /// What the model writes is scored at evaluations.
    pub fn is_scored(&self) -> bool {
        self.plugins_of(PluginStage::Score).next().is_some()
    }
}

/// What a run uses a plugin for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginStage {
    /// It decides what goes into the data.
    Curate,
    /// It scores what the model writes.
    Score,
}
