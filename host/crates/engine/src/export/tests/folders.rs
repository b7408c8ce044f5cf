//! Adapter folders of other programs, and the card beside an export.

use serde_json::{Value, json};

use super::*;

#[test]
fn adapter_folders_of_other_programs_work_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter");
    std::fs::create_dir(&adapter).unwrap();
    let from = golden("llama-tied", "adapter_trained");
    std::fs::copy(
        from.join("adapter_model.safetensors"),
        adapter.join("adapter_model.safetensors"),
    )
    .unwrap();
    let text = std::fs::read_to_string(from.join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["base_model_name_or_path"] = json!("/home/somebody/llama");
    for (key, value) in [
        ("unsloth_fixed", json!(true)),
        ("peft_version", json!("0.18.0")),
        ("qalora_group_size", json!(16)),
        ("megatron_core", json!("megatron.core")),
        (
            "auto_mapping",
            json!({ "base_model_class": "LlamaForCausalLM", "parent_library": "transformers" }),
        ),
        ("loraplus_lr_ratio", json!(null)),
        ("created_by", json!("another program")),
    ] {
        config[key] = value;
    }
    std::fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let request = Request {
        adapter: Some(adapter.clone()),
        ..request("llama-tied", Format::Peft, folder.path().join("out"))
    };
    export(&request).unwrap();
    let text = std::fs::read_to_string(request.output.join("adapter_config.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written["base_model_name_or_path"], Value::Null);
    assert!(written.get("unsloth_fixed").is_none());
    assert_eq!(written["r"], config["r"]);

    config["layer_replication"] = json!([[0, 1], [0, 1]]);
    std::fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let request = Request {
        output: folder.path().join("refused"),
        ..request
    };
    let error = export(&request).unwrap_err().to_string();
    assert!(error.contains("layer_replication"), "{error}");
}

#[test]
fn the_card_has_the_figures_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let adapter = run.join("adapter");
    std::fs::create_dir_all(run.join("checkpoint-12")).unwrap();
    std::fs::create_dir(&adapter).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(
            golden("llama-tied", "adapter_trained").join(name),
            adapter.join(name),
        )
        .unwrap();
    }
    let state = json!({
        "step": 12, "epoch": 1.5, "loss": 0.25,
        "cursor": { "method": "lora", "seed": 7, "batch_size": 4, "data_sha256": "abc123", "samples": 32 },
    });
    std::fs::write(
        run.join("checkpoint-12/trainer_state.json"),
        state.to_string(),
    )
    .unwrap();
    let events = [
        json!({ "event": "step", "step": 1, "loss": 2.5, "learning_rate": 1e-4 }),
        json!({ "event": "step", "step": 12, "loss": 0.25, "learning_rate": 5e-5 }),
        json!({ "event": "eval", "step": 12, "eval_loss": 0.5 }),
    ]
    .map(|event| event.to_string() + "\n");
    std::fs::write(run.join("events.jsonl"), events.concat()).unwrap();
    let request = Request {
        adapter: Some(adapter),
        ..request("llama-tied", Format::Peft, folder.path().join("card"))
    };
    export(&request).unwrap();
    let card = std::fs::read_to_string(request.output.join("README.md")).unwrap();
    for part in [
        "library_name: peft",
        "| data, SHA-256 of what was trained on | abc123 |",
        "| optimizer steps | 12 |",
        "| first loss | 2.5000 |",
        "| last loss | 0.2500 |",
        "| loss on held-out data | 0.5000 |",
        "| highest learning rate | 0.0001 |",
        "PeftModel.from_pretrained",
        "Read again after writing",
    ] {
        assert!(card.contains(part), "no {part:?} in\n{card}");
    }
    assert!(
        !card.contains(&folder.path().display().to_string()),
        "{card}"
    );
}
