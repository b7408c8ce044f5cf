//! Single options of a `config.json`, and which are refused.

use serde_json::Value;

use crate::model::family::{AttentionScale, Family, Windows};
use crate::model::keys::Keys;
use crate::ops::Activation;

/// Transformers' `pad_token_id`, and what its families take where a config does not say; gpt_bigcode's embedding has none.
pub(super) fn padding(
    config: &Keys<'_>,
    model_type: &str,
    vocab: usize,
) -> Result<Option<u32>, String> {
    let id = match (model_type, config.has("pad_token_id")) {
        ("gpt_bigcode", _) => None,
        (_, true) => config.number("pad_token_id")?,
        ("gemma2" | "gemma3_text", false) => Some(0.0),
        ("phi3", false) => Some(32_000.0),
        ("olmo2", false) => Some(1.0),
        ("smollm3", false) => Some(128_004.0),
        _ => None,
    };
    // PyTorch counts negative ones from the end; one outside the vocabulary never stands in a text.
    let id = id.map(|id| if id < 0.0 { id + vocab as f64 } else { id });
    let inside = id.filter(|id| id.fract() == 0.0 && (0.0..vocab as f64).contains(id));
    Ok(inside.map(|id| id as u32))
}

/// Ids that a `config.json` gives as one number or a list.
pub(super) fn ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// What would change the computation and is not done here is refused by its name, never passed over.
pub(super) fn refuse_options(config: &Keys<'_>, family: &Family) -> Result<(), String> {
    if matches!(family.windows, Windows::Never) {
        for key in ["use_sliding_window", "sliding_window"] {
            if config.get(key).is_some_and(|value| *value != false) {
                return Err(format!(
                    "{key} is not supported for model_type {:?}; only full attention is",
                    family.model_type
                ));
            }
        }
    }
    if config.get("quantization_config").is_some() {
        return Err(
            "quantization_config: packed checkpoints are not supported; use the unquantized model"
                .into(),
        );
    }
    // Published configs of these families hold dropouts of 0.1, StarCoder2's all three: they belong to pretraining and
    // are off here, as in evaluation.
    if !["gpt_bigcode", "starcoder2", "granite"].contains(&family.model_type) {
        for key in [
            "attention_dropout",
            "residual_dropout",
            "embedding_dropout",
            "resid_pdrop",
            "embd_pdrop",
        ] {
            if config.number(key)?.unwrap_or(0.0) != 0.0 {
                return Err(format!("{key} is not supported; set it to 0"));
            }
        }
    }
    for key in [
        "rope_interleaved",
        "use_bidirectional_attention",
        "add_cross_attention",
    ] {
        if config.flag(key, false)? {
            return Err(format!("{key} is not supported; set it to false"));
        }
    }
    if family.score_cap.is_none() && config.get("attn_logit_softcapping").is_some() {
        return Err(format!(
            "attn_logit_softcapping is not supported for model_type {:?}",
            family.model_type
        ));
    }
    if family.logits_cap.is_none() && config.get("final_logit_softcapping").is_some() {
        return Err(format!(
            "final_logit_softcapping is not supported for model_type {:?}",
            family.model_type
        ));
    }
    if config.number("rotary_pct")?.unwrap_or(1.0) != 1.0 {
        return Err("rotary_pct is not supported; only a full rotary embedding is".into());
    }
    Ok(())
}

pub(super) fn activation(config: &Keys<'_>, family: &Family) -> Result<Activation, String> {
    let key = family.keys.activation;
    Ok(match config.text(key)?.unwrap_or(family.activation) {
        "silu" | "swish" => Activation::Silu,
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        other => {
            return Err(format!(
                "{key} {other:?} is not supported; silu, gelu, gelu_pytorch_tanh and relu are"
            ));
        }
    })
}

pub(super) fn attention_scale(
    config: &Keys<'_>,
    family: &Family,
    head_dim: usize,
) -> Result<f64, String> {
    let of_head = 1.0 / (head_dim as f64).sqrt();
    Ok(match family.attention_scale {
        AttentionScale::HeadDim => of_head,
        AttentionScale::QueryPreAttnScalar => {
            let scalar = config.positive("query_pre_attn_scalar")?;
            1.0 / scalar.unwrap_or(256.0).sqrt()
        }
        AttentionScale::Multiplier => config.number("attention_multiplier")?.unwrap_or(1.0),
        AttentionScale::Switched => match config.flag("scale_attn_weights", true)? {
            true => of_head,
            false => 1.0,
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::family::FAMILIES;

    #[test]
    fn dropouts_that_published_configs_hold_do_not_keep_a_model_out() {
        for family in FAMILIES {
            let config = json!({
                "attention_dropout": 0.1, "residual_dropout": 0.1, "embedding_dropout": 0.1,
                "attn_pdrop": 0.1, "resid_pdrop": 0.1, "embd_pdrop": 0.1,
            });
            let refused = refuse_options(&Keys(config.as_object().unwrap()), family);
            match family.model_type {
                "starcoder2" | "granite" | "gpt_bigcode" => assert_eq!(refused, Ok(())),
                other => assert!(
                    refused.unwrap_err().contains("attention_dropout"),
                    "{other}"
                ),
            }
        }
    }
}
