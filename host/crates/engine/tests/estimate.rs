//! The estimate of a run's peak memory against the peak of a fresh process that does the run.

use std::path::Path;
use std::process::Command;

use domain::{
    LoraConfig, Method, ModelDtype, Quantize, RunConfig, RunEvent, TargetModules, TokenIndices,
};
use engine::bench::{Shape, make_model};
use engine::{StopFlag, TrainOptions, estimate, train};

/// Where a child process finds its run.
const RUN: &str = "CODETUNE_TEST_RUN";

/// A model of some ten million parameters with random weights, data of `samples` rows of `len` tokens, and their run.
fn run(folder: &Path, layers: usize, vocab: usize, samples: usize, len: usize) -> RunConfig {
    let model = folder.join("model");
    let shape = Shape {
        hidden_size: 384,
        intermediate_size: 1024,
        num_hidden_layers: layers,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        vocab_size: vocab,
        max_position_embeddings: 4096,
        ..Shape::default()
    };
    make_model(&shape, &model).unwrap();
    let rows: String = (0..samples)
        .map(|row| {
            let ids: Vec<usize> = (0..len).map(|i| (i * 31 + row * 7) % vocab).collect();
            serde_json::json!({ "input_ids": ids, "labels": ids }).to_string() + "\n"
        })
        .collect();
    let data = folder.join("data.jsonl");
    std::fs::write(&data, rows).unwrap();
    let mut config = RunConfig::default();
    config.model.path = Some(model.display().to_string());
    config.data.path = Some(data.display().to_string());
    config.data.format = domain::DataFormat::Tokenized;
    config.data.max_seq_length = 4096;
    config.train.output = folder.join("run").display().to_string();
    config.train.max_steps = 1;
    config.train.batch_size = 2;
    config
}

/// Does the run that the parent names, and says what it took. Not a test of its own.
#[test]
#[ignore = "needs a parent process that names a run"]
fn child() {
    let Ok(path) = std::env::var(RUN) else { return };
    let config = RunConfig::from_toml(&std::fs::read_to_string(path).unwrap(), &[]).unwrap();
    let options = TrainOptions {
        run: "child".into(),
        ..TrainOptions::default()
    };
    train(&config, &options, &StopFlag::new(), &mut |event| {
        if let RunEvent::Step { loss, .. } = event {
            println!("loss {loss}");
        }
    })
    .unwrap();
    // Not `getrusage`, whose figure a child takes over from the process that started it.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    println!("peak {}", kib * 1024);
}

/// Peak in bytes of a fresh process that does the run, and its losses.
fn measured(folder: &Path, config: &RunConfig) -> (f64, Vec<f64>) {
    let path = folder.join("RUN.toml");
    let mut text = config.to_toml();
    // An adapter to go on from brings the rest of its section, which must not be named beside it.
    if let Some(adapter) = &config.lora.init_adapter {
        let from = text.find("[lora]").unwrap();
        let to = from + text[from..].find("[train]").unwrap();
        text.replace_range(from..to, &format!("[lora]\ninit_adapter = {adapter:?}\n"));
    }
    std::fs::write(&path, text).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(RUN, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let numbers = |word: &str| -> Vec<f64> {
        let lines = text.lines().filter_map(|line| line.split_once(word));
        lines
            .map(|(_, number)| number.trim().parse().unwrap())
            .collect()
    };
    (numbers("peak ")[0], numbers("loss "))
}

fn assert_near(what: &str, folder: &Path, config: &RunConfig) -> (f64, Vec<f64>) {
    let estimated = estimate(config).unwrap();
    let (peak, losses) = measured(folder, config);
    let off = estimated.total as f64 / peak - 1.0;
    println!(
        "{what}: measured {:.1} MB, off by {:+.1} %: {estimated:?}",
        peak / 1e6,
        off * 100.0
    );
    assert!(
        off.abs() < 0.15,
        "{what}: {estimated:?}, measured {peak}, off by {off}"
    );
    (peak, losses)
}

#[cfg(target_os = "linux")]
#[test]
fn the_estimate_is_within_15_percent_of_the_peak_on_five_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let lora = run(folder.path(), 8, 4096, 8, 512);
    assert_near("f32", folder.path(), &lora);
    let mut half = lora.clone();
    half.model.dtype = ModelDtype::Bf16;
    half.train.batch_size = 4;
    assert_near("bf16, batch of 4", folder.path(), &half);
    let mut packed = lora.clone();
    packed.model.quantize = Some(Quantize::Nf4);
    assert_near("nf4", folder.path(), &packed);
    let mut full = lora.clone();
    full.train.method = Method::Full;
    full.lora = LoraConfig::default();
    full.train.batch_size = 1;
    assert_near("full", folder.path(), &full);

    let folder = tempfile::tempdir().unwrap();
    let wide = run(folder.path(), 4, 32_768, 4, 1500);
    assert_near("large vocabulary, long sequences", folder.path(), &wide);
}

/// The same with pairs of `len` words in each answer, and the tokenizer that they need.
fn paired(folder: &Path, method: Method, pairs: usize, len: usize) -> RunConfig {
    let mut config = run(folder, 8, 4096, 1, 8);
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let from = goldens.join("preference/tokenizer").join(name);
        std::fs::copy(from, folder.join("model").join(name)).unwrap();
    }
    let words = |from: usize, count: usize| -> String {
        let word = |i: usize| format!("t{}", 3 + (from + 7 * i) % 300);
        (0..count).map(word).collect::<Vec<_>>().join(" ")
    };
    let rows: String = (0..pairs)
        .map(|row| {
            let (chosen, rejected) = (words(row + 1, len), words(row + 2, len * 3 / 4));
            let row = serde_json::json!({ "prompt": words(row, len / 4), "chosen": chosen, "rejected": rejected });
            row.to_string() + "\n"
        })
        .collect();
    std::fs::write(folder.join("data.jsonl"), rows).unwrap();
    config.data.format = domain::DataFormat::Preference;
    config.train.method = method;
    config
}

#[cfg(target_os = "linux")]
#[test]
fn the_estimate_is_within_15_percent_for_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let dpo = paired(folder.path(), Method::Dpo, 4, 400);
    let (_, losses) = assert_near("dpo", folder.path(), &dpo);
    let mut orpo = dpo.clone();
    orpo.train.method = Method::Orpo;
    assert_near("orpo", folder.path(), &orpo);
    let mut held = dpo.clone();
    held.lora.init_adapter = Some(format!("{}/adapter", dpo.train.output));
    held.train.output += "-on";
    assert_near("dpo that goes on with an adapter", folder.path(), &held);

    let whole = estimate(&dpo).unwrap();
    let mut limited = dpo.clone();
    limited.model.memory_limit = Some(format!("{}", whole.total - whole.activations * 17 / 20));
    let arranged = estimate(&limited).unwrap();
    assert_eq!(
        (arranged.batch_size, arranged.gradient_accumulation_steps),
        (1, 2),
        "{arranged:?}"
    );
    let (_, near) = assert_near("dpo under a limit", folder.path(), &limited);
    assert!((near[0] - losses[0]).abs() < 1e-5, "{near:?}, {losses:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_estimate_is_within_15_percent_for_data_that_is_read_while_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut streamed = run(folder.path(), 8, 4096, 8, 512);
    streamed.data.streaming = true;
    streamed.train.max_steps = 2;
    let (_, losses) = assert_near("streamed", folder.path(), &streamed);
    let mut packed = streamed.clone();
    packed.data.packing = true;
    packed.data.max_seq_length = 1024;
    assert_near("streamed and packed", folder.path(), &packed);

    let whole = estimate(&streamed).unwrap();
    let mut limited = streamed.clone();
    limited.model.memory_limit = Some(format!("{}", whole.total - whole.activations / 2));
    let arranged = estimate(&limited).unwrap();
    assert!(
        arranged.segment > 0 && arranged.batch_size == 2,
        "{arranged:?}"
    );
    let (_, same) = assert_near("streamed under a limit", folder.path(), &limited);
    assert_eq!(same, losses);
}

#[cfg(target_os = "linux")]
#[test]
fn the_estimate_is_within_15_percent_for_adapters_that_keep_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut dora = run(folder.path(), 8, 4096, 8, 512);
    dora.lora.use_dora = true;
    dora.lora.lora_dropout = 0.1;
    assert_near("DoRA with dropout", folder.path(), &dora);
    let folder = tempfile::tempdir().unwrap();
    let mut saved = run(folder.path(), 8, 16_384, 8, 512);
    saved.lora.modules_to_save = vec!["embed_tokens".into(), "lm_head".into()];
    assert_near("modules saved whole", folder.path(), &saved);
    let folder = tempfile::tempdir().unwrap();
    let mut layers = run(folder.path(), 8, 4096, 8, 512);
    layers.lora.modules_to_save = vec!["norm".into(), "mlp".into()];
    assert_near(
        "feed-forwards and norms saved whole",
        folder.path(),
        &layers,
    );
}

#[cfg(target_os = "linux")]
#[test]
fn the_estimate_is_within_15_percent_where_rows_of_tokens_and_biases_train() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = run(folder.path(), 8, 16_384, 8, 512);
    rows.lora.lora_bias = true;
    rows.lora.trainable_token_indices = Some(TokenIndices::List((0..12_000).collect()));
    assert_near("rows of tokens and biases of B", folder.path(), &rows);
}

#[cfg(target_os = "linux")]
#[test]
fn the_estimate_is_within_15_percent_over_a_base_that_an_adapter_brought_more_tokens_for() {
    let folder = tempfile::tempdir().unwrap();
    let larger = folder.path().join("larger");
    std::fs::create_dir(&larger).unwrap();
    let mut first = run(&larger, 8, 24_576, 2, 64);
    let named = ["q_proj", "v_proj", "embed_tokens", "lm_head"];
    first.lora.target_modules = TargetModules::List(named.map(str::to_owned).to_vec());
    measured(&larger, &first);

    let mut resized = run(folder.path(), 8, 4096, 8, 512);
    let smaller = estimate(&resized).unwrap();
    resized.lora.init_adapter = Some(format!("{}/adapter", first.train.output));
    let brought = estimate(&resized).unwrap();
    assert_eq!(
        brought.base - smaller.base,
        (24_576 - 4096) * 384 * 4,
        "the embedding, which is the head, in f32"
    );
    assert_near("a base with more tokens", folder.path(), &resized);
    resized.model.quantize = Some(Quantize::Nf4);
    resized.train.output += "-packed";
    assert_near("the same, packed", folder.path(), &resized);
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_is_kept_by_segments_and_smaller_batches_and_the_losses_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut free = run(folder.path(), 8, 4096, 8, 512);
    free.train.max_steps = 2;
    let (_, losses) = measured(folder.path(), &free);
    let whole = estimate(&free).unwrap();
    assert_eq!((whole.segment, whole.batch_size), (0, 2));
    let mut segments = free.clone();
    segments.model.memory_limit = Some(format!("{}", whole.total - whole.activations / 2));
    let arranged = estimate(&segments).unwrap();
    assert!(
        arranged.segment > 0 && arranged.batch_size == 2,
        "{arranged:?}"
    );
    let (_, same) = assert_near("segments", folder.path(), &segments);
    // Computed again from the same inputs in the same order: the same bits.
    assert_eq!(same, losses);

    let mut smaller = free.clone();
    smaller.model.memory_limit = Some(format!("{}", whole.total - whole.activations * 17 / 20));
    let arranged = estimate(&smaller).unwrap();
    assert_eq!(
        (arranged.batch_size, arranged.gradient_accumulation_steps),
        (1, 2),
        "{arranged:?}"
    );
    let (_, near) = assert_near("smaller batches", folder.path(), &smaller);
    for (a, b) in near.iter().zip(&losses) {
        assert!((a - b).abs() < 1e-5, "{a}, {b}");
    }

    let mut none = free.clone();
    none.model.memory_limit = Some("30MB".into());
    let error = estimate(&none).unwrap_err().to_string();
    let enough = error
        .split_once("needs ")
        .and_then(|(_, rest)| rest.split_once("MiB"))
        .map(|(number, _)| format!("{number}MiB"));
    none.model.memory_limit = enough;
    estimate(&none).expect("the smallest limit that the refusal names is enough");
}

#[test]
fn memory_grows_no_faster_than_the_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let activations = |len: usize| {
        let folder = folder.path().join(len.to_string());
        std::fs::create_dir(&folder).unwrap();
        let config = run(&folder, 2, 512, 2, len);
        estimate(&config).unwrap().activations
    };
    let (one, four) = (activations(256), activations(1024));
    assert!(four <= 4 * one, "{one}, {four}");
}
