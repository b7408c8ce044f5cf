use std::collections::BTreeMap;

use domain::RunEvent;

use crate::harness::{config, golden, golden_rows, goldens, tensors, train};

/// As the goldens were trained with, and by default.
const ADAM_EPSILON: f32 = 1e-8;

/// Every folder with a case.
fn cases() -> Vec<String> {
    let mut cases: Vec<String> = std::fs::read_dir(goldens())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("golden.safetensors").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert!(cases.len() >= 9, "{cases:?}");
    cases
}

fn golden_config(case: &str, folder: &std::path::Path) -> domain::RunConfig {
    let mut config = config(case, folder, &golden_rows(case));
    config.lora.init_adapter = Some(
        goldens()
            .join(case)
            .join("adapter_init")
            .display()
            .to_string(),
    );
    config.train.batch_size = 3;
    config.train.max_steps = 12;
    config.train.learning_rate = 2e-3;
    config.train.weight_decay = 0.01;
    config
}

#[test]
fn every_loss_and_the_trained_adapter_are_those_of_peft() {
    for case in &cases() {
        let folder = tempfile::tempdir().unwrap();
        let run = train(&golden_config(case, folder.path()));
        let report = run.result.as_ref().unwrap();
        let expected = golden(case);
        let losses = run.losses();
        assert_eq!(losses.len(), 12, "{case}");
        for (step, loss) in losses.iter().enumerate() {
            let expected = expected["losses"][step].as_f64().unwrap();
            let error = (loss - expected).abs() / expected;
            assert!(
                error < 2e-5,
                "{case} step {}: {loss}, expected {expected}",
                step + 1
            );
        }
        let norms = run.events.iter().filter_map(|event| match event {
            RunEvent::Step { grad_norm, .. } => Some(*grad_norm),
            _ => None,
        });
        for (step, norm) in norms.enumerate() {
            let expected = expected["grad_norms"][step].as_f64().unwrap();
            assert!(
                (norm - expected).abs() / expected < 1e-4,
                "{case} step {}: norm {norm}",
                step + 1
            );
        }
        let trained = tensors(
            &report
                .adapter
                .as_ref()
                .unwrap()
                .join("adapter_model.safetensors"),
        );
        let mut reference = tensors(
            &goldens()
                .join(case)
                .join("adapter_trained/adapter_model.safetensors"),
        );
        // PEFT saves some modules twice.
        reference.retain(|(name, _)| !name.ends_with(".modules_to_save.weight"));
        assert_eq!(trained.len(), reference.len(), "{case}");
        let first: BTreeMap<String, Vec<f32>> =
            tensors(&goldens().join(case).join("golden.safetensors"))
                .into_iter()
                .collect();
        let (mut all, mut undecided) = (0, 0);
        for ((name, got), (expected_name, expected)) in trained.iter().zip(&reference) {
            assert_eq!(name, expected_name);
            let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
            // Embedding and head of the base do not train, which lie under an adapter or are saved for their own sake.
            let trained = match case.as_str() {
                // One copy by both names.
                "saved-modules-alike" => name.replace("lm_head", "model.embed_tokens"),
                _ => name.clone(),
            };
            let Some(gradient) = first.get(&format!("grad.{trained}")) else {
                assert!(
                    name.ends_with(".weight") && got == expected,
                    "{case} {name}"
                );
                continue;
            };
            // Adam divides by the gradient's own size: where that is below its epsilon, rounding chooses the first
            // step, and PyTorch on another processor misses its own golden by as much as the limit.
            let decided =
                |i: &usize| !(f32::MIN_POSITIVE..ADAM_EPSILON).contains(&gradient[*i].abs());
            all += got.len();
            undecided += (0..got.len()).filter(|i| !decided(i)).count();
            let error = (0..got.len())
                .filter(decided)
                .fold(0f32, |error, i| error.max((got[i] - expected[i]).abs()));
            assert!(
                error < 2e-3 * size,
                "{case} {name}: off by {error}, largest {size}"
            );
        }
        assert!(
            undecided * 50 < all,
            "{case}: {undecided} of {all} elements have no gradient to speak of"
        );
    }
}

#[test]
fn accumulated_micro_batches_weigh_by_tokens_as_one_big_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = golden_config("qwen2", folder.path());
    let whole = train(&config).losses();
    config.train.output = folder.path().join("accumulated").display().to_string();
    config.train.batch_size = 1;
    config.train.gradient_accumulation_steps = 3;
    let accumulated = train(&config).losses();
    for (a, b) in whole.iter().zip(&accumulated) {
        assert!((a - b).abs() / a < 2e-6, "{whole:?}\n{accumulated:?}");
    }
}

#[test]
fn events_follow_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = golden_config("llama-tied", folder.path());
    config.train.max_steps = 3;
    config.train.save_steps = 2;
    config.train.eval_steps = 2;
    config.data.eval_path = config.data.path.clone();
    let run = train(&config);
    let names: Vec<&str> = run
        .events
        .iter()
        .map(RunEvent::name)
        .filter(|name| *name != "log")
        .collect();
    let expected = [
        "started",
        "eval",
        "step",
        "step",
        "eval",
        "checkpoint",
        "step",
        "eval",
        "checkpoint",
        "finished",
    ];
    assert_eq!(names, expected);
    let text = serde_json::to_string(run.events.last().unwrap()).unwrap();
    assert!(
        text.starts_with(r#"{"event":"finished","reason":"max_steps","steps":3,"adapter":"#),
        "{text}"
    );
    let RunEvent::Started {
        trainable_parameters,
        all_parameters,
        supervised_tokens_per_epoch,
        total_steps,
        ..
    } = run
        .events
        .iter()
        .find(|event| event.name() == "started")
        .unwrap()
    else {
        unreachable!()
    };
    // r 8 on seven linears of three layers: 8 · (64+64 + 64+32 + 64+32 + 64+64 + 3 · (64+160)) · 3.
    assert_eq!(
        *trainable_parameters,
        8 * (128 + 96 + 96 + 128 + 3 * 224) * 3
    );
    assert!(all_parameters > trainable_parameters);
    assert_eq!(*total_steps, 3);
    assert_eq!(
        *supervised_tokens_per_epoch,
        (40 - 13) + (29 - 9) + (17 - 5)
    );
}

#[test]
fn two_runs_of_one_seed_are_the_same_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut outputs = Vec::new();
    for name in ["one", "two"] {
        let rows = crate::harness::random_rows(9, 48, 5);
        let mut config = config("llama-tied", folder.path(), &rows);
        config.train.output = folder.path().join(name).display().to_string();
        config.train.batch_size = 2;
        config.train.epochs = 2.0;
        config.lora.lora_dropout = 0.1;
        let run = train(&config);
        let adapter = run.result.unwrap().adapter.unwrap();
        outputs.push(std::fs::read(adapter.join("adapter_model.safetensors")).unwrap());
    }
    assert!(outputs[0] == outputs[1]);
}
