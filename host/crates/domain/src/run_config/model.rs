use serde::{Deserialize, Serialize};

/// `[model]`: which weights, and how they are held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A Hugging Face folder or a `.gguf` file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A repository on the hub: `org/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Branch, tag or commit of `repo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Type of the weights while they are used.
    pub dtype: ModelDtype,
    /// Packing of the frozen base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Quantize>,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Most memory that the run may use: `"8GB"`, `"900MiB"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<String>,
    /// Start from random weights drawn with `train.seed`; the folder needs `config.json` and a tokenizer only.
    pub random_init: bool,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            path: None,
            repo: None,
            revision: None,
            dtype: ModelDtype::F32,
            quantize: None,
            device: "auto".into(),
            memory_limit: None,
            random_init: false,
        }
    }
}

/// Type of the weights while they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelDtype {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// Brain float.
    Bf16,
}

/// Packing of a frozen base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// 4-bit NormalFloat of QLoRA (arXiv 2305.14314).
    Nf4,
    /// llama.cpp's Q4_K.
    Q4k,
    /// llama.cpp's Q8_0.
    #[serde(rename = "q8_0")]
    Q8_0,
}
