use std::path::Path;

use domain::{IntervalStrategy, RunConfig, RunEvent};
use serde_json::Value;

use crate::harness::{Run, config, goldens, random_rows, train, train_with, write_rows};

/// A run of so many rows with held-out data.
fn held_out(folder: &Path, rows: usize) -> RunConfig {
    let mut config = config("llama-tied", folder, &random_rows(rows, 16, 3));
    let path = folder.join("eval.jsonl");
    write_rows(&path, &random_rows(2, 16, 9));
    config.data.eval_path = Some(path.display().to_string());
    config.train.batch_size = 2;
    config.train.save_total_limit = 100;
    config
}

/// Steps after which the run was evaluated, but for the evaluation before its first step.
fn evaluations(run: &Run) -> Vec<u64> {
    let steps = run.events.iter().filter_map(|event| match event {
        RunEvent::Eval { step, .. } if *step > 0 => Some(*step),
        _ => None,
    });
    steps.collect()
}

/// Steps whose checkpoint was written.
fn checkpoints(run: &Run) -> Vec<u64> {
    let steps = run.events.iter().filter_map(|event| match event {
        RunEvent::Checkpoint { step, .. } => Some(*step),
        _ => None,
    });
    steps.collect()
}

#[test]
fn a_run_is_evaluated_and_saved_after_the_steps_at_which_transformers_does_it() {
    let text = std::fs::read_to_string(goldens().join("intervals.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 6);
    for case in cases {
        let folder = tempfile::tempdir().unwrap();
        let number = |key: &str| case[key].as_u64().unwrap_or(0);
        let mut config = held_out(folder.path(), number("rows") as usize);
        let train_config = &mut config.train;
        train_config.batch_size = number("batch_size") as u32;
        train_config.gradient_accumulation_steps = number("gradient_accumulation_steps") as u32;
        train_config.epochs = case["epochs"].as_f64().unwrap_or(3.0);
        train_config.max_steps = number("max_steps");
        for (key, strategy, steps) in [
            (
                "eval_strategy",
                &mut train_config.eval_strategy,
                &mut train_config.eval_steps,
            ),
            (
                "save_strategy",
                &mut train_config.save_strategy,
                &mut train_config.save_steps,
            ),
        ] {
            *strategy = serde_json::from_value(case[key].clone()).unwrap();
            if *strategy == IntervalStrategy::Steps {
                *steps = number("every");
            }
        }
        let run = train(&config);
        assert!(run.result.is_ok(), "{case}: {:?}", run.result);
        let steps: Vec<u64> = serde_json::from_value(case["evals"].clone()).unwrap();
        assert_eq!(evaluations(&run), steps, "{case}");
        let steps: Vec<u64> = serde_json::from_value(case["saves"].clone()).unwrap();
        assert_eq!(checkpoints(&run), steps, "{case}");
    }
}

#[test]
fn a_resumed_run_is_evaluated_and_saved_at_the_ends_of_the_epochs_that_are_left() {
    for streaming in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = held_out(folder.path(), 10);
        whole.data.streaming = streaming;
        whole.data.max_seq_length = 64;
        whole.data.shuffle_buffer = 4;
        whole.train.max_steps = 12;
        whole.train.eval_strategy = IntervalStrategy::Epoch;
        whole.train.save_strategy = IntervalStrategy::Epoch;
        let mut parted = whole.clone();
        parted.train.output += "-parted";
        let straight = train(&whole);
        assert_eq!(evaluations(&straight), [5, 10, 12], "{streaming}");
        assert_eq!(checkpoints(&straight), [5, 10, 12], "{streaming}");
        let first = train_with(&parted, false, |event, stop| {
            if matches!(event, RunEvent::Step { step: 7, .. }) {
                stop.stop();
            }
        });
        let second = train_with(&parted, true, |_, _| {});
        assert_eq!(
            [evaluations(&first), evaluations(&second)].concat(),
            [5, 10, 12],
            "{streaming}"
        );
        let losses = [first.losses(), second.losses()].concat();
        assert_eq!(losses, straight.losses(), "{streaming}");
    }
}

#[test]
fn the_best_epoch_is_kept_and_patience_counts_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = held_out(folder.path(), 6);
    config.train.epochs = 100.0;
    config.train.learning_rate = 3e-2;
    config.train.eval_strategy = IntervalStrategy::Epoch;
    config.train.early_stopping_patience = 2;
    config.train.load_best_model_at_end = true;
    let run = train(&config);
    let report = run.result.as_ref().unwrap();
    assert_eq!(report.reason, domain::FinishReason::EarlyStop);
    assert!(
        report.steps.is_multiple_of(3) && report.steps < 300,
        "{}",
        report.steps
    );
    let best = report.steps - 6;
    let output = Path::new(&config.train.output);
    assert!(output.join(format!("checkpoint-{best}")).is_dir());
}
