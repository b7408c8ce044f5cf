use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `[data]`: what the model learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A file or a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A dataset repository on the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Shape of a row.
    pub format: DataFormat,
    /// Our column name to the file's: `{ prompt = "question" }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// A Jinja template in place of the tokenizer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Tokens after which a sequence is cut.
    pub max_seq_length: u32,
    /// Put several short sequences into one row, each attending to itself only.
    pub packing: bool,
    /// Which tokens carry a label.
    pub train_on: TrainOn,
    /// Held-out data in the same format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_path: Option<String>,
    /// Share of the data that is held out when there is no `eval_path`.
    pub eval_split: f64,
    /// Draw a new order for each epoch from `train.seed`.
    pub shuffle: bool,
    /// Read while training instead of before it.
    pub streaming: bool,
    /// Share of documents that become fill-in-the-middle samples.
    pub fim_rate: f64,
    /// Order of a fill-in-the-middle sample.
    pub fim_mode: FimMode,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            repo: None,
            format: DataFormat::Auto,
            columns: BTreeMap::new(),
            chat_template: None,
            max_seq_length: 1024,
            packing: false,
            train_on: TrainOn::Completion,
            eval_path: None,
            eval_split: 0.0,
            shuffle: true,
            streaming: false,
            fim_rate: 0.5,
            fim_mode: FimMode::Both,
        }
    }
}

/// Shape of a row of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataFormat {
    /// Decided by the columns of the first rows.
    Auto,
    /// `{"text"}`, or a plain text file.
    Text,
    /// `{"prompt", "completion"}`.
    Completion,
    /// `{"instruction", "input"?, "output"}`.
    Alpaca,
    /// `{"conversations": [{"from", "value"}]}`.
    Sharegpt,
    /// `{"messages": [{"role", "content"}]}`.
    Messages,
    /// `{"prompt", "chosen", "rejected"}`.
    Preference,
    /// Documents of code, cut into prefix, middle and suffix.
    Fim,
    /// `{"input_ids", "labels"}`, not shifted, -100 = not trained on.
    Tokenized,
    /// A folder of source code.
    SourceTree,
}

/// Which tokens carry a label. Formats without a prompt train on all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainOn {
    /// Every token.
    All,
    /// Every assistant turn.
    Assistant,
    /// What follows the prompt; the last assistant turn of a conversation.
    Completion,
}

/// Order of a fill-in-the-middle sample (arXiv 2207.14255).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FimMode {
    /// Half of each.
    Both,
    /// Prefix, suffix, middle.
    Psm,
    /// Suffix, prefix, middle.
    Spm,
}
