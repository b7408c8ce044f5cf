//! The keys of `adapter_config.json`.

use serde_json::{Map, Value, json};

/// Every key that PEFT 0.21 writes, with its default, in its order; `peft_version` says whose keys these are.
pub(crate) fn peft_defaults() -> Map<String, Value> {
    let table = json!({
        "alora_invocation_tokens": null,
        "alpha_pattern": {},
        "arrow_config": null,
        "auto_mapping": null,
        "base_model_name_or_path": null,
        "bias": "none",
        "corda_config": null,
        "ensure_weight_tying": false,
        "eva_config": null,
        "exclude_modules": null,
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "kasa_config": null,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": null,
        "loftq_config": {},
        "lora_alpha": 8,
        "lora_bias": false,
        "lora_dropout": 0.0,
        "lora_ga_config": null,
        "megatron_config": null,
        "megatron_core": "megatron.core",
        "modules_to_save": null,
        "monteclora_config": null,
        "peft_type": "LORA",
        "peft_version": "0.21.2",
        "qalora_group_size": 16,
        "r": 8,
        "rank_pattern": {},
        "revision": null,
        "target_modules": null,
        "target_parameters": null,
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": null,
        "use_bdlora": null,
        "use_dora": false,
        "use_qalora": false,
        "use_rslora": false,
        "velora_config": null,
    });
    match table {
        Value::Object(table) => table,
        _ => Map::new(),
    }
}

/// Keys of `adapter_config.json` that are read.
pub(super) const READ: &[&str] = &[
    "alpha_pattern",
    "bias",
    "ensure_weight_tying",
    "exclude_modules",
    "init_lora_weights",
    "layers_to_transform",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "trainable_token_indices",
    "use_dora",
    "use_rslora",
];

/// Keys that change nothing of an adapter whose tensors are there: where it comes from, how it began, and which layers
/// it is in, which the tensors say; and what only shapes an option that has a key of its own.
pub(super) const IDLE: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    // PEFT takes it back for a Linear, and this engine has no other layers that LoRA could be in.
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Keys that change the computation in ways that are not implemented.
pub(super) const UNSUPPORTED: &[&str] = &[
    "use_qalora",
    "use_bdlora",
    "layer_replication",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "monteclora_config",
    "velora_config",
    "kasa_config",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_that_peft_wrote_itself() {
        let path = "../../../tests/fixtures/goldens/pissa/adapter_init/adapter_config.json";
        let text = std::fs::read_to_string(path).unwrap();
        let theirs: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let ours = peft_defaults();
        let keys = |table: &Map<String, Value>| table.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(&theirs));
        assert_eq!(ours["peft_version"], theirs["peft_version"]);
    }

    #[test]
    fn every_key_that_peft_writes_is_read_refused_or_changes_nothing() {
        for key in peft_defaults().keys() {
            let lists = [READ, IDLE, UNSUPPORTED];
            let found = lists.iter().filter(|list| list.contains(&key.as_str()));
            assert_eq!(found.count(), 1, "{key}");
        }
    }
}
