use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::DType;
use candle_core::quantized::gguf_file::Content;
use serde_json::{Value, json};

use super::*;
use crate::model::Weights;

/// Every golden case that is there.
fn cases() -> Vec<String> {
    let mut cases: Vec<String> = std::fs::read_dir(golden("", ""))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("model").is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert!(cases.len() >= 3, "{cases:?}");
    cases
}

fn golden(case: &str, part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/fixtures/goldens")
        .join(case)
        .join(part)
}

fn sample_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/model")
}

fn request(case: &str, format: Format, output: PathBuf) -> Request {
    Request {
        model: golden(case, "model"),
        adapter: Some(golden(case, "adapter_trained")),
        format,
        output,
        dtype: None,
        max_shard_size: MAX_SHARD_SIZE,
        force: false,
        verify: true,
    }
}

fn metadata(path: &Path) -> Content {
    Content::read(&mut std::fs::File::open(path).unwrap()).unwrap()
}

/// Cases whose configs say what llama.cpp's format cannot.
const NO_PLACE: [&str; 9] = [
    "ends-gemma3",
    "gemma3",
    "gpt-bigcode-mha",
    "mistral-window",
    "qwen3-window",
    "rope-dynamic",
    "rope-yarn-mscale",
    "smollm3",
    "starcoder2-window",
];
const REFUSALS: [&str; 3] = [
    "does not answer as base",
    "has no place for",
    "has no place in a GGUF",
];

#[test]
fn every_form_answers_as_base_and_adapter_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for case in &cases() {
        for (format, dtype, most) in [
            (Format::Peft, None, 1e-6),
            (Format::Safetensors, None, 1e-5),
            (Format::Safetensors, Some(ExportDtype::F16), 5e-3),
            (Format::Safetensors, Some(ExportDtype::Bf16), 3e-2),
            (Format::Gguf, None, 1e-5),
            (Format::Gguf, Some(ExportDtype::F16), 5e-3),
            (Format::Gguf, Some(ExportDtype::Bf16), 3e-2),
            (Format::Gguf, Some(ExportDtype::Q8_0), 5e-2),
            (Format::GgufLora, None, 1e-5),
            (Format::GgufLora, Some(ExportDtype::F16), 5e-3),
        ] {
            // What DoRA does to a row has no place among pairs of A and B.
            if format == Format::GgufLora && case.contains("dora") {
                continue;
            }
            let name = format!("{case}-{format:?}-{dtype:?}");
            let request = Request {
                dtype,
                ..request(case, format, folder.path().join(&name))
            };
            // A GGUF has no place for the windows, biases, rotary settings or layers without rotary embedding of these,
            // nor a LoRA in it for whole modules: they are refused by name, or by the check that reads them again.
            let no_place = match format {
                Format::Gguf => NO_PLACE.contains(&case.as_str()),
                Format::GgufLora => ["saved-modules", "ends", "gpt-bigcode-mha"]
                    .iter()
                    .any(|start| case.starts_with(start)),
                _ => false,
            };
            if no_place {
                let message = export(&request).unwrap_err().to_string();
                let refused = REFUSALS.iter().any(|words| message.contains(words));
                assert!(refused, "{name}: {message}");
                continue;
            }
            match export(&request).map(|report| report.verification.unwrap()) {
                Ok(found) if found.relative_error < most && found.greedy_agreement > 0.9 => {}
                other => wrong.push(format!("{name}: {other:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_merged_model_is_the_same_in_any_number_of_shards() {
    let folder = tempfile::tempdir().unwrap();
    let whole = request("qwen2", Format::Safetensors, folder.path().join("whole"));
    export(&whole).unwrap();
    let parts = Request {
        max_shard_size: 20_000,
        ..request("qwen2", Format::Safetensors, folder.path().join("parts"))
    };
    let report = export(&parts).unwrap();
    let shards = report.files.iter().filter(|file| {
        file.path
            .extension()
            .is_some_and(|ending| ending == "safetensors")
    });
    assert!(shards.count() > 5);
    let index = std::fs::read(parts.output.join("model.safetensors.index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let (mut one, mut many) = (
        Weights::open_folder(&whole.output).unwrap(),
        Weights::open_folder(&parts.output).unwrap(),
    );
    let names: BTreeSet<String> = one.names().map(str::to_owned).collect();
    let listed = index["weight_map"].as_object().unwrap();
    assert_eq!(names, listed.keys().cloned().collect());
    let mut total = 0;
    for name in names {
        total += one.bytes(&name).unwrap().len();
        let shape = one.shape(&name).unwrap().to_vec();
        let values = |weights: &mut Weights| -> Vec<f32> {
            let tensor = weights.take(&name, &shape, DType::F32).unwrap();
            tensor.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(values(&mut one), values(&mut many), "{name}");
    }
    assert_eq!(index["metadata"]["total_size"], json!(total));
}

#[test]
fn what_the_adapter_leaves_alone_keeps_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let request = request("qwen2", Format::Safetensors, folder.path().join("out"));
    export(&request).unwrap();
    let (base, merged) = (
        Weights::open_folder(&request.model).unwrap(),
        Weights::open_folder(&request.output).unwrap(),
    );
    let changed: Vec<&str> = base
        .names()
        .filter(|name| base.bytes(name) != merged.bytes(name))
        .collect();
    assert!(!changed.is_empty());
    assert!(
        changed.iter().all(|name| name.contains("_proj.weight")),
        "{changed:?}"
    );
}

#[test]
fn four_bits_fall_back_where_a_row_is_no_whole_block() {
    let folder = tempfile::tempdir().unwrap();
    let request = Request {
        model: sample_model(),
        adapter: None,
        dtype: Some(ExportDtype::Q4K),
        ..request("qwen2", Format::Gguf, folder.path().join("tiny.gguf"))
    };
    let report = export(&request).unwrap();
    assert!(
        report.verification.unwrap().greedy_agreement > 0.5,
        "{report:?}"
    );
    let content = metadata(&request.output);
    let kind = |name: &str| content.tensor_infos[name].ggml_dtype;
    use candle_core::quantized::GgmlDType;
    assert_eq!(kind("blk.0.attn_q.weight"), GgmlDType::Q4K);
    assert_eq!(kind("token_embd.weight"), GgmlDType::Q6K);
    // 576 values a row.
    assert_eq!(kind("blk.0.ffn_down.weight"), GgmlDType::Q8_0);
    assert_eq!(kind("blk.0.attn_norm.weight"), GgmlDType::F32);
    assert_eq!(
        content.metadata["tokenizer.ggml.pre"].to_string().unwrap(),
        "qwen2"
    );
    let tokens = content.metadata["tokenizer.ggml.tokens"].to_vec().unwrap();
    assert_eq!(tokens.len(), 4096);
    assert_eq!(
        content.metadata["tokenizer.ggml.eos_token_id"]
            .to_u32()
            .unwrap(),
        0
    );
    assert_eq!(
        content.metadata["tokenizer.ggml.fim_pre_token_id"]
            .to_u32()
            .unwrap(),
        1
    );
    let modelfile = std::fs::read_to_string(folder.path().join("Modelfile")).unwrap();
    assert!(modelfile.starts_with("FROM ./tiny.gguf\n"), "{modelfile}");
    assert!(
        modelfile.contains("PARAMETER stop \"<|endoftext|>\""),
        "{modelfile}"
    );
}

#[test]
fn scales_beyond_alpha_over_rank_go_into_the_lora_of_a_gguf() {
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
    config["use_rslora"] = json!(true);
    config["alpha_pattern"] = json!({ "q_proj": 3 });
    std::fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    for format in [Format::GgufLora, Format::Gguf, Format::Safetensors] {
        let request = Request {
            adapter: Some(adapter.clone()),
            ..request(
                "llama-tied",
                format,
                folder.path().join(format!("{format:?}")),
            )
        };
        let verified = export(&request).unwrap().verification.unwrap();
        assert!(verified.relative_error < 1e-5, "{format:?}: {verified:?}");
    }
}

#[test]
fn an_output_is_replaced_only_by_force_and_a_failed_one_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut request = request("llama-tied", Format::Safetensors, folder.path().join("out"));
    export(&request).unwrap();
    let error = export(&request).unwrap_err().to_string();
    assert!(error.contains("--force"), "{error}");
    request.force = true;
    export(&request).unwrap();

    // Found out only while it is written: the tokenizer has more tokens than the model.
    let model = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&request.model).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.path().join(entry.file_name())).unwrap();
    }
    let tokenizer = sample_model().join("tokenizer.json");
    std::fs::copy(tokenizer, model.path().join("tokenizer.json")).unwrap();
    for name in ["broken", "broken.gguf"] {
        let broken = Request {
            model: model.path().to_owned(),
            format: Format::Gguf,
            output: folder.path().join(name),
            ..request.clone()
        };
        let error = export(&broken).unwrap_err().to_string();
        assert!(error.contains("embeds 320 tokens only"), "{error}");
    }
    request.output = request.model.clone();
    let error = export(&request).unwrap_err().to_string();
    assert!(error.contains("is what is exported"), "{error}");
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["out"]);
}

#[test]
fn an_export_that_answers_otherwise_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = Request {
        adapter: None,
        ..request(
            "llama-tied",
            Format::Safetensors,
            folder.path().join("base"),
        )
    };
    let ids: Vec<u32> = (1..40).collect();
    let model = load(&base.model, None, ExportDtype::F32).unwrap();
    let adapted = load(
        &base.model,
        Some(&golden("llama-tied", "adapter_trained")),
        ExportDtype::F32,
    )
    .unwrap();
    let (one, other) = (
        verify::ask(&model, &ids).unwrap(),
        verify::ask(&adapted, &ids).unwrap(),
    );
    assert!(verify::compare(&base.output, &one, &one, ExportDtype::F32).is_ok());
    let error = verify::compare(&base.output, &one, &other, ExportDtype::F32).unwrap_err();
    assert!(error.to_string().contains("do not use it"), "{error}");
}

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

/// A copy of the sample model with another chat template and ids that end a text.
fn with_template(folder: &Path, template: &str, eos: Value) -> PathBuf {
    let model = folder.join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(sample_model()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    std::fs::write(
        model.join("generation_config.json"),
        json!({ "eos_token_id": eos }).to_string(),
    )
    .unwrap();
    model
}

const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

#[test]
fn an_end_of_turn_that_ends_no_text_is_told() {
    for (eos, warned) in [(json!([0]), true), (json!([0, 6]), false)] {
        let folder = tempfile::tempdir().unwrap();
        let request = Request {
            model: with_template(folder.path(), CHATML, eos),
            adapter: None,
            ..request("qwen2", Format::Gguf, folder.path().join("out"))
        };
        let report = export(&request).unwrap();
        let told = report.warnings.iter().any(|text| {
            text.contains("<|im_end|> (id 6)") && text.contains("generation_config.json")
        });
        assert_eq!(told, warned, "{:?}", report.warnings);
        let content = metadata(&request.output.join("model.gguf"));
        assert_eq!(
            content.metadata["tokenizer.ggml.eot_token_id"]
                .to_u32()
                .unwrap(),
            6
        );
        assert_eq!(
            content.metadata["tokenizer.chat_template"]
                .to_string()
                .unwrap(),
            CHATML
        );
        let modelfile = std::fs::read_to_string(request.output.join("Modelfile")).unwrap();
        assert!(
            modelfile.contains("{{ range .Messages }}")
                || modelfile.contains("{{- range .Messages }}")
        );
        assert!(
            modelfile.contains("PARAMETER stop \"<|im_end|>\""),
            "{modelfile}"
        );
    }
}

#[test]
fn a_template_that_fails_or_has_no_known_shape_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Request {
        model: with_template(folder.path(), "{{ messages[0].nothing.there }}", json!(0)),
        adapter: None,
        ..request("qwen2", Format::Safetensors, folder.path().join("out"))
    };
    let report = export(&failing).unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|text| text.contains("chat template")),
        "{:?}",
        report.warnings
    );
    let folder = tempfile::tempdir().unwrap();
    let odd = "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}";
    let unknown = Request {
        model: with_template(folder.path(), odd, json!([0, 6])),
        format: Format::Gguf,
        output: folder.path().join("out"),
        ..failing
    };
    let report = export(&unknown).unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|text| text.contains("TEMPLATE is left out")),
        "{:?}",
        report.warnings
    );
}
