use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

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
    /// Branch, tag or commit of `repo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Which of the subsets that the `README.md` of the repository or folder declares, as the second argument of `load_dataset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Which split of it, whole or in part ([`super::SplitPart`]), or several with `+` between them; `train` where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Which dataset of a LLaMA-Factory `dataset_info.json` in `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Instructions and their answers are written by the chat template, where there is one. Set by such a description, never by
    /// a person: LLaMA-Factory writes all that it describes so.
    #[serde(skip)]
    pub by_template: bool,
    /// A pipeline file that the data goes through first. What is held out by `eval_path` does not, and by `test_split` stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curate: Option<String>,
    /// Shape of a row.
    pub format: DataFormat,
    /// Our column name to the file's: `{ prompt = "question" }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Sequences that are trained on, drawn by `train.seed` from those that are not held out; some more than once where there are
    /// fewer. All of them where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_samples: Option<u32>,
    /// Further datasets by a name of their own, learned from together with this one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mix: BTreeMap<String, MixedData>,
    /// A Jinja template in place of the tokenizer's, or the name of one of several that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Tokens after which a sequence is cut.
    pub max_seq_length: u32,
    /// What becomes of the tokens behind `max_seq_length`.
    pub overflow: Overflow,
    /// Put several short sequences into one row, each attending to itself only.
    pub packing: bool,
    /// Which tokens carry a label.
    pub train_on: TrainOn,
    /// Held-out data in the same format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_path: Option<String>,
    /// Split of the same dataset and subset that is held out, whole or in part, in place of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_split: Option<String>,
    /// Share of the data that is held out when there is no `eval_path`.
    pub eval_split: f64,
    /// Draw a new order for each epoch from `train.seed`.
    pub shuffle: bool,
    /// Read while training instead of before it.
    pub streaming: bool,
    /// Rows that are in memory, shuffled and packed together, while streaming.
    pub shuffle_buffer: u32,
    /// Share of documents that become fill-in-the-middle samples.
    pub fim_rate: f64,
    /// Order of a fill-in-the-middle sample.
    pub fim_mode: FimMode,
    /// Where a fill-in-the-middle sample may be cut.
    pub fim_span: FimSpan,
    /// Which tokens of a fill-in-the-middle sample carry a label.
    pub fim_loss: FimLoss,
    /// What one document of a source tree is.
    pub documents: Documents,
    /// Languages of a source tree that are taken; all known ones where empty.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "one_or_many"
    )]
    pub languages: Vec<String>,
    /// Larger files of a source tree are passed over; bytes.
    pub max_file_bytes: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            repo: None,
            revision: None,
            subset: None,
            split: None,
            dataset: None,
            by_template: false,
            curate: None,
            format: DataFormat::Auto,
            columns: BTreeMap::new(),
            num_samples: None,
            mix: BTreeMap::new(),
            chat_template: None,
            max_seq_length: 1024,
            overflow: Overflow::Cut,
            packing: false,
            train_on: TrainOn::Completion,
            eval_path: None,
            test_split: None,
            eval_split: 0.0,
            shuffle: true,
            streaming: false,
            shuffle_buffer: 10_000,
            fim_rate: 0.5,
            fim_mode: FimMode::Both,
            fim_span: FimSpan::Character,
            fim_loss: FimLoss::All,
            documents: Documents::File,
            languages: Vec::new(),
            max_file_bytes: 1 << 20,
        }
    }
}

/// `[data.mix.NAME]`: where a further dataset lies and what its rows are. All else is as `[data]` says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixedData {
    /// A file or a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A dataset repository on the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Branch, tag or commit of `repo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// As [`DataConfig::subset`], of this dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// As [`DataConfig::split`], of this dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Which dataset of a LLaMA-Factory `dataset_info.json` in `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Shape of a row.
    pub format: DataFormat,
    /// Our column name to the file's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// As [`DataConfig::num_samples`], of this dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_samples: Option<u32>,
    /// What was held out of it while it was curated. Set by that, never by a person.
    #[serde(skip)]
    pub eval_path: Option<String>,
    /// As [`DataConfig::by_template`], of this dataset.
    #[serde(skip)]
    pub by_template: bool,
}

/// What says where a dataset lies and what its rows are; the rest of the settings is the run's.
impl From<DataConfig> for MixedData {
    fn from(data: DataConfig) -> Self {
        Self {
            path: data.path,
            repo: data.repo,
            revision: data.revision,
            subset: data.subset,
            split: data.split,
            dataset: data.dataset,
            format: data.format,
            columns: data.columns,
            num_samples: data.num_samples,
            eval_path: data.eval_path,
            by_template: data.by_template,
        }
    }
}

impl DataConfig {
    /// What `eval_path` is read by: all but what says which of the training data is meant.
    pub fn for_held_out(&self) -> Self {
        Self {
            dataset: None,
            subset: None,
            split: None,
            ..self.clone()
        }
    }

    /// What `test_split` holds out, as a dataset of its own.
    pub fn of_test_split(&self) -> Option<Self> {
        let split = self.test_split.clone()?;
        Some(Self {
            split: Some(split),
            test_split: None,
            ..self.clone()
        })
    }

    /// Each dataset by itself: this one, without a name, and those of `mix` in the order of their names. What is held out of the
    /// others is the share `eval_split`, where there is no `eval_path` and no `test_split`, or what was while they were curated.
    pub fn each(&self) -> Vec<(Option<&str>, Self)> {
        let alone = Self {
            mix: BTreeMap::new(),
            ..self.clone()
        };
        let mixed = self.mix.iter().map(|(name, mixed)| {
            let mixed = mixed.clone();
            let config = Self {
                path: mixed.path,
                repo: mixed.repo,
                revision: mixed.revision,
                subset: mixed.subset,
                split: mixed.split,
                dataset: mixed.dataset,
                format: mixed.format,
                columns: mixed.columns,
                num_samples: mixed.num_samples,
                eval_path: mixed.eval_path,
                by_template: mixed.by_template,
                test_split: None,
                eval_split: match self.eval_path.is_some() || self.test_split.is_some() {
                    true => 0.0,
                    false => self.eval_split,
                },
                ..alone.clone()
            };
            (Some(name.as_str()), config)
        });
        let mixed: Vec<_> = mixed.collect();
        std::iter::once((None, alone)).chain(mixed).collect()
    }
}

/// A list of words, or one word, which may hold several with commas between them.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a word or a list of words")]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    let words = match Words::deserialize(deserializer)? {
        Words::One(text) => text.split(',').map(str::to_owned).collect(),
        Words::Many(list) => list,
    };
    let trimmed = words.iter().map(|word| word.trim().to_owned());
    Ok(trimmed.filter(|word| !word.is_empty()).collect())
}

/// Shape of a row of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataFormat {
    /// Decided by the columns of the first rows.
    #[default]
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
    /// `{"segments": [{"label", "text"}]}`: Axolotl's `input_output`, without a template.
    Segments,
    /// `{"prompt", "chosen", "rejected"}`.
    Preference,
    /// Documents of code, cut into prefix, middle and suffix.
    Fim,
    /// `{"input_ids", "labels", "attention_mask"?}`, labels not shifted, -100 = not trained on.
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

/// What becomes of the tokens of a row that is longer than `max_seq_length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// They are left out (TRL's packing strategy `bfd`).
    Cut,
    /// They become sequences of their own (TRL's `bfd_split`).
    Split,
}

/// Where a fill-in-the-middle sample may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FimSpan {
    /// Between any two characters.
    Character,
    /// Between lines.
    Line,
}

/// Which tokens of a fill-in-the-middle sample carry a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FimLoss {
    /// Every token, as when such models are pretrained.
    All,
    /// The middle and the end of the document.
    Middle,
}

/// What one document of a source tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Documents {
    /// A file.
    File,
    /// A repository: its files behind one another, each under its path.
    Repository,
}
