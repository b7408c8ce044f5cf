//! What a step asks of a device, and how it ends where something is wrong.

use super::*;

#[test]
fn a_step_waits_for_its_device_once_however_many_micro_batches_it_has() {
    for accumulation in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config("qwen2", folder.path(), "cuda");
        config.train.batch_size = 2;
        config.train.gradient_accumulation_steps = accumulation;
        config.train.max_steps = 4;
        let machine = Arc::new(Emulated::default());
        plug(Some(machine.clone()));
        let mut reads = Vec::new();
        let (options, stop) = (TrainOptions::default(), StopFlag::new());
        trainer::run(&config, &options, &stop, &mut |event| {
            if let RunEvent::Step { .. } = event {
                reads.push(machine.reads());
            }
        })
        .unwrap();
        plug(None);
        let each: Vec<usize> = reads.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // The rate of products is measured behind the first.
        assert_eq!(each, [1, 1, 1], "{accumulation} micro-batches");
    }
}

#[test]
fn a_loss_on_a_device_that_is_not_finite_names_its_micro_batch_and_the_checkpoint_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let with = |device: &str| {
        let mut config = config("qwen2", folder.path(), device);
        config.train.method = Method::Full;
        config.lora = domain::LoraConfig::default();
        config.train.learning_rate = 10.0;
        config.train.max_grad_norm = 0.0;
        config.train.adam_epsilon = 1e-20;
        config.train.weight_decay = 10.0;
        config.train.batch_size = 2;
        config.train.gradient_accumulation_steps = 3;
        config.train.max_steps = 400;
        config.train.save_steps = 1;
        config
    };
    let (result, events) = on_device(Emulated::default(), &with("cuda"));
    let error = result.unwrap_err();
    assert_eq!(error.code(), "non_finite_loss");
    let is_step = |event: &&RunEvent| matches!(event, RunEvent::Step { .. });
    let steps = events.iter().filter(is_step).count();
    let message = error.to_string();
    let expected = format!("of step {} is not finite (samples ", steps + 1);
    assert!(message.contains(&expected), "{message}");
    assert!(
        message.contains(&format!("checkpoint-{steps} is kept")),
        "{message}"
    );
    if message.contains("the loss of") {
        // Two of the six samples of a step.
        let named = message.split("(samples ").nth(1).unwrap();
        let named = named.split(" of the training data").next().unwrap();
        assert_eq!(named.split(", ").count(), 2, "{message}");
    }
    let kept = folder.path().join(format!("cuda/checkpoint-{steps}"));
    assert!(kept.is_dir());
}

#[test]
fn an_evaluation_that_does_not_fit_goes_on_with_parts_of_its_batches() {
    let folder = tempfile::tempdir().unwrap();
    // Steps of short samples; what is held out is long.
    let mut config = config("qwen2", folder.path(), "cuda");
    let long = folder.path().join("long.jsonl");
    let row = |seed: u32| {
        let ids: Vec<u32> = (0..150).map(|i| (seed + i * 7) % 300 + 3).collect();
        format!(
            "{}\n",
            serde_json::json!({ "input_ids": ids, "labels": ids })
        )
    };
    std::fs::write(&long, (0..4).map(row).collect::<String>()).unwrap();
    config.data.eval_path = Some(long.display().to_string());
    config.train.max_steps = 1;
    let roomy = Arc::new(Emulated::default());
    plug(Some(roomy.clone()));
    let (result, events) = run(&config, false, None);
    plug(None);
    result.unwrap();
    let expected = losses(&events);
    config.train.output = folder.path().join("tight").display().to_string();
    let tight = Emulated::limited(roomy.most() * 7 / 10);
    let (result, events) = on_device(tight, &config);
    result.unwrap();
    assert!(
        logged(&events, "evaluations take 2 of a batch at a time"),
        "{events:?}"
    );
    close(&losses(&events), &expected);
}

#[test]
fn a_run_that_fits_nowhere_on_a_device_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = Arc::new(Emulated::default());
    plug(Some(roomy.clone()));
    let config = config("qwen2", folder.path(), "cuda");
    run(&config, false, None).0.unwrap();
    plug(None);
    for share in [0.01, 0.5] {
        let limit = (roomy.most() as f64 * share) as usize;
        let (result, _) = on_device(Emulated::limited(limit), &config);
        let error = result.unwrap_err();
        assert_eq!(error.code(), "out_of_memory");
        let message = error.to_string();
        assert!(message.contains("Lower data.max_seq_length"), "{message}");
    }
}
