/// One line of [`FAMILIES`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// As in `config.json`.
    pub(crate) model_type: &'static str,
    pub(crate) qkv_bias: Bias,
    pub(crate) output_bias: Bias,
    pub(crate) mlp_bias: Bias,
    /// Base of the rotary frequencies where the config names none.
    pub(crate) rope_theta: f64,
}

/// Whether a family's linear layers have a bias.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bias {
    Never,
    Always,
    /// As this key of the config says; false where it is missing.
    Key(&'static str),
}

/// The decoders that work. Llama covers SmolLM2, Llama 3, CodeLlama and DeepSeek-Coder; Qwen2 covers Qwen2.5-Coder.
///
/// All of them share one set of tensor names, RMS norm, SwiGLU and the rotary embedding in halves.
pub(crate) const FAMILIES: &[Family] = &[
    Family {
        model_type: "llama",
        qkv_bias: Bias::Key("attention_bias"),
        output_bias: Bias::Key("attention_bias"),
        mlp_bias: Bias::Key("mlp_bias"),
        rope_theta: 10_000.0,
    },
    Family {
        model_type: "qwen2",
        qkv_bias: Bias::Always,
        output_bias: Bias::Never,
        mlp_bias: Bias::Never,
        rope_theta: 10_000.0,
    },
];
