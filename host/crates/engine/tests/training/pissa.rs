use std::collections::BTreeMap;

use domain::{InitLoraWeights, RunConfig, TargetModules};
use engine::export::{Format, MAX_SHARD_SIZE, Request, export};
use serde_json::Value;

use crate::harness::{config, golden_rows, goldens, tensors, train};

/// The run that `fresh.json` of a case tells of.
fn fresh(case: &str, folder: &std::path::Path) -> RunConfig {
    let path = goldens()
        .join(case)
        .join("adapter_init/adapter_config.json");
    let peft: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut config = config(case, folder, &golden_rows(case));
    config.lora.r = 4;
    config.lora.lora_alpha = 16.0;
    let init = case.split('-').next().unwrap();
    config.lora.init_lora_weights = InitLoraWeights::Named(init.into());
    let targets = serde_json::from_value(peft["target_modules"].clone()).unwrap();
    config.lora.target_modules = TargetModules::List(targets);
    config.lora.use_dora = peft["use_dora"] == true;
    config.lora.use_rslora = peft["use_rslora"] == true;
    config.train.batch_size = 3;
    config.train.max_steps = 12;
    config.train.learning_rate = 2e-3;
    config.train.weight_decay = 0.01;
    config
}

/// A and B are unique but for the signs of their rows and columns, which no step of training sees: the losses and the
/// merged weights are what can be compared.
#[test]
fn pissa_and_olora_train_as_in_peft_and_every_export_holds_what_was_trained() {
    for case in ["pissa", "pissa-rslora-dora", "olora"] {
        let folder = tempfile::tempdir().unwrap();
        let config = fresh(case, folder.path());
        let run = train(&config);
        let adapter = run.result.as_ref().unwrap().adapter.clone().unwrap();
        let path = goldens().join(case).join("fresh.json");
        let expected: Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let losses = run.losses();
        assert_eq!(losses.len(), 12);
        for (step, loss) in losses.iter().enumerate() {
            let expected = expected["losses"][step].as_f64().unwrap();
            let error = (loss - expected).abs() / expected;
            assert!(
                error < 2e-5,
                "{case} step {step}: {loss}, expected {expected}"
            );
        }
        let request = |format, name: &str| Request {
            model: goldens().join(case).join("model"),
            adapter: Some(adapter.clone()),
            format,
            output: folder.path().join(name),
            dtype: None,
            max_shard_size: MAX_SHARD_SIZE,
            force: false,
            verify: true,
        };
        let merged = request(Format::Safetensors, "merged");
        export(&merged).unwrap();
        let merged: BTreeMap<String, Vec<f32>> = tensors(&merged.output.join("model.safetensors"))
            .into_iter()
            .collect();
        let reference = tensors(&goldens().join(case).join("fresh.safetensors"));
        let mut compared = 0;
        for (name, expected) in &reference {
            let Some(module) = name.strip_prefix("merged.") else {
                continue;
            };
            let got = &merged[&format!("{module}.weight")];
            let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
            for (got, expected) in got.iter().zip(expected) {
                assert!(
                    (got - expected).abs() < 1e-4 * size,
                    "{case} {module}: {got}, {expected}"
                );
            }
            compared += 1;
        }
        assert!(compared >= 4, "{case}: {compared}");

        // By itself it becomes an ordinary adapter of twice the rank; its export compares its answers.
        let alone = request(Format::Peft, "alone");
        let found = export(&alone).unwrap().verification.unwrap();
        assert!(found.relative_error < 1e-4, "{case}: {found:?}");
        let text = std::fs::read_to_string(alone.output.join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["init_lora_weights"], true, "{case}");
        assert_eq!(config["r"], 8, "{case}");
    }
}

#[test]
fn a_pissa_run_that_goes_on_has_the_bits_of_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = fresh("pissa", folder.path());
    config.lora.init_lora_weights = InitLoraWeights::Named("pissa_niter_3".into());
    config.train.max_steps = 4;
    config.train.save_steps = 2;
    let whole = train(&config).result.unwrap().adapter.unwrap();
    let whole = std::fs::read(whole.join("adapter_model.safetensors")).unwrap();
    config.train.output = folder.path().join("cut").display().to_string();
    let stopped = crate::harness::train_with(&config, false, |event, stop| {
        if matches!(event, domain::RunEvent::Step { step: 2, .. }) {
            stop.stop();
        }
    });
    assert_eq!(stopped.result.unwrap().steps, 2);
    let resumed = crate::harness::train_with(&config, true, |_, _| {});
    let resumed = resumed.result.unwrap().adapter.unwrap();
    assert!(std::fs::read(resumed.join("adapter_model.safetensors")).unwrap() == whole);
}
