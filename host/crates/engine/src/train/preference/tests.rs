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
