//! Adapters over a base that got more tokens before they were trained, as people add ChatML's: the folder of such an adapter
//! brings their rows and the tokenizer, and the model itself knows nothing of them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use domain::{DataConfig, DataFormat, Method, RunConfig, TargetModules, TokenIndices};
use engine::export::{Format, MAX_SHARD_SIZE, Report, Request, export};
use engine::generate::{GenerateRequest, Generator};
use engine::tokenizer::{BpeTraining, Extension, Tokenizer, extend, train_bpe};
use engine::{Evaluation, evaluate};
use serde_json::{Value, json};

use crate::harness::{config, goldens, tensors, train, write_rows};

const TEXT: &str = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n";
const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn conversation() -> Value {
    json!({ "messages": [
        { "role": "user", "content": "def add(a, b):" },
        { "role": "assistant", "content": "    return a + b" },
    ] })
}

/// A tiny model with random weights and a tokenizer that fills its vocabulary.
fn model(folder: &Path) -> PathBuf {
    let base = folder.join("config");
    std::fs::create_dir(&base).unwrap();
    let training = BpeTraining {
        vocab_size: 300,
        ..Default::default()
    };
    train_bpe(&[TEXT.to_owned()], &training, &base).unwrap();
    let text = std::fs::read_to_string(goldens().join("llama-tied/model/config.json")).unwrap();
    let mut described: Value = serde_json::from_str(&text).unwrap();
    described["vocab_size"] = json!(Tokenizer::load(&base).unwrap().vocab_size());
    std::fs::write(base.join("config.json"), described.to_string()).unwrap();
    let mut config = config("llama-tied", folder, &[json!({ "text": TEXT })]);
    config.model.path = Some(base.display().to_string());
    config.model.random_init = true;
    config.data.format = DataFormat::Text;
    config.train.method = Method::Full;
    config.train.learning_rate = 5e-3;
    config.train.max_steps = 3;
    train(&config).result.unwrap().model.unwrap()
}

/// The model with ChatML's tokens and template.
fn extended(model: &Path, folder: &Path) -> PathBuf {
    let path = folder.join("extended");
    let extension = Extension {
        special_tokens: ["<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let made = extend(model, &extension, &path).unwrap();
    assert_eq!(made.vocab_size, made.old_vocab_size + 2);
    std::fs::write(path.join("chat_template.jinja"), TEMPLATE).unwrap();
    path
}

/// A run on a conversation.
fn run(model: &Path, folder: &Path, name: &str) -> RunConfig {
    let mut config = config("llama-tied", folder, &[conversation()]);
    config.model.path = Some(model.display().to_string());
    config.data.format = DataFormat::Messages;
    config.train.output = folder.join(name).display().to_string();
    config.train.learning_rate = 1e-2;
    config.train.max_steps = 4;
    config
}

/// Trains over the extended model and puts its tokenizer beside the adapter, as other programs do.
fn adapter(extended: &Path, folder: &Path, lora: impl Fn(&mut RunConfig)) -> PathBuf {
    let mut config = run(extended, folder, "first");
    lora(&mut config);
    let adapter = train(&config).result.unwrap().adapter.unwrap();
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        std::fs::copy(extended.join(name), adapter.join(name)).unwrap();
    }
    adapter
}

fn written(model: &Path, adapter: Option<&Path>) -> String {
    let generator = Generator::load(model, adapter).unwrap();
    let request = GenerateRequest {
        prompt: "<|im_start|>user\ndef add(a, b):<|im_end|>\n<|im_start|>assistant\n".into(),
        max_new_tokens: 12,
        add_special_tokens: false,
        ..Default::default()
    };
    let written = generator
        .generate(&request, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    // The markers of the turns are tokens, not letters.
    assert!(written.prompt_tokens < 30, "{written:?}");
    written.text
}

fn measured(model: &Path, adapter: Option<&Path>, folder: &Path) -> Evaluation {
    let data = folder.join("held-out.jsonl");
    write_rows(&data, &[conversation()]);
    let data = DataConfig {
        path: Some(data.display().to_string()),
        format: DataFormat::Messages,
        ..Default::default()
    };
    evaluate(model, adapter, &data).unwrap()
}

fn exported(model: &Path, adapter: &Path, format: Format, output: PathBuf) -> Report {
    let request = Request {
        model: model.to_owned(),
        adapter: Some(adapter.to_owned()),
        format,
        output,
        dtype: None,
        max_shard_size: MAX_SHARD_SIZE,
        force: false,
        verify: true,
    };
    export(&request).unwrap()
}

/// Everything that can be done with the model and the adapter, held to the extended model with the same adapter.
fn hold(model: &Path, extended: &Path, adapter: &Path, folder: &Path) {
    assert_eq!(
        written(model, Some(adapter)),
        written(extended, Some(adapter))
    );
    let (ours, theirs) = (
        measured(model, Some(adapter), folder),
        measured(extended, Some(adapter), folder),
    );
    assert!(
        (ours.loss - theirs.loss).abs() < 1e-6 * theirs.loss,
        "{ours:?} {theirs:?}"
    );
    assert_eq!(ours.supervised_tokens, theirs.supervised_tokens);

    let place = |name: &str| folder.join(name);
    exported(model, adapter, Format::Safetensors, place("ours"));
    exported(extended, adapter, Format::Safetensors, place("theirs"));
    let weights = |name: &str| tensors(&place(name).join("model.safetensors"));
    assert!(weights("ours") == weights("theirs"));
    assert_eq!(written(&place("ours"), None), written(model, Some(adapter)));
    let gguf = place("ours.gguf");
    let report = exported(model, adapter, Format::Gguf, gguf.clone());
    let warned = report
        .warnings
        .iter()
        .any(|told| told.contains("cuts text otherwise"));
    assert!(!warned, "{:?}", report.warnings);
    assert_eq!(written(&gguf, None), written(model, Some(adapter)));
    exported(model, adapter, Format::Peft, place("peft"));
    assert_eq!(
        written(model, Some(&place("peft"))),
        written(model, Some(adapter))
    );
    let card = std::fs::read_to_string(place("peft").join("README.md")).unwrap();
    assert!(card.contains("base.resize_token_embeddings("), "{card}");

    let go_on = |base: &Path, name: &str| {
        let mut config = run(base, folder, name);
        config.lora.init_adapter = Some(adapter.display().to_string());
        train(&config)
    };
    let (ours, theirs) = (go_on(model, "second"), go_on(extended, "second-theirs"));
    for (ours, theirs) in ours.losses().iter().zip(theirs.losses()) {
        assert!((ours - theirs).abs() < 1e-5 * theirs, "{ours} {theirs}");
    }
    // And what came of it is such a folder again.
    let second = ours.result.unwrap().adapter.unwrap();
    assert_eq!(
        written(model, Some(&second)),
        written(extended, Some(&second))
    );
}

#[test]
fn an_adapter_with_embeddings_of_more_tokens_works_over_the_model_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let extended = extended(&model, folder.path());
    let adapter = adapter(&extended, folder.path(), |config| {
        config.lora.modules_to_save = ["embed_tokens", "lm_head"].map(str::to_owned).to_vec();
    });
    hold(&model, &extended, &adapter, folder.path());
    // Without its tokenizer the text is what the model's own makes of it, and the rows of the new tokens wait.
    std::fs::remove_file(adapter.join("tokenizer.json")).unwrap();
    assert!(Generator::load(&model, Some(&adapter)).is_ok());
}

#[test]
fn an_adapter_of_the_embedding_works_over_the_model_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let extended = extended(&model, folder.path());
    let adapter = adapter(&extended, folder.path(), |config| {
        let targets = ["q_proj", "embed_tokens"].map(str::to_owned).to_vec();
        config.lora.target_modules = TargetModules::List(targets);
    });
    hold(&model, &extended, &adapter, folder.path());
}

#[test]
fn an_adapter_that_leaves_out_what_became_of_the_base_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let extended = extended(&model, folder.path());
    let tokens = Tokenizer::load(&extended).unwrap().vocab_size() as u32;
    let told = |adapter: &Path| match Generator::load(&model, Some(adapter)) {
        Ok(_) => panic!("the adapter was to be refused"),
        Err(error) => error.to_string(),
    };
    let halved = adapter(&extended, folder.path(), |config| {
        config.lora.modules_to_save = vec!["embed_tokens".into()];
    });
    let message = told(&halved);
    assert!(message.contains("save_embedding_layers=True"), "{message}");
    let rows = adapter(&extended, folder.path(), |config| {
        let new = vec![tokens - 2, tokens - 1];
        config.lora.trainable_token_indices = Some(TokenIndices::List(new));
    });
    let message = told(&rows);
    assert!(
        message.contains("trainable_token_indices names token"),
        "{message}"
    );
    assert!(message.contains("save_embedding_layers=True"), "{message}");
}
