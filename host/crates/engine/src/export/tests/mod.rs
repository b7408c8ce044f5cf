mod chats;
mod folders;
mod gguf;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::DType;
use candle_core::quantized::gguf_file::Content;
use serde_json::{Value, json};

use super::job::load;
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
const NO_PLACE: [&str; 11] = [
    "ends-gemma3",
    "gemma3",
    "gpt-bigcode-mha",
    "mistral-window",
    "qwen3-window",
    "rope-dynamic",
    "rope-longrope",
    "saved-modules-gemma3",
    "smollm3",
    "starcoder2-window",
    "tokens-gemma3",
];
const REFUSALS: [&str; 3] = [
    "does not answer as base",
    "has no place for",
    "has no place in a GGUF",
];

/// Most models of the hub are in bf16, and what other programs want of them is not.
#[test]
fn a_model_in_bf16_goes_into_every_other_type() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let of = |model: PathBuf, format, dtype, output| Request {
        model,
        adapter: None,
        dtype: Some(dtype),
        ..request("qwen2", format, output)
    };
    let base = place("bf16");
    let made = of(
        golden("qwen2", "model"),
        Format::Safetensors,
        ExportDtype::Bf16,
        base.clone(),
    );
    export(&made).unwrap();
    for (format, dtype, most) in [
        (Format::Safetensors, ExportDtype::F32, 1e-6),
        (Format::Gguf, ExportDtype::F32, 1e-6),
        // Holds all that bf16 does of weights of this size.
        (Format::Gguf, ExportDtype::F16, 1e-3),
        (Format::Gguf, ExportDtype::Q8_0, 5e-2),
        (Format::Gguf, ExportDtype::Bf16, 1e-6),
    ] {
        let output = place(&format!("{format:?}-{dtype:?}"));
        let found = export(&of(base.clone(), format, dtype, output)).unwrap();
        let found = found.verification.unwrap();
        assert!(
            found.relative_error < most,
            "{format:?} {dtype:?}: {found:?}"
        );
    }
}

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
            // nor a LoRA in it for whole modules, tokens or biases: they are refused by name, or by the check that reads them again.
            let no_place = match format {
                Format::Gguf => NO_PLACE.contains(&case.as_str()),
                Format::GgufLora => [
                    "saved-modules",
                    "ends",
                    "gpt-bigcode-mha",
                    "resized",
                    "tokens",
                    "bias-",
                    "lora-bias",
                ]
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
