use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `[lora]`: the adapter, in PEFT's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank.
    pub r: u32,
    /// The update is scaled by `lora_alpha / r` (`/ sqrt(r)` with `use_rslora`).
    pub lora_alpha: f64,
    /// Share of the adapter's inputs that a step drops.
    pub lora_dropout: f64,
    /// Which linear layers get an adapter.
    pub target_modules: TargetModules,
    /// Which of those get none after all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<TargetModules>,
    /// Rank-stabilised scaling (arXiv 2312.03732).
    pub use_rslora: bool,
    /// Weight decomposition (arXiv 2402.09353).
    pub use_dora: bool,
    /// Rank by module name or regex.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, u32>,
    /// Alpha by module name or regex.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Layers that get an adapter; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers_to_transform: Vec<u32>,
    /// Modules that are trained and saved whole.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::data::one_or_many"
    )]
    pub modules_to_save: Vec<String>,
    /// Tokens whose rows of the embedding are trained and saved, the others staying as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trainable_token_indices: Option<TokenIndices>,
    /// Which biases of the model train with the adapter.
    pub bias: LoraBias,
    /// B has a bias too.
    pub lora_bias: bool,
    /// A head that is the embedding stays it where `modules_to_save` name either.
    pub ensure_weight_tying: bool,
    /// How A and B begin.
    pub init_lora_weights: InitLoraWeights,
    /// Learning rate of B over that of A (LoRA+, arXiv 2402.12354).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loraplus_lr_ratio: Option<f64>,
    /// A PEFT folder to go on from; it brings all the rest of this table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_adapter: Option<String>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: TargetModules::One("all-linear".into()),
            exclude_modules: None,
            use_rslora: false,
            use_dora: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            layers_to_transform: Vec::new(),
            modules_to_save: Vec::new(),
            trainable_token_indices: None,
            bias: LoraBias::None,
            lora_bias: false,
            ensure_weight_tying: false,
            init_lora_weights: InitLoraWeights::Flag(true),
            loraplus_lr_ratio: None,
            init_adapter: None,
        }
    }
}

/// PEFT's `target_modules` and `exclude_modules`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "must be \"all-linear\", a regex, or a list of module names"
)]
pub enum TargetModules {
    /// `all-linear`, or a regex that must match a module's whole name.
    One(String),
    /// Names; a module matches when its name equals one or ends in `.` and one.
    List(Vec<String>),
}

/// PEFT's `trainable_token_indices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "must be a list of token ids, or a table of such lists by embed_tokens and lm_head"
)]
pub enum TokenIndices {
    /// Of the embedding, and of a head that is the embedding.
    List(Vec<u32>),
    /// By the embedding's or the head's name.
    ByModule(BTreeMap<String, Vec<u32>>),
}

/// PEFT's `bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraBias {
    /// None.
    #[default]
    None,
    /// Those of linear layers and of norms.
    All,
    /// Those of the layers that have an adapter.
    LoraOnly,
}

/// PEFT's `init_lora_weights`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "must be true, false, \"gaussian\", \"orthogonal\", \"olora\", \"pissa\" or \"pissa_niter_N\""
)]
pub enum InitLoraWeights {
    /// `true`: A Kaiming-uniform, B zero. `false`: both random.
    Flag(bool),
    /// `gaussian`; `orthogonal`: rows of A at right angles to those of B; `olora` (arXiv 2406.01775); `pissa` (arXiv
    /// 2404.02948), or `pissa_niter_N`: PiSSA by N rounds of an approximation.
    Named(String),
}
