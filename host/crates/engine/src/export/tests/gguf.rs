//! What goes into a GGUF, and what has no place there.

use candle_core::quantized::GgmlDType;
use serde_json::{Value, json};

use super::*;

/// Sizes that llama.cpp fixes for a family are those of the published models, not those of the golden cases.
#[test]
fn families_that_llama_cpp_knows_one_form_of_go_into_a_gguf_in_that_form() {
    for (case, changes) in [
        (
            "gemma3",
            json!({
                "layer_types": ["sliding_attention", "sliding_attention"], "query_pre_attn_scalar": 16,
                "sliding_window_pattern": 6, "_sliding_window_pattern": 6,
            }),
        ),
        (
            "smollm3",
            json!({
                "layer_types": ["full_attention", "full_attention"], "no_rope_layers": [1, 1],
                "use_sliding_window": false, "sliding_window": null,
            }),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let request = changed(case, &changes, folder.path());
        let found = export(&request).unwrap().verification.unwrap();
        assert!(found.relative_error < 1e-5, "{case}: {found:?}");
    }
    for (case, key) in [("gemma3", "layer_types"), ("smollm3", "no_rope_layers")] {
        let folder = tempfile::tempdir().unwrap();
        let request = request(case, Format::Gguf, folder.path().join("out"));
        let message = export(&request).unwrap_err().to_string();
        assert!(message.contains(key), "{message}");
    }
}

/// To a GGUF: a golden model whose config says something else.
fn changed(case: &str, changes: &Value, folder: &Path) -> Request {
    let model = folder.join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(golden(case, "model")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let text = std::fs::read_to_string(model.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    std::fs::write(model.join("config.json"), config.to_string()).unwrap();
    Request {
        model,
        ..request(case, Format::Gguf, folder.join("out"))
    }
}

#[test]
fn what_llama_cpp_computes_otherwise_is_refused_by_its_name() {
    for (case, changes, name) in [
        (
            "llama-tied",
            json!({ "hidden_act": "gelu" }),
            "the silu that llama.cpp computes for llama",
        ),
        (
            "gpt-bigcode",
            json!({ "scale_attn_weights": false }),
            "scale_attn_weights",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let request = changed(case, &changes, folder.path());
        let message = export(&request).unwrap_err().to_string();
        assert!(
            message.contains(name) && message.contains("in a GGUF"),
            "{message}"
        );
    }
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
fn a_gguf_as_the_base_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = golden("", "").join("../gguf/llama-tied-f32.gguf");
    for format in [
        Format::Safetensors,
        Format::Gguf,
        Format::GgufLora,
        Format::Peft,
    ] {
        let request = Request {
            model: gguf.clone(),
            ..request("llama-tied", format, folder.path().join("out"))
        };
        let error = export(&request).unwrap_err().to_string();
        assert!(error.contains("llama-tied-f32.gguf: is a GGUF"), "{error}");
        assert!(error.contains("Hugging Face folder"), "{error}");
    }
}
