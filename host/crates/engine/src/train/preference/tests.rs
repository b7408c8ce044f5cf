use std::path::Path;

use candle_core::DType;
use domain::DataConfig;

use super::*;
use crate::data::load_pairs;
use crate::lora::read_adapter;
use crate::model::{Loading, Weights};

/// The first step of TRL's trainers from adapter_init: DPO against the bare base, and ORPO.
#[test]
fn loss_rewards_and_every_gradient_are_those_of_trl() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
    let folder = goldens.join("preference");
    let golden: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let data = DataConfig {
        path: Some(folder.join("rows.jsonl").display().to_string()),
        ..DataConfig::default()
    };
    let (pairs, _) = load_pairs(&data, &folder.join("tokenizer"), 0, &mut |_| {}).unwrap();
    assert_eq!(pairs.len(), 4);
    for (method, name, first) in [
        (Method::Dpo, "dpo", "dpo_base_reference"),
        (Method::Orpo, "orpo", "orpo_first"),
    ] {
        let mut decoder = Decoder::load(
            &goldens.join("qwen2/model"),
            Loading {
                dtype: DType::F32,
                trainable: false,
                random: None,
                quantize: None,
            },
        )
        .unwrap();
        read_adapter(&mut decoder, &folder.join("adapter_init"), true).unwrap();
        let train = TrainConfig {
            method,
            beta: 0.3,
            ..TrainConfig::default()
        };
        let preference = Preference::of_run(&train, None).unwrap();
        let totals = Totals::of(pairs.iter());
        let mut tally = preference.tally(totals);
        // In two micro-batches: the step's loss does not depend on how its pairs are spread.
        for half in pairs.chunks(2) {
            let half: Vec<&Pair> = half.iter().collect();
            preference
                .gradient((&Compute::Cpu, &decoder), &half, 0, &mut tally)
                .unwrap();
        }
        let (loss, metrics) = tally.finish();
        let expected = &golden[first];
        let near = |got: f64, expected: f64, what: &str| {
            assert!(
                (got - expected).abs() < 2e-5 * expected.abs().max(0.05),
                "{name} {what}: {got}, expected {expected}"
            );
        };
        near(loss, expected["loss"].as_f64().unwrap(), "loss");
        for (key, value) in &metrics {
            near(*value, expected[key].as_f64().unwrap(), key);
        }
        assert_eq!(metrics.len(), if method == Method::Orpo { 9 } else { 6 });
        let mut weights = Weights::open(&[folder.join("gradients.safetensors")]).unwrap();
        for parameter in decoder.trainable() {
            let key = format!("{name}.{}", parameter.name);
            let expected = weights
                .take(&key, parameter.value.dims(), DType::F32)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            let grad = parameter.grad.as_ref().unwrap().flatten_all().unwrap();
            let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
            assert!(size > 0.0, "{key}");
            for (got, expected) in grad.to_vec1::<f32>().unwrap().iter().zip(&expected) {
                assert!(
                    (got - expected).abs() < 1e-4 * size,
                    "{key}: {got} {expected}"
                );
            }
        }
    }
}

/// A loss of TRL at the first step from adapter_init, by `make_training_goldens.py`.
#[derive(serde::Deserialize)]
struct Golden {
    method: Method,
    loss_type: domain::LossType,
    #[serde(default)]
    label_smoothing: f64,
    cpo_alpha: Option<f64>,
    simpo_gamma: Option<f64>,
    loss: f64,
    metrics: std::collections::BTreeMap<String, f64>,
    grad_norm: f64,
    gradients: std::collections::BTreeMap<String, Vec<f32>>,
}

#[test]
fn every_loss_over_pairs_is_that_of_trl_and_its_gradient_too() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
    let folder = goldens.join("preference");
    let text = std::fs::read_to_string(folder.join("losses.json")).unwrap();
    let cases: Vec<Golden> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 17);
    let data = DataConfig {
        path: Some(folder.join("rows.jsonl").display().to_string()),
        ..DataConfig::default()
    };
    let (pairs, _) = load_pairs(&data, &folder.join("tokenizer"), 0, &mut |_| {}).unwrap();
    for case in cases {
        let mut decoder = Decoder::load(&goldens.join("qwen2/model"), Loading::frozen(DType::F32));
        let decoder = decoder.as_mut().unwrap();
        read_adapter(decoder, &folder.join("adapter_init"), true).unwrap();
        let default = TrainConfig::default();
        let train = TrainConfig {
            method: case.method,
            loss_type: case.loss_type,
            label_smoothing: case.label_smoothing,
            cpo_alpha: case.cpo_alpha.unwrap_or(default.cpo_alpha),
            simpo_gamma: case.simpo_gamma.unwrap_or(default.simpo_gamma),
            beta: 0.3,
            ..default
        };
        let what = format!("{:?} {:?}", case.method, case.loss_type);
        let preference = Preference::of_run(&train, None).unwrap();
        let mut tally = preference.tally(Totals::of(pairs.iter()));
        for half in pairs.chunks(2) {
            let half: Vec<&Pair> = half.iter().collect();
            preference
                .gradient((&Compute::Cpu, decoder), &half, 0, &mut tally)
                .unwrap();
        }
        let (loss, metrics) = tally.finish();
        let near = |got: f64, expected: f64, name: &str| {
            assert!(
                (got - expected).abs() < 5e-5 * expected.abs().max(0.05),
                "{what} {name}: {got}, expected {expected}"
            );
        };
        near(loss, case.loss, "loss");
        for (name, expected) in &case.metrics {
            // TRL tells 0 where the likelihood has no weight.
            let got = metrics.get(name).copied().unwrap_or_default();
            near(got, *expected, name);
        }
        let mut squares = 0f64;
        for parameter in decoder.trainable() {
            let grad = parameter.grad.as_ref().unwrap().flatten_all().unwrap();
            let grad = grad.to_vec1::<f32>().unwrap();
            squares += grad.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let size = grad.iter().fold(0f32, |size, x| size.max(x.abs()));
            for (got, expected) in grad.iter().zip(&case.gradients[&parameter.name]) {
                assert!(
                    (got - expected).abs() < 2e-4 * size,
                    "{what} {}: {got}, expected {expected}",
                    parameter.name
                );
            }
        }
        near(squares.sqrt(), case.grad_norm, "gradient");
    }
}
