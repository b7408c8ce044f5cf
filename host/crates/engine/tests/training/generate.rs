use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use domain::Method;
use engine::generate::{GenerateRequest, GenerationEnd, Generator};
use engine::tokenizer::{BpeTraining, train_bpe};

use crate::harness::{config, goldens, train};

const TEXT: &str = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n";

/// A tiny model with a tokenizer that has learned [`TEXT`] by heart.
fn model(folder: &Path) -> PathBuf {
    let base = folder.join("base");
    std::fs::create_dir(&base).unwrap();
    std::fs::copy(
        goldens().join("llama-tied/model/config.json"),
        base.join("config.json"),
    )
    .unwrap();
    let training = BpeTraining {
        vocab_size: 300,
        ..Default::default()
    };
    train_bpe(&[TEXT.to_owned()], &training, &base).unwrap();
    let mut config = config("llama-tied", folder, &[serde_json::json!({ "text": TEXT })]);
    config.model.path = Some(base.display().to_string());
    config.model.random_init = true;
    config.data.format = domain::DataFormat::Text;
    config.train.method = Method::Full;
    config.train.learning_rate = 5e-3;
    config.train.max_steps = 200;
    let report = train(&config).result.unwrap();
    assert!(report.loss.unwrap() < 0.05, "{report:?}");
    report.model.unwrap()
}

fn written(
    generator: &Generator,
    request: &GenerateRequest,
) -> (String, engine::generate::Generation) {
    let mut streamed = String::new();
    let generation = generator
        .generate(request, &mut |piece| {
            streamed.push_str(piece);
            ControlFlow::Continue(())
        })
        .unwrap();
    (streamed, generation)
}

#[test]
fn a_model_writes_what_it_learned_and_obeys_its_request() {
    let folder = tempfile::tempdir().unwrap();
    let generator = Generator::load(&model(folder.path()), None).unwrap();
    let prompt = "def add(a, b):\n".to_owned();
    let request = GenerateRequest {
        prompt,
        max_new_tokens: 60,
        ..Default::default()
    };
    let (streamed, whole) = written(&generator, &request);
    assert_eq!(streamed, whole.text);
    assert!(
        whole.text.starts_with("    return a + b\n\ndef sub(a, b):"),
        "{:?}",
        whole.text
    );
    assert!(whole.prompt_tokens > 0 && whole.new_tokens > 0);

    let stopped = GenerateRequest {
        stop: vec!["\n\ndef".into(), "nowhere".into()],
        ..request.clone()
    };
    let (streamed, generation) = written(&generator, &stopped);
    assert_eq!(generation.text, "    return a + b");
    assert_eq!(
        streamed, generation.text,
        "nothing of the stop text is given out"
    );
    assert_eq!(generation.finish_reason, GenerationEnd::Stop);

    let short = GenerateRequest {
        max_new_tokens: 2,
        ..request.clone()
    };
    let (_, generation) = written(&generator, &short);
    assert_eq!(
        (generation.new_tokens, generation.finish_reason),
        (2, GenerationEnd::Length)
    );

    let mut pieces = 0;
    let cancelled = generator
        .generate(&request, &mut |_| {
            pieces += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(
        (pieces, cancelled.finish_reason),
        (1, GenerationEnd::Cancelled)
    );

    let warm = GenerateRequest {
        temperature: 1.5,
        ..request.clone()
    };
    assert_eq!(written(&generator, &warm).0, written(&generator, &warm).0);

    for (wrong, word) in [
        (
            GenerateRequest {
                temperature: f64::NAN,
                ..request.clone()
            },
            "temperature",
        ),
        (
            GenerateRequest {
                top_p: 0.0,
                ..request.clone()
            },
            "top_p",
        ),
        (
            GenerateRequest {
                max_new_tokens: 0,
                ..request.clone()
            },
            "max_new_tokens",
        ),
        (
            GenerateRequest {
                prompt: "x ".repeat(3000),
                ..request
            },
            "prompt",
        ),
    ] {
        let error = generator
            .generate(&wrong, &mut |_| ControlFlow::Continue(()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn one_set_of_weights_serves_base_and_adapter_and_a_merged_model_writes_as_the_adapter_does() {
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path());
    let rows = [serde_json::json!({ "prompt": "def add(a, b):", "completion": " raise\n" })];
    let mut config = config("llama-tied", folder.path(), &rows);
    config.model.path = Some(base.display().to_string());
    config.data.format = domain::DataFormat::Completion;
    config.train.output = folder.path().join("lora").display().to_string();
    config.train.learning_rate = 5e-3;
    config.train.max_steps = 100;
    let adapter = train(&config).result.unwrap().adapter.unwrap();
    let request = GenerateRequest {
        prompt: "def add(a, b):".into(),
        max_new_tokens: 12,
        ..Default::default()
    };
    let plain = written(&Generator::load(&base, None).unwrap(), &request).0;
    let both = Generator::load(&base, Some(&adapter)).unwrap();
    assert!(both.has_adapter());
    let adapted = written(&both, &request).0;
    assert!(adapted.starts_with(" raise"), "{adapted:?}");
    assert_eq!(
        written(
            &both,
            &GenerateRequest {
                use_adapter: false,
                ..request.clone()
            }
        )
        .0,
        plain
    );

    let merged = folder.path().join("merged");
    let request_of = |format, output: &Path| engine::export::Request {
        model: base.clone(),
        adapter: Some(adapter.clone()),
        format,
        output: output.to_owned(),
        dtype: None,
        max_shard_size: engine::export::MAX_SHARD_SIZE,
        force: false,
        verify: true,
    };
    let merge = request_of(engine::export::Format::Safetensors, &merged);
    engine::export::export(&merge).unwrap();
    assert_eq!(
        written(&Generator::load(&merged, None).unwrap(), &request).0,
        adapted
    );
    let copied = folder.path().join("copied");
    let copy = request_of(engine::export::Format::Peft, &copied);
    engine::export::export(&copy).unwrap();
    assert_eq!(
        written(&Generator::load(&base, Some(&copied)).unwrap(), &request).0,
        adapted
    );
    let error = engine::export::export(&merge).unwrap_err().to_string();
    assert!(error.contains("exists already"), "{error}");
}

#[test]
fn an_adapter_that_does_not_fit_or_cannot_be_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = goldens().join("llama-tied/model");
    let load = |adapter: &Path| match Generator::load(&base, Some(adapter)) {
        Ok(_) => panic!("the adapter was to be refused"),
        Err(error) => error.to_string(),
    };
    assert!(load(&folder.path().join("nowhere")).contains("adapter_config.json"));
    let source = goldens().join("llama-tied/adapter_init");
    let copy = |name: &str, key: &str, value: serde_json::Value| {
        let to = folder.path().join(name);
        std::fs::create_dir(&to).unwrap();
        std::fs::copy(
            source.join("adapter_model.safetensors"),
            to.join("adapter_model.safetensors"),
        )
        .unwrap();
        let text = std::fs::read_to_string(source.join("adapter_config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config[key] = value;
        std::fs::write(to.join("adapter_config.json"), config.to_string()).unwrap();
        to
    };
    assert!(load(&copy("qalora", "use_qalora", true.into())).contains("use_qalora"));
    assert!(load(&copy("bias", "lora_bias", true.into())).contains("lora_B.bias"));
    assert!(load(&copy("rank", "r", 4.into())).contains("r = 4"));
    assert!(load(&copy("type", "peft_type", "IA3".into())).contains("peft_type"));
    assert!(
        load(&copy("corda", "init_lora_weights", "corda".into())).contains("init_lora_weights")
    );
    let tied = copy("tied", "ensure_weight_tying", true.into());
    // No end is adapted: it comes as far as the tokenizer, which this model has not.
    assert!(load(&tied).contains("tokenizer.json"));
    // PEFT puts an adapter with a name into a folder of that name.
    assert!(load(folder.path()).contains("\"bias\" lies in the folder of that name"));
    let pickle = copy("pickle", "r", 8.into());
    std::fs::rename(
        pickle.join("adapter_model.safetensors"),
        pickle.join("adapter_model.bin"),
    )
    .unwrap();
    assert!(load(&pickle).contains("can run code"));
}
