//! Whole runs on the emulated device, held to the same runs on the processor.

mod answers;
mod limits;
mod pairs;
mod ranks;
mod steps;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{LrSchedulerType, Method, Optim, Quantize, RunConfig, RunEvent};

use super::TrainOptions;
use super::trainer;
use crate::Result;
use crate::device::{Emulated, plug};
use crate::{StopFlag, World};

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens")
}

fn config(case: &str, folder: &Path, device: &str) -> RunConfig {
    let data = folder.join("data.jsonl");
    let rows: String = (0..6)
        .map(|row: u32| {
            let ids: Vec<u32> = (0..8 + 5 * row)
                .map(|i| (row * 37 + i * i) % 300 + 3)
                .collect();
            format!(
                "{}\n",
                serde_json::json!({ "input_ids": ids, "labels": ids })
            )
        })
        .collect();
    std::fs::write(&data, rows).unwrap();
    let mut config = RunConfig::default();
    config.model.path = Some(goldens().join(case).join("model").display().to_string());
    config.model.device = device.into();
    config.data.path = Some(data.display().to_string());
    config.data.eval_path = Some(data.display().to_string());
    config.data.format = domain::DataFormat::Tokenized;
    config.lora.r = 4;
    config.train.output = folder.join(device.replace(':', "-")).display().to_string();
    config.train.lr_scheduler_type = LrSchedulerType::Constant;
    config.train.learning_rate = 5e-3;
    config.train.weight_decay = 0.01;
    config.train.batch_size = 4;
    config.train.epochs = 2.0;
    config
}

/// The run's events; `stop_after` raises the flag behind that step.
fn run(
    config: &RunConfig,
    resume: bool,
    stop_after: Option<u64>,
) -> (Result<super::Report>, Vec<RunEvent>) {
    let stop = StopFlag::new();
    let options = TrainOptions {
        resume,
        ..TrainOptions::default()
    };
    let mut events = Vec::new();
    let result = trainer::run(config, &options, &stop, &mut |event| {
        if let RunEvent::Step { step, .. } = &event
            && Some(*step) == stop_after
        {
            stop.stop();
        }
        events.push(event);
    });
    (result, events)
}

fn on_device(machine: Emulated, config: &RunConfig) -> (Result<super::Report>, Vec<RunEvent>) {
    plug(Some(Arc::new(machine)));
    let done = run(config, false, None);
    plug(None);
    done
}

fn losses(events: &[RunEvent]) -> Vec<f64> {
    events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Step { loss, .. } => Some(*loss),
            RunEvent::Eval { eval_loss, .. } => Some(*eval_loss),
            _ => None,
        })
        .collect()
}

fn logged(events: &[RunEvent], words: &str) -> bool {
    events
        .iter()
        .any(|event| matches!(event, RunEvent::Log { message } if message.contains(words)))
}

fn weights(report: &super::Report) -> Vec<u8> {
    std::fs::read(
        report
            .adapter
            .as_ref()
            .unwrap()
            .join("adapter_model.safetensors"),
    )
    .unwrap()
}

fn close(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() < 2e-5 * expected,
            "{got}, expected {expected}"
        );
    }
}

#[test]
fn a_run_on_a_device_trains_and_evaluates_as_on_the_processor() {
    for (optim, quantize) in [
        (Optim::Adamw, None),
        (Optim::Adamw, Some(Quantize::Nf4)),
        (Optim::Lion, None),
        (Optim::Adafactor, None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let with = |device: &str| {
            let mut config = config("qwen2", folder.path(), device);
            config.train.optim = optim;
            config.model.quantize = quantize;
            config.train.eval_steps = 2;
            if optim == Optim::Lion {
                // It goes by signs: rates as high as AdamW's would make a sign of a rounding error count.
                config.train.learning_rate = 1e-4;
            }
            config
        };
        let expected = losses(&run(&with("cpu"), false, None).1);
        let (result, events) = on_device(Emulated::default(), &with("cuda"));
        result.unwrap();
        assert!(
            expected.len() > 4 && logged(&events, "trains on"),
            "{events:?}"
        );
        close(&losses(&events), &expected);
        for event in &events {
            if let RunEvent::Step { metrics, .. } = event {
                assert!(metrics["device_memory_peak_gb"] > 0.0, "{metrics:?}");
                assert!(metrics["model_flops_utilization"] > 0.0, "{metrics:?}");
            }
        }
    }
}

#[test]
fn a_run_stopped_on_a_device_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = config("qwen3", folder.path(), "cuda");
    let (result, events) = on_device(Emulated::default(), &whole);
    let expected = (losses(&events), weights(&result.unwrap()));
    let parted = config("qwen3", folder.path(), "cuda:0");
    plug(Some(Arc::new(Emulated::default())));
    let (first, mut events) = run(&parted, false, Some(2));
    first.unwrap();
    let (second, after) = run(&parted, true, None);
    plug(None);
    events.extend(after);
    // Each of both evaluates at its end alone.
    let steps: Vec<f64> = losses(&events);
    assert_eq!(steps.last(), expected.0.last());
    assert_eq!(weights(&second.unwrap()), expected.1);
}

#[test]
fn a_step_that_does_not_fit_is_made_smaller_and_its_loss_stays() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Arc::new(Emulated::default());
    plug(Some(roomy.clone()));
    let (result, events) = run(&config("qwen2", folder.path(), "cuda"), false, None);
    plug(None);
    result.unwrap();
    let expected = losses(&events);
    let mut smaller = 0;
    for share in [0.9, 0.8, 0.7, 0.6] {
        let limit = (roomy.most() as f64 * share) as usize;
        let machine = Emulated::limited(limit);
        let mut config = config("qwen2", folder.path(), "cuda");
        config.train.output = folder.path().join(format!("{share}")).display().to_string();
        let (result, events) = on_device(machine, &config);
        match result {
            Ok(_) => {
                let before = logged(&events, "layers are kept at a time, by the");
                smaller += usize::from(before || logged(&events, "the step begins anew"));
                close(&losses(&events), &expected);
            }
            Err(error) => assert_eq!(error.code(), "out_of_memory"),
        }
    }
    assert!(smaller > 0);
}

#[test]
fn auto_takes_the_processor_where_a_device_cannot_do_the_run_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("qwen2", folder.path(), "auto");
    let (result, events) = run(&config, false, None);
    result.unwrap();
    assert!(
        logged(
            &events,
            "trains on the CPU: model.device: cuda:0 cannot be had"
        ),
        "{events:?}"
    );

    let (result, events) = on_device(Emulated::limited(1000), &config);
    result.unwrap();
    assert!(logged(&events, "trains on the CPU: "), "{events:?}");

    config.model.device = "cuda".into();
    let (result, _) = on_device(Emulated::limited(1000), &config);
    assert_eq!(result.unwrap_err().code(), "out_of_memory");
}

fn near(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        let error = (got - expected).abs();
        assert!(
            error < 1e-4 * expected.abs().max(1.0),
            "{got}, expected {expected}"
        );
    }
}

#[test]
fn all_weights_and_modules_that_are_saved_whole_train_on_a_device_as_on_the_processor() {
    let full = |config: &mut RunConfig| {
        config.train.method = Method::Full;
        config.lora = domain::LoraConfig::default();
        config.train.learning_rate = 5e-4;
        config.train.neftune_noise_alpha = 3.0;
    };
    let saved = |config: &mut RunConfig| {
        let names = ["embed_tokens", "lm_head", "norm", "up_proj"];
        config.lora.modules_to_save = names.map(str::to_owned).to_vec();
    };
    let changes: [&dyn Fn(&mut RunConfig); 2] = [&full, &saved];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        let with = |device: &str| {
            let mut config = config("qwen3", folder.path(), device);
            change(&mut config);
            config
        };
        let (result, events) = run(&with("cpu"), false, None);
        result.unwrap();
        let expected = losses(&events);
        let (result, events) = on_device(Emulated::default(), &with("cuda"));
        result.unwrap();
        assert!(logged(&events, "trains on"), "{events:?}");
        near(&losses(&events), &expected);
    }
}

/// Every process's events of a run that three of them share.
fn together(of: impl Fn(&'static str) -> RunConfig) -> [Vec<RunEvent>; 3] {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let start = |rank: usize, device: &'static str| {
        let config = of(device);
        let options = TrainOptions {
            world: Some(World {
                rank,
                size: 3,
                local_rank: 0,
                address: "127.0.0.1".into(),
                port,
                patience: World::PATIENCE,
            }),
            ..TrainOptions::default()
        };
        move || {
            plug(Some(Arc::new(Emulated::default())));
            let mut events = Vec::new();
            let result = trainer::run(&config, &options, &StopFlag::new(), &mut |event| {
                events.push(event)
            });
            plug(None);
            result.unwrap();
            events
        }
    };
    let ranks = [start(0, "cuda"), start(1, "cuda"), start(2, "cpu")];
    ranks
        .map(std::thread::spawn)
        .map(|thread| thread.join().unwrap())
}

#[test]
fn processes_on_devices_and_on_the_processor_train_together_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let expected = losses(&run(&config("qwen2", folder.path(), "cpu"), false, None).1);
    let all = together(|device| {
        let mut config = config("qwen2", folder.path(), device);
        config.train.output = folder.path().join("together").display().to_string();
        config
    });
    for (rank, events) in all.iter().enumerate() {
        close(&losses(events), &expected);
        let by_network = logged(events, "gradients go over the network");
        assert_eq!(by_network, rank < 2, "{events:?}");
    }
}

#[test]
fn layers_are_kept_by_the_memory_that_is_left_before_any_step_fails() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Arc::new(Emulated::default());
    plug(Some(roomy.clone()));
    let with = |output: &str| {
        let mut config = config("qwen2", folder.path(), "cuda");
        config.train.output = folder.path().join(output).display().to_string();
        config
    };
    let (result, events) = run(&with("roomy"), false, None);
    plug(None);
    result.unwrap();
    let expected = losses(&events);
    // Less than is counted on for all layers, and more than one layer takes.
    let (result, events) = on_device(Emulated::limited(roomy.most()), &with("tight"));
    result.unwrap();
    assert!(
        logged(&events, "layers are kept at a time, by the"),
        "{events:?}"
    );
    assert!(!logged(&events, "the step begins anew"), "{events:?}");
    close(&losses(&events), &expected);
}
