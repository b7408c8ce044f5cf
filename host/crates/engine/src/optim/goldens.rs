//! Optimizers and schedules held to the numbers of PyTorch, Transformers and lion-pytorch
//! (`tests/fixtures/goldens/make_training_goldens.py`).

use std::path::Path;

use candle_core::{Device, Tensor};
use domain::{Optim, RunConfig, TrainConfig};
use serde::Deserialize;

use super::{Optimizer, Schedule};
use crate::model::Parameter;

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
    serde_json::from_slice(&std::fs::read(path.join(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Golden {
    shapes: Vec<Vec<usize>>,
    start: Vec<Vec<f32>>,
    rates: Vec<f64>,
    gradients: Vec<Vec<Vec<f32>>>,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    momentum: f64,
    weight_decay: f64,
    after: std::collections::BTreeMap<String, Vec<Vec<Vec<f32>>>>,
}

impl Golden {
    fn config(&self, optim: Optim) -> RunConfig {
        RunConfig {
            train: TrainConfig {
                optim,
                adam_beta1: self.beta1,
                adam_beta2: self.beta2,
                adam_epsilon: self.epsilon,
                momentum: self.momentum,
                weight_decay: self.weight_decay,
                ..TrainConfig::default()
            },
            ..RunConfig::default()
        }
    }

    /// The parameters at the start, the first called lora_A, the second lora_B.
    fn parameters(&self) -> Vec<Parameter> {
        let names = ["lora_A", "lora_B", "norm"];
        let tensors = self.start.iter().zip(&self.shapes).zip(names);
        tensors
            .map(|((values, shape), name)| {
                let value =
                    Tensor::from_vec(values.clone(), shape.as_slice(), &Device::Cpu).unwrap();
                Parameter::trainable(name.into(), &value).unwrap()
            })
            .collect()
    }

    fn step(&self, optimizer: &mut Optimizer, parameters: &[Parameter], at: usize) {
        let gradients = self.gradients[at].iter().zip(&self.shapes);
        let held: Vec<Parameter> = parameters
            .iter()
            .zip(gradients)
            .map(|(parameter, (values, shape))| Parameter {
                // Clipping by a half: the factor belongs to the update.
                grad: Some(
                    (Tensor::from_vec(values.clone(), shape.as_slice(), &Device::Cpu).unwrap()
                        * 2.0)
                        .unwrap(),
                ),
                ..parameter.clone()
            })
            .collect();
        let held: Vec<&Parameter> = held.iter().collect();
        optimizer.step(&held, self.rates[at], 0.5).unwrap();
    }
}

fn values(parameters: &[Parameter]) -> Vec<Vec<f32>> {
    let flat = parameters
        .iter()
        .map(|parameter| parameter.value.flatten_all().unwrap());
    flat.map(|values| values.to_vec1().unwrap()).collect()
}

const ALL: [(Optim, &str); 4] = [
    (Optim::Adamw, "adamw"),
    (Optim::Lion, "lion"),
    (Optim::Sgd, "sgd"),
    (Optim::Adafactor, "adafactor"),
];

#[test]
fn every_step_of_every_optimizer_is_that_of_its_reference() {
    let golden: Golden = read("optimizers.json");
    for (optim, name) in ALL {
        let parameters = golden.parameters();
        let held: Vec<&Parameter> = parameters.iter().collect();
        let mut optimizer = Optimizer::new(&golden.config(optim), &held).unwrap();
        for (at, expected) in golden.after[name].iter().enumerate() {
            golden.step(&mut optimizer, &parameters, at);
            for (got, expected) in values(&parameters)
                .concat()
                .iter()
                .zip(expected.concat().iter())
            {
                assert!(
                    (got - expected).abs() < 2e-6 * expected.abs().max(1.0),
                    "{name} step {}: {got}, expected {expected}",
                    at + 1
                );
            }
        }
    }
}

#[test]
fn every_optimizer_goes_on_bit_by_bit_from_what_it_saved() {
    let golden: Golden = read("optimizers.json");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    for (optim, name) in ALL {
        let config = golden.config(optim);
        let parameters = golden.parameters();
        let held: Vec<&Parameter> = parameters.iter().collect();
        let mut optimizer = Optimizer::new(&config, &held).unwrap();
        (0..3).for_each(|at| golden.step(&mut optimizer, &parameters, at));
        optimizer.save(&path, &held).unwrap();
        let copies: Vec<Parameter> = parameters
            .iter()
            .map(|parameter| {
                let value = crate::ops::copy(&parameter.value).unwrap();
                Parameter::trainable(parameter.name.clone(), &value).unwrap()
            })
            .collect();
        let mut resumed = Optimizer::load(&config, &held, &path, 3).unwrap();
        for at in 3..6 {
            golden.step(&mut optimizer, &parameters, at);
            golden.step(&mut resumed, &copies, at);
        }
        assert_eq!(values(&parameters), values(&copies), "{name}");
    }
}

#[test]
fn loraplus_moves_b_and_vectors_at_its_multiple_of_the_rate() {
    let golden: Golden = read("optimizers.json");
    let moved = |ratio: Option<f64>, rate: f64| {
        let parameters = golden.parameters();
        let held: Vec<&Parameter> = parameters.iter().collect();
        let mut config = golden.config(Optim::Adamw);
        config.lora.loraplus_lr_ratio = ratio;
        let mut optimizer = Optimizer::new(&config, &held).unwrap();
        optimizer.step(&held, rate, 1.0).unwrap();
        golden.step(&mut optimizer, &parameters, 0);
        values(&parameters)
    };
    let golden_rate = golden.rates[0];
    let plain = moved(None, golden_rate);
    let plus = moved(Some(16.0), golden_rate);
    assert_eq!(plain[0], plus[0], "A keeps the rate");
    for at in [1, 2] {
        let start = &golden.start[at];
        let decay = if at == 1 { golden.weight_decay } else { 0.0 };
        for i in 0..start.len() {
            // Two steps, the first without a gradient: what Adam's move adds to the decay grows by the ratio.
            let kept =
                |ratio: f64| f64::from(start[i]) * (1.0 - ratio * golden_rate * decay).powi(2);
            let slow = f64::from(plain[at][i]) - kept(1.0);
            let fast = f64::from(plus[at][i]) - kept(16.0);
            assert!((fast - 16.0 * slow).abs() < 2e-5, "{slow} {fast}");
        }
    }
}

#[derive(Deserialize)]
struct Rates {
    #[serde(flatten)]
    train: serde_json::Map<String, serde_json::Value>,
    total: u64,
    rates: Vec<f64>,
}

#[test]
fn every_rate_of_every_schedule_is_that_of_transformers() {
    let cases: Vec<Rates> = read("schedules.json");
    assert!(cases.len() >= 30);
    for case in cases {
        let train: TrainConfig =
            serde_json::from_value(serde_json::Value::Object(case.train.clone())).unwrap();
        let schedule = Schedule::new(&train, case.total);
        for (step, expected) in case.rates.iter().enumerate() {
            let got = schedule.rate(step as u64);
            assert!(
                (got - expected).abs() < 1e-15,
                "{:?} step {step}: {got}, expected {expected}",
                case.train
            );
        }
    }
}

#[test]
fn a_warmup_ratio_is_that_share_of_all_steps_rounded_up() {
    let mut train = TrainConfig {
        warmup_ratio: 0.21,
        ..TrainConfig::default()
    };
    let by_ratio = Schedule::new(&train, 10);
    train.warmup_steps = 3;
    let by_steps = Schedule::new(&train, 10);
    for step in 0..10 {
        assert_eq!(by_ratio.rate(step), by_steps.rate(step));
    }
}
