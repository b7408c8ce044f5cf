//! Folders, configs and runs for the tests.

use std::path::{Path, PathBuf};

use domain::{LrSchedulerType, RunConfig, RunEvent};
use engine::{Error, Report, StopFlag, TrainOptions, World};
use safetensors::SafeTensors;
use serde_json::{Value, json};

pub(crate) fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens")
}

/// Tensors of a safetensors file by name, as f32.
pub(crate) fn tensors(path: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let floats = view.data().as_chunks::<4>().0.iter();
            (
                name,
                floats.map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            )
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

pub(crate) fn golden(case: &str) -> Value {
    let text = std::fs::read_to_string(goldens().join(case).join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The batch of a golden case as rows of the `tokenized` format.
pub(crate) fn golden_rows(case: &str) -> Vec<Value> {
    let bytes = std::fs::read(goldens().join(case).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let integers = |name: &str| -> Vec<i64> {
        let data = file.tensor(name).unwrap().data();
        data.as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| i64::from_le_bytes(*bytes))
            .collect()
    };
    let width = file.tensor("input_ids").unwrap().shape()[1];
    let (ids, mask, labels) = (
        integers("input_ids"),
        integers("attention_mask"),
        integers("labels"),
    );
    (0..ids.len() / width)
        .map(|row| {
            let at = row * width;
            let len = mask[at..at + width].iter().filter(|&&on| on == 1).count();
            json!({ "input_ids": ids[at..at + len], "labels": labels[at..at + len] })
        })
        .collect()
}

/// Rows of random tokens, every one supervised.
pub(crate) fn random_rows(count: usize, longest: usize, seed: u64) -> Vec<Value> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    (0..count)
        .map(|_| {
            let len = longest / 2 + next() % (longest / 2);
            let ids: Vec<usize> = (0..len).map(|_| 3 + next() % 300).collect();
            json!({ "input_ids": ids, "labels": ids })
        })
        .collect()
}

pub(crate) fn write_rows(path: &Path, rows: &[Value]) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(path, lines).unwrap();
}

/// A config for a golden model, with data and output in `folder`.
pub(crate) fn config(case: &str, folder: &Path, rows: &[Value]) -> RunConfig {
    let data = folder.join("data.jsonl");
    write_rows(&data, rows);
    let mut config = RunConfig::default();
    config.model.path = Some(goldens().join(case).join("model").display().to_string());
    config.data.path = Some(data.display().to_string());
    config.data.format = domain::DataFormat::Tokenized;
    config.train.output = folder.join("run").display().to_string();
    config.train.lr_scheduler_type = LrSchedulerType::Constant;
    config
}

pub(crate) struct Run {
    pub(crate) result: Result<Report, Error>,
    pub(crate) events: Vec<RunEvent>,
}

impl Run {
    pub(crate) fn losses(&self) -> Vec<f64> {
        let losses = self.events.iter().filter_map(|event| match event {
            RunEvent::Step { loss, .. } => Some(*loss),
            _ => None,
        });
        losses.collect()
    }

    pub(crate) fn error(&self) -> String {
        self.result
            .as_ref()
            .expect_err("the run was to fail")
            .to_string()
    }
}

pub(crate) fn train(config: &RunConfig) -> Run {
    train_with(config, false, |_, _| {})
}

/// Trains; `watch` sees every event and may raise the flag.
pub(crate) fn train_with(
    config: &RunConfig,
    resume: bool,
    watch: impl Fn(&RunEvent, &StopFlag),
) -> Run {
    train_in(config, resume, None, watch)
}

/// The same as one of several processes.
pub(crate) fn train_in(
    config: &RunConfig,
    resume: bool,
    world: Option<World>,
    watch: impl Fn(&RunEvent, &StopFlag),
) -> Run {
    let stop = StopFlag::new();
    let mut events = Vec::new();
    let options = TrainOptions {
        run: "test".into(),
        resume,
        world,
        ..TrainOptions::default()
    };
    let result = engine::train(config, &options, &stop, &mut |event| {
        watch(&event, &stop);
        events.push(event);
    });
    Run { result, events }
}
