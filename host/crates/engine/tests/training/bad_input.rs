use std::path::Path;

use domain::{Method, RunConfig};
use serde_json::{Value, json};

use crate::harness::{config, goldens, random_rows, train};

/// A copy of a golden model that a test may damage.
fn copied(folder: &Path, change: impl FnOnce(&Path)) -> RunConfig {
    let model = folder.join("model");
    std::fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(goldens().join("qwen2/model").join(name), model.join(name)).unwrap();
    }
    change(&model);
    let mut config = config("qwen2", folder, &random_rows(2, 20, 1));
    config.model.path = Some(model.display().to_string());
    config
}

fn edit(model: &Path, change: impl FnOnce(&mut Value)) {
    let path = model.join("config.json");
    let mut value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

fn failure(change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    train(&copied(folder.path(), change)).error()
}

#[test]
fn an_unknown_model_type_is_refused_and_names_those_that_work() {
    let message = failure(|model| edit(model, |config| config["model_type"] = json!("mamba")));
    assert!(
        message.contains("\"mamba\"") && message.contains("llama, mistral, qwen2"),
        "{message}"
    );
}

#[test]
fn options_of_a_model_that_are_not_done_are_refused_by_name() {
    let cases = [
        (
            "rope_scaling",
            json!({ "rope_type": "spiral", "factor": 4.0 }),
            "spiral",
        ),
        (
            "rope_scaling",
            json!({ "type": "dynamic", "factor": -2.0 }),
            "factor",
        ),
        (
            "rope_scaling",
            json!({ "type": "longrope", "short_factor": [1.0], "long_factor": [1.0] }),
            "short_factor",
        ),
        (
            "layer_types",
            json!(["sliding_attention", "full_attention", "full_attention"]),
            "sliding_window",
        ),
        ("attention_dropout", json!(0.1), "attention_dropout"),
        (
            "attn_logit_softcapping",
            json!(30.0),
            "attn_logit_softcapping",
        ),
        ("hidden_act", json!("quick_gelu"), "quick_gelu"),
        (
            "quantization_config",
            json!({ "quant_method": "gptq" }),
            "quantization_config",
        ),
        ("partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("hidden_size", json!("64"), "hidden_size"),
        ("num_hidden_layers", json!(0), "num_hidden_layers"),
        ("intermediate_size", json!(161), "161"),
    ];
    for (key, value, word) in cases {
        let message = failure(|model| edit(model, |config| config[key] = value));
        assert!(
            message.contains(word) && message.contains(".json") || message.contains(".safetensors"),
            "{message}"
        );
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_head_of_its_own_is_refused_where_the_config_ties_it_to_the_embedding() {
    let message = failure(|model| {
        edit(model, |config| config["tie_word_embeddings"] = json!(true));
    });
    assert!(
        message.contains("lm_head.weight is another tensor")
            && message.contains("tie_word_embeddings"),
        "{message}"
    );
}

#[test]
fn weights_that_the_config_has_no_place_for_are_refused() {
    let message = failure(|model| edit(model, |config| config["model_type"] = json!("llama")));
    assert!(
        message.contains("q_proj.bias") || message.contains("k_proj.bias"),
        "{message}"
    );
    let message = failure(|model| edit(model, |config| config["num_hidden_layers"] = json!(4)));
    assert!(
        message.contains("model.layers.3") && message.contains("holds no tensor"),
        "{message}"
    );
}

#[test]
fn a_pickle_is_refused_with_the_reason() {
    let message = failure(|model| {
        std::fs::rename(
            model.join("model.safetensors"),
            model.join("pytorch_model.bin"),
        )
        .unwrap();
    });
    assert!(
        message.contains("pytorch_model.bin") && message.contains("can run code"),
        "{message}"
    );
    assert!(message.contains("safetensors"), "{message}");
}

#[test]
fn a_truncated_or_damaged_safetensors_is_named() {
    let truncated = |keep: usize| {
        failure(|model| {
            let path = model.join("model.safetensors");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..keep.min(bytes.len() - 1)]).unwrap();
        })
    };
    for keep in [0, 4, 100, 5000, usize::MAX] {
        let message = truncated(keep);
        assert!(
            message.contains("model.safetensors") && message.contains("cut off"),
            "{message}"
        );
    }
}

#[test]
fn a_model_folder_that_is_missing_or_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = copied(folder.path(), |_| {});
    for (path, word) in [
        (folder.path().join("nowhere"), "no such folder"),
        (folder.path().join("model/config.json"), "is a file"),
        (folder.path().to_owned(), "config.json"),
    ] {
        config.model.path = Some(path.display().to_string());
        let message = train(&config).error();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn shards_are_read_through_their_index_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let shard = |model: &Path| {
        let bytes = std::fs::read(model.join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut halves = [Vec::new(), Vec::new()];
        let mut map = serde_json::Map::new();
        for (index, (name, view)) in file.tensors().into_iter().enumerate() {
            map.insert(
                name.clone(),
                json!(format!("model-{}.safetensors", index % 2)),
            );
            halves[index % 2].push((name, view));
        }
        for (index, half) in halves.into_iter().enumerate() {
            let path = model.join(format!("model-{index}.safetensors"));
            safetensors::serialize_to_file(half, None, &path).unwrap();
        }
        let index = json!({ "metadata": {}, "weight_map": map });
        std::fs::write(
            model.join("model.safetensors.index.json"),
            index.to_string(),
        )
        .unwrap();
        std::fs::remove_file(model.join("model.safetensors")).unwrap();
    };
    let mut sharded = copied(folder.path(), shard);
    sharded.train.max_steps = 2;
    let mut whole = sharded.clone();
    whole.model.path = Some(goldens().join("qwen2/model").display().to_string());
    whole.train.output = folder.path().join("whole").display().to_string();
    assert_eq!(train(&sharded).losses(), train(&whole).losses());
    std::fs::remove_file(folder.path().join("model/model-1.safetensors")).unwrap();
    let message = train(&sharded).error();
    assert!(
        message.contains("model-1.safetensors") && message.contains("missing"),
        "{message}"
    );
}

#[test]
fn data_without_a_supervised_token_is_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [json!({ "input_ids": [3, 4, 5], "labels": [-100, -100, -100] })];
    let run = train(&config("qwen2", folder.path(), &rows));
    assert!(
        run.events.iter().all(|event| event.name() == "log"),
        "{:?}",
        run.events
    );
    assert_eq!(run.result.unwrap_err().code(), "no_supervised_token");
    assert!(!folder.path().join("run/adapter").exists());
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("qwen2", folder.path(), &random_rows(4, 20, 1));
    config.train.method = Method::Full;
    config.train.learning_rate = 10.0;
    config.train.max_grad_norm = 0.0;
    config.train.adam_epsilon = 1e-20;
    config.train.max_steps = 400;
    config.train.save_steps = 1;
    config.train.weight_decay = 10.0;
    let run = train(&config);
    let message = run.error();
    let steps = run.losses().len();
    assert!(
        message.contains(&format!("step {}", steps + 1)),
        "{message}"
    );
    if steps > 0 {
        assert!(
            message.contains(&format!("checkpoint-{steps} is kept")),
            "{message}"
        );
        assert!(
            folder
                .path()
                .join(format!("run/checkpoint-{steps}"))
                .is_dir()
        );
    }
    assert_eq!(run.result.unwrap_err().code(), "non_finite_loss");
}

#[test]
fn tokens_beyond_the_vocabulary_and_samples_beyond_the_positions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [json!({ "input_ids": [3, 999], "labels": [3, 999] })];
    let message = train(&config("qwen2", folder.path(), &rows)).error();
    assert!(message.contains("999"), "{message}");
    let mut long = config("qwen2", folder.path(), &random_rows(1, 1000, 1));
    long.data.max_seq_length = 2000;
    let message = train(&long).error();
    assert!(message.contains("256 positions"), "{message}");
}

#[test]
fn a_module_to_save_that_is_not_there_is_refused_and_those_that_are_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("qwen2", folder.path(), &random_rows(2, 20, 1));
    config.lora.modules_to_save = vec!["norm".into(), "q_porj".into()];
    let message = train(&config).error();
    for word in [
        "lora.modules_to_save",
        "\"q_porj\"",
        "q_proj",
        "norm",
        "embed_tokens",
        "lm_head",
    ] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_run_for_a_gpu_is_refused_by_a_build_without_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("qwen2", folder.path(), &random_rows(2, 20, 1));
    config.model.path = Some("is not there".into());
    config.model.device = "cuda:1".into();
    assert_eq!(engine::check_config(&config), Ok(()));
    let message = train(&config).error();
    assert!(
        message.contains("model.device: this build runs on the CPU only"),
        "{message}"
    );
}

#[test]
fn every_option_that_is_not_done_yet_is_refused_by_its_field() {
    let base = || {
        let mut config = RunConfig::default();
        config.model.path = Some("model".into());
        config.data.path = Some("data".into());
        config.train.output = "run".into();
        config
    };
    assert_eq!(engine::check_config(&base()), Ok(()));
    type Change = fn(&mut RunConfig);
    let change: &[(&str, Change)] = &[
        ("data.packing", |c| {
            c.data.packing = true;
            c.train.method = Method::Dpo;
        }),
        ("data.overflow", |c| {
            c.data.overflow = domain::Overflow::Split;
            c.train.method = Method::Orpo;
        }),
        ("data.streaming", |c| {
            c.data.streaming = true;
            c.train.max_steps = 1;
            c.train.method = Method::Orpo;
        }),
        ("lora.init_lora_weights", |c| {
            c.lora.init_lora_weights = domain::InitLoraWeights::Named("pissa".into());
            c.model.quantize = Some(domain::Quantize::Nf4);
        }),
        ("train.load_best_model_at_end", |c| {
            c.train.load_best_model_at_end = true
        }),
        ("train.early_stopping_patience", |c| {
            c.train.early_stopping_patience = 2
        }),
        ("lora", |c| {
            c.train.method = Method::Full;
            c.lora.r = 4;
        }),
    ];
    for &(field, change) in change {
        let mut config = base();
        change(&mut config);
        let errors = engine::check_config(&config).expect_err(field);
        assert!(
            errors.0.iter().any(|error| error.field == field),
            "{field}: {errors}"
        );
    }
}

#[test]
fn targets_that_name_no_layer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("qwen2", folder.path(), &random_rows(2, 20, 1));
    config.lora.target_modules = domain::TargetModules::List(vec!["c_attn".into()]);
    let message = train(&config).error();
    assert!(
        message.contains("c_attn") && message.contains("q_proj"),
        "{message}"
    );
}
