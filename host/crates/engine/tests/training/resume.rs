use std::path::Path;

use domain::{FinishReason, Method, RunConfig, RunEvent};

use crate::harness::{config, random_rows, tensors, train, train_with};

fn long(case: &str, folder: &Path, name: &str) -> RunConfig {
    let mut config = config(case, folder, &random_rows(10, 40, 3));
    config.train.output = folder.join(name).display().to_string();
    config.train.batch_size = 2;
    config.train.gradient_accumulation_steps = 2;
    config.train.epochs = 3.0;
    config.train.lr_scheduler_type = domain::LrSchedulerType::Cosine;
    config.train.warmup_steps = 2;
    config.lora.lora_dropout = 0.1;
    config
}

/// Stops after step 4, then goes on to the end.
fn interrupted(config: &RunConfig) -> (Vec<f64>, std::path::PathBuf) {
    let first = train_with(config, false, |event, stop| {
        if matches!(event, RunEvent::Step { step: 4, .. }) {
            stop.stop();
        }
    });
    let report = first.result.as_ref().unwrap();
    assert_eq!(report.reason, FinishReason::Stopped);
    // The flag is seen before the next step, or before the one after it when the event came late.
    assert!(
        (4..=6).contains(&report.steps),
        "stopped after {}",
        report.steps
    );
    let second = train_with(config, true, |_, _| {});
    let done = second.result.as_ref().unwrap();
    let steps: Vec<u64> = second
        .events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Step { step, .. } => Some(*step),
            _ => None,
        })
        .collect();
    assert_eq!(
        steps[0],
        report.steps + 1,
        "resume continues at the saved step"
    );
    let mut losses = first.losses();
    losses.extend(second.losses());
    let folder = done.adapter.clone().or(done.model.clone()).unwrap();
    (losses, folder)
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_bit_by_bit() {
    for full in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = long("qwen2", folder.path(), "whole");
        let mut broken = long("qwen2", folder.path(), "broken");
        if full {
            for config in [&mut whole, &mut broken] {
                config.train.method = Method::Full;
                config.lora = Default::default();
            }
        }
        let straight = train(&whole);
        let report = straight.result.as_ref().unwrap();
        assert_eq!(report.steps, 9);
        let (losses, after) = interrupted(&broken);
        assert_eq!(losses, straight.losses(), "full: {full}");
        let file = if full {
            "model.safetensors"
        } else {
            "adapter_model.safetensors"
        };
        let before = report.adapter.clone().or(report.model.clone()).unwrap();
        assert!(
            tensors(&before.join(file)) == tensors(&after.join(file)),
            "full: {full}"
        );
    }
}

#[test]
fn a_damaged_checkpoint_is_skipped_for_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = long("llama-tied", folder.path(), "run");
    config.train.save_steps = 3;
    let whole = train(&config);
    let output = Path::new(&config.train.output);
    std::fs::remove_dir_all(output.join("checkpoint-9")).unwrap();
    let damaged = output.join("checkpoint-6/adapter_model.safetensors");
    let mut bytes = std::fs::read(&damaged).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let run = train_with(&config, true, |_, _| {});
    assert_eq!(run.losses(), whole.losses()[3..]);
    let told = run.events.iter().any(|event| match event {
        RunEvent::Log { message } => {
            message.contains("checkpoint-6") && message.contains("checksum")
        }
        _ => false,
    });
    assert!(told, "{:?}", run.events);
}

#[test]
fn a_run_is_not_gone_on_with_other_data() {
    let folder = tempfile::tempdir().unwrap();
    let config = long("llama-tied", folder.path(), "run");
    train(&config).result.unwrap();
    crate::harness::write_rows(
        Path::new(config.data.path.as_ref().unwrap()),
        &random_rows(10, 40, 4),
    );
    let run = train_with(&config, true, |_, _| {});
    assert!(run.error().contains("the data changed"), "{}", run.error());
    assert_eq!(run.result.unwrap_err().code(), "bad_checkpoint");
}

#[test]
fn a_run_is_not_gone_on_with_another_adapter_or_base() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = long("qwen2", folder.path(), "run");
    run.train.max_steps = 2;
    run.lora.target_modules = domain::TargetModules::List(vec!["q_proj".into(), "v_proj".into()]);
    train(&run).result.unwrap();
    run.train.max_steps = 3;
    let refusal = |change: &dyn Fn(&mut RunConfig)| {
        let mut changed = run.clone();
        change(&mut changed);
        let message = train_with(&changed, true, |_, _| {}).result.unwrap_err();
        message.to_string()
    };
    let rank = refusal(&|run| run.lora.r = 4);
    assert!(rank.contains("lora.r changed"), "{rank}");
    let scale = refusal(&|run| run.lora.lora_alpha = 1.0);
    assert!(scale.contains("lora.lora_alpha changed"), "{scale}");
    let more =
        refusal(&|run| run.lora.target_modules = domain::TargetModules::One("all-linear".into()));
    assert!(more.contains("lora.target_modules changed"), "{more}");
    let base = refusal(&|run| {
        let model = Path::new(run.model.path.as_deref().unwrap());
        let other = folder.path().join("other");
        std::fs::create_dir_all(&other).unwrap();
        for entry in std::fs::read_dir(model).unwrap() {
            let file = entry.unwrap();
            std::fs::copy(file.path(), other.join(file.file_name())).unwrap();
        }
        let weights = other.join("model.safetensors");
        let mut bytes = std::fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&weights, bytes).unwrap();
        run.model.path = Some(other.display().to_string());
    });
    assert!(base.contains("the base model changed"), "{base}");
    // Other words for the same modules are no other adapter.
    run.lora.target_modules = domain::TargetModules::One(".*\\.(q|v)_proj".into());
    assert_eq!(train_with(&run, true, |_, _| {}).result.unwrap().steps, 3);
}

#[test]
fn only_the_newest_checkpoints_are_kept_and_a_new_run_moves_them_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = long("llama-tied", folder.path(), "run");
    config.train.save_steps = 1;
    config.train.save_total_limit = 2;
    train(&config).result.unwrap();
    let output = Path::new(&config.train.output);
    let present = |step: u64| output.join(format!("checkpoint-{step}")).is_dir();
    assert_eq!(
        (1..=9).filter(|step| present(*step)).collect::<Vec<_>>(),
        [8, 9]
    );
    config.train.max_steps = 1;
    train(&config).result.unwrap();
    assert_eq!(
        (1..=9).filter(|step| present(*step)).collect::<Vec<_>>(),
        [1]
    );
    assert!(output.join("earlier-1/checkpoint-9").is_dir());
}

#[test]
fn early_stopping_ends_a_run_whose_held_out_loss_no_longer_falls() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = long("llama-tied", folder.path(), "run");
    let held_out = folder.path().join("eval.jsonl");
    crate::harness::write_rows(&held_out, &random_rows(4, 40, 9));
    config.data.eval_path = Some(held_out.display().to_string());
    config.train.max_steps = 200;
    config.train.learning_rate = 1e-2;
    config.train.eval_steps = 2;
    config.train.early_stopping_patience = 2;
    let run = train(&config);
    assert_eq!(run.result.unwrap().reason, FinishReason::EarlyStop);
}

#[test]
fn a_learning_rate_is_found_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let config = long("llama-tied", folder.path(), "run");
    let search = engine::LrSearch {
        steps: 40,
        ..Default::default()
    };
    let mut heard = 0;
    let stop = engine::StopFlag::new();
    let found = engine::find_lr(&config, search, &stop, &mut |_| heard += 1).unwrap();
    assert_eq!(heard, found.points.len());
    assert!((found.points[0].learning_rate - 1e-7).abs() < 1e-12);
    let suggestion = found.suggestion.unwrap();
    assert!((1e-5..0.5).contains(&suggestion), "{suggestion}");
    assert!(suggestion <= found.lowest.unwrap());
    assert!(!Path::new(&config.train.output).exists());
    let again = engine::find_lr(&config, search, &stop, &mut |_| {}).unwrap();
    assert_eq!(found, again, "the same search finds the same");
    stop.stop();
    let stopped = engine::find_lr(&config, search, &stop, &mut |_| {}).unwrap();
    assert_eq!(stopped.reason, engine::LrSearchEnd::Stopped);
    assert!(stopped.points.is_empty());
}

#[test]
fn the_best_checkpoint_is_kept_and_the_result_is_taken_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = long("llama-tied", folder.path(), "run");
    let held_out = folder.path().join("eval.jsonl");
    crate::harness::write_rows(&held_out, &random_rows(4, 40, 9));
    config.data.eval_path = Some(held_out.display().to_string());
    config.train.max_steps = 16;
    config.train.learning_rate = 2e-2;
    config.train.eval_steps = 1;
    config.train.save_steps = 1;
    config.train.save_total_limit = 2;
    config.train.load_best_model_at_end = true;
    let run = train(&config);
    let adapter = run.result.as_ref().unwrap().adapter.clone().unwrap();
    let best = run.events.iter().filter_map(|event| match event {
        RunEvent::Eval {
            step,
            eval_loss,
            scores,
        } if *step > 0 => {
            let perplexity = scores["perplexity"].as_f64().unwrap();
            assert!((perplexity - eval_loss.exp()).abs() < 1e-9);
            assert!(!scores.contains_key("exact_match"), "no row has a prompt");
            Some((*eval_loss, *step))
        }
        _ => None,
    });
    let (_, best) = best.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    assert!(best < 14, "the loss rises again: {best}");
    let output = Path::new(&config.train.output);
    let present: Vec<u64> = (1..=16)
        .filter(|step| output.join(format!("checkpoint-{step}")).is_dir())
        .collect();
    assert_eq!(present, [best, 15, 16]);
    let file = "adapter_model.safetensors";
    let kept = output.join(format!("checkpoint-{best}")).join(file);
    assert!(tensors(&adapter.join(file)) == tensors(&kept));
    assert!(!adapter.join("optimizer.safetensors").exists());
}

#[test]
fn what_greedy_decoding_would_write_counts_as_an_exact_match() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..4)
        .map(|at| {
            let ids = [10 + at, 20 + at, 30 + at, 40 + at, 50 + at];
            serde_json::json!({ "input_ids": ids, "labels": [-100, -100, 30 + at, 40 + at, 50 + at] })
        })
        .collect();
    let mut config = config("llama-tied", folder.path(), &rows);
    config.data.eval_path = config.data.path.clone();
    config.train.max_steps = 60;
    config.train.learning_rate = 1e-2;
    config.train.eval_steps = 60;
    let run = train(&config);
    let report = run.result.as_ref().unwrap();
    let matches: Vec<f64> = run
        .events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Eval { scores, .. } => scores["exact_match"].as_f64(),
            _ => None,
        })
        .collect();
    assert_eq!(
        matches,
        [0.0, 1.0],
        "nothing at first, everything when learned by heart"
    );
    let model = config.model.path.as_deref().map(Path::new).unwrap();
    let found = engine::evaluate(model, report.adapter.as_deref(), &config.data).unwrap();
    assert_eq!(found.exact_match, Some(1.0));
    assert_eq!(found.fim_exact_match, None);
}
