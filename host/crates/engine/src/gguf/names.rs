//! What llama.cpp calls the tensors and sizes of a model, beside Hugging Face's names for them.
//!
//! Source: `gguf-py/gguf/constants.py`, `gguf-py/gguf/tensor_mapping.py` and `convert_hf_to_gguf.py` of llama.cpp.

/// How the tensors of a family stand in a GGUF file.
#[derive(Debug, PartialEq)]
pub(crate) struct Architecture {
    /// `general.architecture`, and what stands before the keys of its sizes.
    pub(crate) name: &'static str,
    /// `model_type`s of `config.json` that are written as this; the first is what a file of it is read as.
    pub(crate) model_types: &'static [&'static str],
    /// The rotary embedding turns neighbours instead of halves: rows of queries and keys change their places.
    pub(crate) paired_rotary: bool,
    /// RMS norms hold `1 + w` where Hugging Face holds `w`.
    pub(crate) norms_plus_one: bool,
    /// What stands before a layer's number: `model.layers.`.
    layer_prefix: &'static str,
    /// Modules outside the layers, (Hugging Face's, GGUF's).
    outer: Modules,
    /// Modules of a layer, (Hugging Face's, GGUF's).
    inner: &'static [Modules],
}

/// Pairs of module names, (Hugging Face's, GGUF's).
type Modules = &'static [(&'static str, &'static str)];

const OUTER: Modules = &[
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];
const ATTENTION: Modules = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
];
const HEAD_NORMS: Modules = &[
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
];
const GATED: Modules = &[
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
/// The norm before the feed-forward bears the name of what it follows.
const NORM_BEFORE: Modules = &[("post_attention_layernorm", "ffn_norm")];
/// Norms behind attention and feed-forward.
const NORMS_BEHIND: Modules = &[
    ("post_attention_layernorm", "post_attention_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];
const NORM_BETWEEN: Modules = &[("pre_feedforward_layernorm", "ffn_norm")];

/// The architecture of most families: llama's names in `model.layers.N`.
const PLAIN: Architecture = Architecture {
    name: "llama",
    model_types: &["llama", "mistral"],
    paired_rotary: true,
    norms_plus_one: false,
    layer_prefix: "model.layers.",
    outer: OUTER,
    inner: &[ATTENTION, NORM_BEFORE, GATED],
};

/// Every architecture that can be written or read.
pub(crate) const ARCHITECTURES: &[Architecture] = &[
    PLAIN,
    Architecture {
        name: "qwen2",
        model_types: &["qwen2"],
        paired_rotary: false,
        ..PLAIN
    },
    Architecture {
        name: "qwen3",
        model_types: &["qwen3"],
        paired_rotary: false,
        inner: &[ATTENTION, HEAD_NORMS, NORM_BEFORE, GATED],
        ..PLAIN
    },
    Architecture {
        name: "granite",
        model_types: &["granite"],
        ..PLAIN
    },
    Architecture {
        name: "smollm3",
        model_types: &["smollm3"],
        ..PLAIN
    },
    Architecture {
        name: "olmo2",
        model_types: &["olmo2"],
        paired_rotary: false,
        inner: &[ATTENTION, HEAD_NORMS, NORMS_BEHIND, GATED],
        ..PLAIN
    },
    Architecture {
        name: "gemma2",
        model_types: &["gemma2"],
        paired_rotary: false,
        norms_plus_one: true,
        inner: &[ATTENTION, NORMS_BEHIND, NORM_BETWEEN, GATED],
        ..PLAIN
    },
    Architecture {
        name: "gemma3",
        model_types: &["gemma3_text"],
        paired_rotary: false,
        norms_plus_one: true,
        inner: &[ATTENTION, HEAD_NORMS, NORMS_BEHIND, NORM_BETWEEN, GATED],
        ..PLAIN
    },
    Architecture {
        name: "phi3",
        model_types: &["phi3"],
        paired_rotary: false,
        inner: &[
            ATTENTION,
            NORM_BEFORE,
            &[
                ("self_attn.qkv_proj", "attn_qkv"),
                ("mlp.gate_up_proj", "ffn_up"),
                ("mlp.down_proj", "ffn_down"),
            ],
        ],
        ..PLAIN
    },
    Architecture {
        name: "starcoder2",
        model_types: &["starcoder2"],
        paired_rotary: false,
        inner: &[
            ATTENTION,
            NORM_BEFORE,
            &[("mlp.c_fc", "ffn_up"), ("mlp.c_proj", "ffn_down")],
        ],
        ..PLAIN
    },
    Architecture {
        name: "starcoder",
        model_types: &["gpt_bigcode"],
        paired_rotary: false,
        layer_prefix: "transformer.h.",
        outer: &[
            ("transformer.wte", "token_embd"),
            ("transformer.wpe", "position_embd"),
            ("transformer.ln_f", "output_norm"),
            ("lm_head", "output"),
        ],
        inner: &[&[
            ("ln_1", "attn_norm"),
            ("attn.c_attn", "attn_qkv"),
            ("attn.c_proj", "attn_output"),
            ("ln_2", "ffn_norm"),
            ("mlp.c_fc", "ffn_up"),
            ("mlp.c_proj", "ffn_down"),
        ]],
        ..PLAIN
    },
];

/// Factors of a Llama 3 rotary embedding, one per pair of dimensions: the wavelengths are multiplied by them.
pub(crate) const ROPE_FREQS: &str = "rope_freqs.weight";
/// The same for Phi-3's longrope, beyond its first context length.
pub(crate) const ROPE_FACTORS_LONG: &str = "rope_factors_long.weight";
/// The same for Phi-3's longrope, within its first context length.
pub(crate) const ROPE_FACTORS_SHORT: &str = "rope_factors_short.weight";

/// Where the values of a tensor stand in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As Hugging Face has them.
    Same,
    /// The rows of each of `heads` heads are ordered for a rotary embedding of neighbours.
    Paired {
        /// Heads that the rows make up.
        heads: usize,
    },
    /// 1 is added to each value.
    PlusOne,
}

impl Architecture {
    /// The architecture that a `model_type` is written as.
    pub(crate) fn of_model_type(model_type: &str) -> Option<&'static Self> {
        ARCHITECTURES
            .iter()
            .find(|known| known.model_types.contains(&model_type))
    }

    /// The architecture of a `general.architecture`.
    pub(crate) fn of_name(name: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|known| known.name == name)
    }

    /// `model.layers.3.self_attn.q_proj.weight` as `blk.3.attn_q.weight`; `None` for what GGUF has no name for.
    pub(crate) fn gguf_name(&self, name: &str) -> Option<String> {
        let (module, kind) = name.rsplit_once('.')?;
        if let Some(rest) = module.strip_prefix(self.layer_prefix) {
            let (layer, module) = rest.split_once('.')?;
            let layer: u32 = layer.parse().ok()?;
            let (_, own) = self.layer_modules().find(|(theirs, _)| *theirs == module)?;
            return Some(format!("blk.{layer}.{own}.{kind}"));
        }
        let (_, own) = self.outer.iter().find(|(theirs, _)| *theirs == module)?;
        Some(format!("{own}.{kind}"))
    }

    /// The other way round.
    pub(crate) fn hugging_face_name(&self, name: &str) -> Option<String> {
        let (module, kind) = name.rsplit_once('.')?;
        if let Some(rest) = module.strip_prefix("blk.") {
            let (layer, module) = rest.split_once('.')?;
            let layer: u32 = layer.parse().ok()?;
            let (theirs, _) = self.layer_modules().find(|(_, own)| *own == module)?;
            return Some(format!("{}{layer}.{theirs}.{kind}", self.layer_prefix));
        }
        let (theirs, _) = self.outer.iter().find(|(_, own)| *own == module)?;
        Some(format!("{theirs}.{kind}"))
    }

    /// How the tensor of a Hugging Face name is laid out.
    pub(crate) fn layout(&self, name: &str, heads: usize, kv_heads: usize) -> Layout {
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        if self.paired_rotary && module.ends_with(".q_proj") {
            return Layout::Paired { heads };
        }
        if self.paired_rotary && module.ends_with(".k_proj") {
            return Layout::Paired { heads: kv_heads };
        }
        if self.norms_plus_one && module.ends_with("norm") {
            return Layout::PlusOne;
        }
        Layout::Same
    }

    fn layer_modules(&self) -> impl Iterator<Item = &(&'static str, &'static str)> {
        self.inner.iter().copied().flatten()
    }
}

/// For each row of a GGUF tensor in pairs, the row of Hugging Face's tensor that stands there.
///
/// Within a head of `2 n` rows, row `2 j + s` is row `s n + j`. Rows are whole blocks of any quantized type, so packed
/// rows can be moved as they are.
pub(crate) fn rows_to_gguf(rows: usize, heads: usize) -> Vec<usize> {
    let width = rows / heads;
    (0..rows)
        .map(|row| {
            let (head, within) = (row / width, row % width);
            head * width + (within % 2) * (width / 2) + within / 2
        })
        .collect()
}

/// For each row of Hugging Face's tensor, the row of the GGUF tensor in pairs that stands there.
pub(crate) fn rows_from_gguf(rows: usize, heads: usize) -> Vec<usize> {
    let mut back = vec![0; rows];
    for (to, from) in rows_to_gguf(rows, heads).into_iter().enumerate() {
        back[from] = to;
    }
    back
}

/// Keys of the metadata. Those of a size or rotary setting follow the architecture's name: `llama.block_count`.
pub(crate) mod key {
    pub(crate) const ARCHITECTURE: &str = "general.architecture";
    pub(crate) const TYPE: &str = "general.type";
    pub(crate) const NAME: &str = "general.name";
    pub(crate) const FILE_TYPE: &str = "general.file_type";
    pub(crate) const QUANTIZATION_VERSION: &str = "general.quantization_version";
    pub(crate) const ALIGNMENT: &str = "general.alignment";

    pub(crate) const VOCAB_SIZE: &str = "vocab_size";
    pub(crate) const CONTEXT_LENGTH: &str = "context_length";
    pub(crate) const EMBEDDING_LENGTH: &str = "embedding_length";
    pub(crate) const BLOCK_COUNT: &str = "block_count";
    pub(crate) const FEED_FORWARD_LENGTH: &str = "feed_forward_length";
    pub(crate) const HEAD_COUNT: &str = "attention.head_count";
    pub(crate) const HEAD_COUNT_KV: &str = "attention.head_count_kv";
    /// Dimensions of a head of queries and keys.
    pub(crate) const KEY_LENGTH: &str = "attention.key_length";
    /// Dimensions of a head of values.
    pub(crate) const VALUE_LENGTH: &str = "attention.value_length";
    pub(crate) const RMS_EPS: &str = "attention.layer_norm_rms_epsilon";
    pub(crate) const LAYER_NORM_EPS: &str = "attention.layer_norm_epsilon";
    pub(crate) const SLIDING_WINDOW: &str = "attention.sliding_window";
    pub(crate) const ATTENTION_SCALE: &str = "attention.scale";
    pub(crate) const ATTENTION_SOFTCAP: &str = "attn_logit_softcapping";
    pub(crate) const FINAL_SOFTCAP: &str = "final_logit_softcapping";
    pub(crate) const EMBEDDING_SCALE: &str = "embedding_scale";
    pub(crate) const RESIDUAL_SCALE: &str = "residual_scale";
    pub(crate) const LOGIT_SCALE: &str = "logit_scale";

    pub(crate) const ROPE_DIMENSIONS: &str = "rope.dimension_count";
    pub(crate) const ROPE_BASE: &str = "rope.freq_base";
    /// `none`, `linear`, `yarn` or `longrope`.
    pub(crate) const ROPE_SCALING: &str = "rope.scaling.type";
    pub(crate) const ROPE_FACTOR: &str = "rope.scaling.factor";
    pub(crate) const ROPE_ATTENTION_FACTOR: &str = "rope.scaling.attn_factor";
    pub(crate) const ROPE_ORIGINAL_CONTEXT: &str = "rope.scaling.original_context_length";
    pub(crate) const ROPE_YARN_BETA_FAST: &str = "rope.scaling.yarn_beta_fast";
    pub(crate) const ROPE_YARN_BETA_SLOW: &str = "rope.scaling.yarn_beta_slow";

    pub(crate) const TOKENIZER: &str = "tokenizer.ggml.model";
    pub(crate) const PRE_TOKENIZER: &str = "tokenizer.ggml.pre";
    pub(crate) const TOKENS: &str = "tokenizer.ggml.tokens";
    pub(crate) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
    pub(crate) const SCORES: &str = "tokenizer.ggml.scores";
    pub(crate) const MERGES: &str = "tokenizer.ggml.merges";
    pub(crate) const BOS: &str = "tokenizer.ggml.bos_token_id";
    pub(crate) const EOS: &str = "tokenizer.ggml.eos_token_id";
    /// End of a turn.
    pub(crate) const EOT: &str = "tokenizer.ggml.eot_token_id";
    pub(crate) const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
    pub(crate) const PADDING: &str = "tokenizer.ggml.padding_token_id";
    pub(crate) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
    pub(crate) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
    pub(crate) const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
    pub(crate) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
    /// Names of further ones, each of which stands under `tokenizer.chat_template.NAME`.
    pub(crate) const CHAT_TEMPLATES: &str = "tokenizer.chat_templates";

    pub(crate) const ADAPTER_TYPE: &str = "adapter.type";
    pub(crate) const LORA_ALPHA: &str = "adapter.lora.alpha";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_there_and_back() {
        for architecture in ARCHITECTURES {
            let modules = architecture.layer_modules();
            let layers = modules
                .map(|(module, _)| format!("{}11.{module}.weight", architecture.layer_prefix));
            let outer = architecture
                .outer
                .iter()
                .map(|(module, _)| format!("{module}.weight"));
            for name in layers.chain(outer) {
                let gguf = architecture.gguf_name(&name).unwrap();
                let back = architecture.hugging_face_name(&gguf);
                assert_eq!(
                    back.as_deref(),
                    Some(name.as_str()),
                    "{}",
                    architecture.name
                );
            }
        }
        let llama = Architecture::of_model_type("mistral").unwrap();
        assert_eq!(llama.name, "llama");
        assert_eq!(
            llama
                .gguf_name("model.layers.3.self_attn.q_proj.bias")
                .unwrap(),
            "blk.3.attn_q.bias"
        );
        assert_eq!(
            llama.gguf_name("model.layers.3.self_attn.rotary_emb.inv_freq"),
            None
        );
    }

    #[test]
    fn rows_in_pairs_interleave_the_halves_of_each_head() {
        assert_eq!(rows_to_gguf(8, 2), [0, 2, 1, 3, 4, 6, 5, 7]);
        let there = rows_to_gguf(48, 3);
        let back = rows_from_gguf(48, 3);
        assert!((0..48).all(|row| there[back[row]] == row));
    }
}
