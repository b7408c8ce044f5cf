use domain::{FieldErrors, InitLoraWeights, LoraConfig, Method, Overflow, RunConfig};

/// Refuses, each by its field, every option of a valid config that this engine cannot do yet: an option is done or
/// refused, never passed over.
///
/// # Errors
/// All such options at once.
pub fn check_config(config: &RunConfig) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::default();
    let (model, lora, train) = (&config.model, &config.lora, &config.train);
    let mut refuse = |wrong: bool, field: &str, message: &str| {
        if wrong {
            errors.push(field, message);
        }
    };
    let paired = train.method.is_paired();
    for (field, set) in [
        ("data.streaming", config.data.streaming),
        ("data.packing", config.data.packing),
    ] {
        let message = "cannot be done with pairs (train.method dpo, cpo and orpo); set it to false";
        refuse(set && paired, field, message);
    }
    refuse(
        paired && config.data.overflow == Overflow::Split,
        "data.overflow",
        "cannot be split with pairs (train.method dpo, cpo and orpo): half a completion is none; set it to cut",
    );
    let split = matches!(&lora.init_lora_weights, InitLoraWeights::Named(name) if name.starts_with("pissa") || name == "olora");
    refuse(
        split && model.quantize.is_some(),
        "lora.init_lora_weights",
        "PiSSA and OLoRA take their start out of the base's weights, which must not be packed: leave model.quantize out",
    );
    refuse(
        train.early_stopping_patience > 0 && !train.evaluates_on_the_way(),
        "train.early_stopping_patience",
        "needs evaluations on the way: set train.eval_steps, or train.eval_strategy to \"epoch\"",
    );
    refuse(
        train.load_best_model_at_end && !train.evaluates_on_the_way(),
        "train.load_best_model_at_end",
        "needs evaluations on the way: set train.eval_steps, or train.eval_strategy to \"epoch\"",
    );
    refuse(
        train.method == Method::Full && *lora != LoraConfig::default(),
        "lora",
        "has no meaning with train.method = \"full\"; remove the section",
    );
    errors.into_result()
}

/// Refuses a GPU where this build has none: a run's config may be meant for another, which [`check_config`] allows.
pub(super) fn check_device(config: &RunConfig) -> Result<(), FieldErrors> {
    let gpu = config.model.device.starts_with("cuda");
    if gpu && !cfg!(any(test, feature = "cuda")) {
        let message = "this build runs on the CPU only: put codetune-cuda beside it, which it starts for this, or set it to cpu or auto";
        return Err(FieldErrors::one("model.device", message));
    }
    Ok(())
}
