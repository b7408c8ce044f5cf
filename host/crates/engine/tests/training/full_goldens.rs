use domain::{Method, RunEvent};
use serde_json::Value;

use crate::harness::{config, golden_rows, goldens, tensors, train};

/// What PyTorch made of a model whose every weight it trained: losses, gradient norms, and how far each tensor went.
#[test]
fn every_family_trains_whole_as_in_pytorch() {
    let mut compared = 0;
    for entry in std::fs::read_dir(goldens()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(path.join("full.json")) else {
            continue;
        };
        let expected: Value = serde_json::from_str(&text).unwrap();
        let case = path.file_name().unwrap().to_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(case, folder.path(), &golden_rows(case));
        config.train.method = Method::Full;
        config.train.batch_size = 3;
        config.train.max_steps = 12;
        config.train.learning_rate = 2e-3;
        config.train.weight_decay = 0.01;
        let run = train(&config);
        let report = run.result.as_ref().unwrap();
        let number = |key: &str, step: usize| expected[key][step].as_f64().unwrap();
        for (step, loss) in run.losses().iter().enumerate() {
            let expected = number("losses", step);
            let error = (loss - expected).abs() / expected;
            assert!(
                error < 5e-5,
                "{case} step {step}: {loss}, expected {expected}"
            );
        }
        let norms = run.events.iter().filter_map(|event| match event {
            RunEvent::Step { grad_norm, .. } => Some(*grad_norm),
            _ => None,
        });
        for (step, norm) in norms.enumerate() {
            let expected = number("grad_norms", step);
            let error = (norm - expected).abs() / expected;
            assert!(
                error < 5e-4,
                "{case} step {step}: norm {norm}, expected {expected}"
            );
        }
        let before = tensors(&path.join("model/model.safetensors"));
        let after = tensors(&report.model.as_ref().unwrap().join("model.safetensors"));
        let mut seen = 0;
        for ((name, before), (same, after)) in before.iter().zip(&after) {
            assert_eq!(name, same, "{case}");
            // A bias of keys adds the same to all scores of a query: its gradient is rounding, which Adam makes large.
            if name.ends_with("k_proj.bias") || name.ends_with("c_attn.bias") {
                continue;
            }
            let squares = before
                .iter()
                .zip(after)
                .map(|(x, y)| f64::from(y - x).powi(2));
            let (change, expected) = (squares.sum::<f64>().sqrt(), &expected["changes"][name]);
            let expected = expected
                .as_f64()
                .unwrap_or_else(|| panic!("{case}: no {name}"));
            let error = (change - expected).abs() / expected;
            assert!(
                error < 5e-3,
                "{case} {name}: went {change}, expected {expected}"
            );
            seen += 1;
        }
        assert!(seen > 10, "{case}");
        compared += 1;
    }
    assert!(compared >= 12, "{compared}");
}
