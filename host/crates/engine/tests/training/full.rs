use domain::{Method, ModelDtype, RunEvent};

use crate::harness::{config, random_rows, tensors, train};

#[test]
fn all_weights_train_from_random_ones_and_the_folder_can_be_trained_on() {
    for case in ["llama-tied", "qwen2"] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(case, folder.path(), &random_rows(4, 40, 1));
        config.train.method = Method::Full;
        config.model.random_init = true;
        config.model.dtype = ModelDtype::Bf16;
        config.train.learning_rate = 5e-3;
        config.train.batch_size = 4;
        config.train.max_steps = 60;
        let run = train(&config);
        let report = run.result.as_ref().unwrap();
        let losses = run.losses();
        // 320 tokens: a model that knows nothing has ln 320 = 5.77.
        assert!((losses[0] - 5.77).abs() < 0.3, "{case}: {losses:?}");
        assert!(losses[59] < 0.5, "{case}: {losses:?}");
        let model = report.model.clone().unwrap();
        assert!(matches!(
            run.events.last(),
            Some(RunEvent::Finished {
                model: Some(_),
                adapter: None,
                ..
            })
        ));

        let mut again = crate::harness::config(case, folder.path(), &random_rows(4, 40, 1));
        again.model.path = Some(model.display().to_string());
        again.train.output = folder.path().join("again").display().to_string();
        again.train.batch_size = 4;
        again.train.max_steps = 1;
        let first = train(&again).losses()[0];
        assert!(
            (first - losses[59]).abs() < 0.2,
            "{case}: {first} after {}",
            losses[59]
        );
    }
}

#[test]
fn every_weight_of_the_model_moves() {
    for case in ["llama-tied", "llama3-rope-scaled", "qwen2"] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(case, folder.path(), &random_rows(2, 40, 2));
        config.train.method = Method::Full;
        config.train.max_steps = 2;
        let model = train(&config).result.unwrap().model.unwrap();
        let before = tensors(
            &std::path::Path::new(config.model.path.as_ref().unwrap()).join("model.safetensors"),
        );
        let after = tensors(&model.join("model.safetensors"));
        assert_eq!(before.len(), after.len(), "{case}");
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            assert!(after.iter().all(|x| x.is_finite()), "{case} {name}");
            // A bias of keys adds the same to all scores of a query: its gradient is zero but for rounding.
            if !name.ends_with("k_proj.bias") {
                assert!(before != after, "{case} {name} did not move");
            }
        }
    }
}
