//! What PEFT calls an adapter's tensors.

/// What PEFT puts before a module's path.
pub(crate) const PREFIX: &str = "base_model.model.";

/// The head's path in every family.
pub(crate) const HEAD: &str = "lm_head";

/// Of a module's magnitudes (DoRA).
pub(super) fn magnitude_name(module: &str) -> String {
    format!("{PREFIX}{module}.lora_magnitude_vector")
}

/// Of the bias of a module's B.
pub(crate) fn lora_bias_name(module: &str) -> String {
    format!("{PREFIX}{module}.lora_B.bias")
}

/// Of a module's A and B.
pub(super) fn names(module: &str) -> (String, String) {
    (
        format!("{PREFIX}{module}.lora_A.weight"),
        format!("{PREFIX}{module}.lora_B.weight"),
    )
}
