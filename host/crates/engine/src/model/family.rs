use super::norm::NormKind;

/// One line of [`FAMILIES`]: what a `model_type` means, where its `config.json` does not say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// As in `config.json`.
    pub(crate) model_type: &'static str,
    pub(crate) names: Names,
    pub(crate) keys: ConfigKeys,
    pub(crate) norm: NormKind,
    pub(crate) qk_norm: QkNorm,
    /// Whether the feed-forward has a gate.
    pub(crate) gated: bool,
    pub(crate) qkv_bias: Bias,
    pub(crate) output_bias: Bias,
    pub(crate) mlp_bias: Bias,
    pub(crate) attention_scale: AttentionScale,
    pub(crate) windows: Windows,
    pub(crate) positions: Positions,
    /// Caps of attention scores and of logits where the config names none; `None` for a family that has no such key.
    pub(crate) score_cap: Option<Option<f64>>,
    pub(crate) logits_cap: Option<Option<f64>>,
    /// Embeddings are multiplied by the root of the hidden size.
    pub(crate) scaled_embedding: bool,
    /// Granite's four multipliers are read.
    pub(crate) multipliers: bool,
    /// Whether a part of each head may stay unturned.
    pub(crate) partial_rotary: bool,
    /// Values where the config has none.
    pub(crate) activation: &'static str,
    pub(crate) eps: f64,
    pub(crate) rope_theta: f64,
    pub(crate) tied: bool,
    pub(crate) head_dim: Option<usize>,
}

/// Paths of a family's modules. Those of a layer follow `layers` and the layer's index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub(crate) embedding: &'static str,
    /// Of learned positions.
    pub(crate) positions: &'static str,
    pub(crate) layers: &'static str,
    pub(crate) norm: &'static str,
    /// Queries, keys and values: three modules, or one that holds all.
    pub(crate) qkv: &'static [&'static str],
    pub(crate) output: &'static str,
    /// Gate and up: two modules, or one that holds both; or up alone.
    pub(crate) up: &'static [&'static str],
    pub(crate) down: &'static str,
    pub(crate) q_norm: &'static str,
    pub(crate) k_norm: &'static str,
    pub(crate) before_attention: Option<&'static str>,
    pub(crate) after_attention: Option<&'static str>,
    pub(crate) before_mlp: Option<&'static str>,
    pub(crate) after_mlp: Option<&'static str>,
}

/// Keys of `config.json` that families call by different names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConfigKeys {
    pub(crate) hidden: &'static str,
    pub(crate) intermediate: &'static str,
    pub(crate) layers: &'static str,
    pub(crate) heads: &'static str,
    pub(crate) max_positions: &'static str,
    pub(crate) activation: &'static str,
    pub(crate) eps: &'static str,
}

/// Whether a family's linear layers have a bias.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bias {
    Never,
    Always,
    /// As this key of the config says, or this where it is missing.
    Key(&'static str, bool),
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QkNorm {
    None,
    /// Of each head.
    Head,
    /// Of all heads of a row together.
    Row,
}

/// The factor of attention scores.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AttentionScale {
    /// 1 over the root of the head's width.
    HeadDim,
    /// 1 over the root of `query_pre_attn_scalar`, 256 where it is missing.
    QueryPreAttnScalar,
    /// `attention_multiplier`, 1 where it is missing.
    Multiplier,
    /// As [`Self::HeadDim`], or 1 where `scale_attn_weights` is false.
    Switched,
}

/// Which layers see a window of keys only.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Windows {
    /// None; a window in the config is refused.
    Never,
    /// All, as wide as `sliding_window`, or this where it is missing.
    All(Option<usize>),
    /// Those from `max_window_layers` on where `use_sliding_window` is set, or as `layer_types` says.
    Switched,
    /// All but each n-th, or as `layer_types` says.
    Pattern(usize),
    /// Those without a rotary embedding where `use_sliding_window` is set, or as `layer_types` says.
    WithoutRotary,
}

/// How a token knows its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Positions {
    /// One rotary embedding for all layers.
    Rotary,
    /// One for layers with a window and one for the others (Gemma 3).
    RotaryByWindow,
    /// One for all layers but those that `no_rope_layers` leaves out (SmolLM3).
    RotaryInSome,
    /// A table of learned vectors.
    Learned,
}

const LLAMA_NAMES: Names = Names {
    embedding: "model.embed_tokens",
    positions: "",
    layers: "model.layers",
    norm: "model.norm",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    output: "self_attn.o_proj",
    up: &["mlp.gate_proj", "mlp.up_proj"],
    down: "mlp.down_proj",
    q_norm: "self_attn.q_norm",
    k_norm: "self_attn.k_norm",
    before_attention: Some("input_layernorm"),
    after_attention: None,
    before_mlp: Some("post_attention_layernorm"),
    after_mlp: None,
};

const LLAMA: Family = Family {
    model_type: "llama",
    names: LLAMA_NAMES,
    keys: ConfigKeys {
        hidden: "hidden_size",
        intermediate: "intermediate_size",
        layers: "num_hidden_layers",
        heads: "num_attention_heads",
        max_positions: "max_position_embeddings",
        activation: "hidden_act",
        eps: "rms_norm_eps",
    },
    norm: NormKind::Rms,
    qk_norm: QkNorm::None,
    gated: true,
    qkv_bias: Bias::Key("attention_bias", false),
    output_bias: Bias::Key("attention_bias", false),
    mlp_bias: Bias::Key("mlp_bias", false),
    attention_scale: AttentionScale::HeadDim,
    windows: Windows::Never,
    positions: Positions::Rotary,
    score_cap: None,
    logits_cap: None,
    scaled_embedding: false,
    multipliers: false,
    partial_rotary: false,
    activation: "silu",
    eps: 1e-6,
    rope_theta: 10_000.0,
    tied: false,
    head_dim: None,
};

const GEMMA2: Family = Family {
    model_type: "gemma2",
    names: Names {
        after_attention: Some("post_attention_layernorm"),
        before_mlp: Some("pre_feedforward_layernorm"),
        after_mlp: Some("post_feedforward_layernorm"),
        ..LLAMA_NAMES
    },
    keys: ConfigKeys {
        activation: "hidden_activation",
        ..LLAMA.keys
    },
    norm: NormKind::RmsPlusOne,
    mlp_bias: Bias::Never,
    attention_scale: AttentionScale::QueryPreAttnScalar,
    windows: Windows::Pattern(2),
    score_cap: Some(Some(50.0)),
    logits_cap: Some(Some(30.0)),
    scaled_embedding: true,
    activation: "gelu_pytorch_tanh",
    tied: true,
    head_dim: Some(256),
    ..LLAMA
};

/// The decoders that work. Llama covers SmolLM2, Llama 3, CodeLlama and DeepSeek-Coder; Qwen2 covers Qwen2.5-Coder;
/// gpt_bigcode covers StarCoder.
pub(crate) const FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        model_type: "mistral",
        qkv_bias: Bias::Never,
        output_bias: Bias::Never,
        mlp_bias: Bias::Never,
        windows: Windows::All(Some(4096)),
        ..LLAMA
    },
    Family {
        model_type: "qwen2",
        qkv_bias: Bias::Always,
        output_bias: Bias::Never,
        mlp_bias: Bias::Never,
        windows: Windows::Switched,
        ..LLAMA
    },
    Family {
        model_type: "qwen3",
        qk_norm: QkNorm::Head,
        mlp_bias: Bias::Never,
        windows: Windows::Switched,
        head_dim: Some(128),
        ..LLAMA
    },
    Family {
        model_type: "starcoder2",
        names: Names {
            up: &["mlp.c_fc"],
            down: "mlp.c_proj",
            ..LLAMA_NAMES
        },
        keys: ConfigKeys {
            eps: "norm_epsilon",
            ..LLAMA.keys
        },
        norm: NormKind::Layer,
        gated: false,
        qkv_bias: Bias::Key("use_bias", true),
        output_bias: Bias::Key("use_bias", true),
        mlp_bias: Bias::Key("use_bias", true),
        windows: Windows::All(None),
        activation: "gelu_pytorch_tanh",
        eps: 1e-5,
        tied: true,
        ..LLAMA
    },
    GEMMA2,
    Family {
        model_type: "gemma3_text",
        qk_norm: QkNorm::Head,
        windows: Windows::Pattern(6),
        positions: Positions::RotaryByWindow,
        score_cap: None,
        logits_cap: Some(None),
        ..GEMMA2
    },
    Family {
        model_type: "phi3",
        names: Names {
            qkv: &["self_attn.qkv_proj"],
            up: &["mlp.gate_up_proj"],
            ..LLAMA_NAMES
        },
        qkv_bias: Bias::Never,
        output_bias: Bias::Never,
        mlp_bias: Bias::Never,
        windows: Windows::All(None),
        partial_rotary: true,
        eps: 1e-5,
        ..LLAMA
    },
    Family {
        model_type: "granite",
        attention_scale: AttentionScale::Multiplier,
        multipliers: true,
        ..LLAMA
    },
    Family {
        model_type: "olmo2",
        names: Names {
            before_attention: None,
            after_attention: Some("post_attention_layernorm"),
            before_mlp: None,
            after_mlp: Some("post_feedforward_layernorm"),
            ..LLAMA_NAMES
        },
        qk_norm: QkNorm::Row,
        mlp_bias: Bias::Never,
        eps: 1e-5,
        ..LLAMA
    },
    Family {
        model_type: "smollm3",
        windows: Windows::WithoutRotary,
        positions: Positions::RotaryInSome,
        rope_theta: 2_000_000.0,
        tied: true,
        ..LLAMA
    },
    Family {
        model_type: "gpt_bigcode",
        names: Names {
            embedding: "transformer.wte",
            positions: "transformer.wpe",
            layers: "transformer.h",
            norm: "transformer.ln_f",
            qkv: &["attn.c_attn"],
            output: "attn.c_proj",
            up: &["mlp.c_fc"],
            down: "mlp.c_proj",
            before_attention: Some("ln_1"),
            before_mlp: Some("ln_2"),
            ..LLAMA_NAMES
        },
        keys: ConfigKeys {
            hidden: "n_embd",
            intermediate: "n_inner",
            layers: "n_layer",
            heads: "n_head",
            max_positions: "n_positions",
            activation: "activation_function",
            eps: "layer_norm_epsilon",
        },
        norm: NormKind::Layer,
        gated: false,
        qkv_bias: Bias::Always,
        output_bias: Bias::Always,
        mlp_bias: Bias::Always,
        attention_scale: AttentionScale::Switched,
        positions: Positions::Learned,
        activation: "gelu_pytorch_tanh",
        eps: 1e-5,
        tied: true,
        ..LLAMA
    },
];
