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
    let paired = matches!(train.method, Method::Dpo | Method::Orpo);
    for (field, set) in [
        ("data.streaming", config.data.streaming),
        ("data.packing", config.data.packing),
    ] {
        let message = "cannot be done with pairs (train.method dpo and orpo); set it to false";
        refuse(set && paired, field, message);
    }
    refuse(
        paired && config.data.overflow == Overflow::Split,
        "data.overflow",
        "cannot be split with pairs (train.method dpo and orpo): half a completion is none; set it to cut",
    );
    refuse(
        model.device.starts_with("cuda"),
        "model.device",
        "this build runs on the CPU only; set it to cpu or auto",
    );
    let pissa = matches!(&lora.init_lora_weights, InitLoraWeights::Named(name) if name.starts_with("pissa"));
    refuse(
        pissa && model.quantize.is_some(),
        "lora.init_lora_weights",
        "PiSSA takes its start out of the base's weights, which must not be packed: leave model.quantize out",
    );
    refuse(
        train.early_stopping_patience > 0 && train.eval_steps == 0,
        "train.early_stopping_patience",
        "needs evaluations on the way: set train.eval_steps",
    );
    refuse(
        train.load_best_model_at_end && train.eval_steps == 0,
        "train.load_best_model_at_end",
        "needs evaluations on the way: set train.eval_steps",
    );
    refuse(
        train.method == Method::Full && *lora != LoraConfig::default(),
        "lora",
        "has no meaning with train.method = \"full\"; remove the section",
    );
    errors.into_result()
}
