//! Runs over pairs, on a device and by several processes.

use domain::Method;

use super::*;

/// A run over pairs of the sample's model.
fn pairs(method: Method, folder: &Path, device: &str) -> RunConfig {
    let mut config = config("qwen2", folder, device);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/model");
    config.model.path = Some(model.display().to_string());
    config.data.format = domain::DataFormat::Auto;
    let rows = (0..5).map(|n| {
        let row = serde_json::json!({
            "prompt": format!("def f{n}(x):\n"),
            "chosen": format!("    return x + {n}\n"),
            "rejected": "    pass\n".repeat(1 + n % 2),
        });
        format!("{row}\n")
    });
    std::fs::write(folder.join("data.jsonl"), rows.collect::<String>()).unwrap();
    config.train.method = method;
    config.train.max_steps = 3;
    config.train.eval_steps = 2;
    config
}

/// What a run says of its pairs at each step and evaluation.
fn rewards(events: &[RunEvent]) -> Vec<f64> {
    let figures = events.iter().flat_map(|event| match event {
        RunEvent::Step { metrics, .. } => {
            let of_pairs = ["rewards/chosen", "rewards/accuracies", "logps/rejected"];
            of_pairs.map(|name| metrics[name]).to_vec()
        }
        RunEvent::Eval { scores, .. } => vec![scores["eval_logps/chosen"].as_f64().unwrap()],
        _ => Vec::new(),
    });
    figures.collect()
}

#[test]
fn a_run_over_pairs_goes_on_a_device_as_on_the_processor() {
    for method in [Method::Dpo, Method::Cpo, Method::Orpo] {
        let folder = tempfile::tempdir().unwrap();
        let (first, events) = run(&pairs(method, folder.path(), "cpu"), false, None);
        let (expected, told) = (losses(&events), rewards(&events));
        assert!(expected.len() > 4 && told.len() > 10, "{told:?}");
        let config = pairs(method, folder.path(), "cuda");
        let (result, events) = on_device(Emulated::default(), &config);
        result.unwrap();
        near(&losses(&events), &expected);
        near(&rewards(&events), &told);

        // DPO then holds to the adapter as it began.
        let begun = first.unwrap().adapter.unwrap();
        let again = |device: &str| {
            let mut config = pairs(method, folder.path(), device);
            config.lora.init_adapter = Some(begun.display().to_string());
            config.train.output = folder
                .path()
                .join("again")
                .join(device)
                .display()
                .to_string();
            config
        };
        let expected = losses(&run(&again("cpu"), false, None).1);
        let (result, events) = on_device(Emulated::default(), &again("cuda"));
        result.unwrap();
        near(&losses(&events), &expected);
    }
}

#[test]
fn processes_share_a_run_over_pairs() {
    for method in [Method::Dpo, Method::Cpo, Method::Orpo] {
        let folder = tempfile::tempdir().unwrap();
        let alone = run(&pairs(method, folder.path(), "cpu"), false, None).1;
        let all = together(|device| {
            let mut config = pairs(method, folder.path(), device);
            config.train.output = folder.path().join("together").display().to_string();
            config
        });
        for events in &all {
            near(&losses(events), &losses(&alone));
            near(&rewards(events), &rewards(&alone));
        }
    }
}
