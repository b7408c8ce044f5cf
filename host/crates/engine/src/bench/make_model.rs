use std::path::Path;

use candle_core::DType;
use serde_json::json;

use crate::lora::write_json;
use crate::model::{Decoder, Loading};
use crate::{Error, Result, train};

/// Sizes of a Llama model. The default is SmolLM2-135M's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Tokens.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// The head is the embedding.
    pub tie_word_embeddings: bool,
    /// Seed of the weights.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            hidden_size: 576,
            intermediate_size: 1536,
            num_hidden_layers: 30,
            num_attention_heads: 9,
            num_key_value_heads: 3,
            vocab_size: 49_152,
            max_position_embeddings: 8192,
            tie_word_embeddings: true,
            seed: 0,
        }
    }
}

/// Writes a Hugging Face folder with random f32 weights and no tokenizer; returns its parameters.
///
/// # Errors
/// The sizes do not fit together, the folder holds something already, or it cannot be written.
pub fn make_model(shape: &Shape, folder: &Path) -> Result<u64> {
    if folder.join("config.json").exists() {
        return Err(Error::file(
            folder,
            "holds a model already; choose another folder",
        ));
    }
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let source = tempfile::tempdir_in(parent).map_err(Error::io("create", parent))?;
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "rope_scaling": null,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    });
    write_json(&source.path().join("config.json"), &config)?;
    let loading = Loading {
        quantize: None,
        dtype: DType::F32,
        trainable: false,
        random: Some(shape.seed),
    };
    let decoder = Decoder::load(source.path(), loading)?;
    train::write_model(folder, source.path(), &decoder, DType::F32)?;
    Ok(decoder.description.parameters())
}
