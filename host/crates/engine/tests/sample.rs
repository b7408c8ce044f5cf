//! The shipped sample project: its run validates, its data has labels, its model is small and learns.

use std::path::{Path, PathBuf};

use domain::{RunConfig, RunEvent};
use engine::{StopFlag, TrainOptions, data, evaluate, train};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample")
}

/// The sample's RUN.toml with its paths, which begin at the root of the checkout, made whole.
fn run(overrides: &[String]) -> RunConfig {
    let text = std::fs::read_to_string(sample().join("RUN.toml")).unwrap();
    let root = sample().join("../..");
    let config = RunConfig::from_toml(&text, &[]).expect("the sample's RUN.toml is valid");
    let whole = |path: &Option<String>| root.join(path.as_deref().unwrap()).display().to_string();
    let mut all = vec![
        format!("model.path={}", whole(&config.model.path)),
        format!("data.path={}", whole(&config.data.path)),
        format!("data.eval_path={}", whole(&config.data.eval_path)),
    ];
    all.extend_from_slice(overrides);
    RunConfig::from_toml(&text, &all).unwrap()
}

#[test]
fn the_run_is_one_that_this_engine_can_do() {
    engine::check_config(&run(&[])).unwrap();
}

#[test]
fn every_row_of_the_data_is_learned_from_and_nothing_is_cut() {
    let config = run(&[]);
    let model = Path::new(config.model.path.as_deref().unwrap());
    let loaded = data::load(&config.data, model, config.train.seed).unwrap();
    let report = &loaded.report;
    assert_eq!((report.train_samples, report.eval_samples), (400, 96));
    assert_eq!(
        (
            report.truncated,
            report.dropped_unsupervised,
            report.duplicates
        ),
        (0, 0, 0)
    );
    let shared = |sample| loaded.eval.contains(sample);
    assert!(!loaded.train.iter().any(shared));
}

#[test]
fn the_model_is_at_most_eight_megabytes_in_half_precision() {
    let bytes: u64 = std::fs::read_dir(sample().join("model"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= 8_000_000, "{bytes} bytes");
}

#[test]
fn a_few_steps_of_lora_lower_the_held_out_loss() {
    let output = tempfile::tempdir().unwrap();
    let config = run(&[
        format!("train.output={}", output.path().display()),
        "train.max_steps=10".to_owned(),
        "train.warmup_steps=1".to_owned(),
        "train.eval_steps=0".to_owned(),
    ]);
    let model = Path::new(config.model.path.as_deref().unwrap());
    let held_out = domain::DataConfig {
        path: config.data.eval_path.clone(),
        ..config.data.clone()
    };
    let before = evaluate(model, None, &held_out).unwrap();
    let mut finished = None;
    let options = TrainOptions {
        run: "sample".to_owned(),
        resume: false,
        ..TrainOptions::default()
    };
    train(&config, &options, &StopFlag::default(), &mut |event| {
        if let RunEvent::Finished { adapter, .. } = event {
            finished = adapter;
        }
    })
    .unwrap();
    let adapter = finished.expect("the run ends with an adapter");
    let after = evaluate(model, Some(&adapter), &held_out).unwrap();
    assert!(
        after.loss < 0.85 * before.loss,
        "held-out loss {} before, {} after",
        before.loss,
        after.loss
    );
}

/// Trains a few steps; the first step's loss, and the held-out loss at the end.
fn losses(overrides: &[&str]) -> (f64, f64, Vec<String>) {
    let output = tempfile::tempdir().unwrap();
    let mut all = vec![
        format!("train.output={}", output.path().display()),
        "train.max_steps=8".to_owned(),
        "train.warmup_steps=1".to_owned(),
        "train.eval_steps=0".to_owned(),
    ];
    all.extend(overrides.iter().map(|text| (*text).to_owned()));
    let (mut first, mut logged) = (None, Vec::new());
    let options = TrainOptions {
        run: "sample".to_owned(),
        resume: false,
        ..TrainOptions::default()
    };
    let report = train(
        &run(&all),
        &options,
        &StopFlag::default(),
        &mut |event| match event {
            RunEvent::Step { step: 1, loss, .. } => first = Some(loss),
            RunEvent::Log { message } => logged.push(message),
            _ => {}
        },
    )
    .unwrap();
    (first.unwrap(), report.eval_loss.unwrap(), logged)
}

#[test]
fn a_packed_base_learns_within_two_percent_of_the_f32_one_and_takes_the_bytes_it_promises() {
    let (first, held_out, _) = losses(&[]);
    for (quantize, most) in [("nf4", 0.6), ("q4k", 0.6), ("q8_0", 1.07)] {
        let (packed_first, packed_held_out, logged) =
            losses(&[&format!("model.quantize={quantize}")]);
        for (packed, whole) in [(packed_first, first), (packed_held_out, held_out)] {
            assert!(
                (packed / whole - 1.0).abs() < 0.02,
                "{quantize}: {packed}, in f32 {whole}"
            );
            assert_ne!(packed, whole, "{quantize} changes something");
        }
        let line = logged
            .iter()
            .find(|line| line.contains("is packed"))
            .unwrap();
        let bytes: f64 = line
            .strip_suffix(" bytes a weight")
            .and_then(|line| line.rsplit(' ').next())
            .unwrap()
            .parse()
            .unwrap();
        assert!(bytes <= most, "{line}");
    }
}
