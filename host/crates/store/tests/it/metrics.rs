use domain::{FinishReason, RunEvent};
use serde_json::json;
use store::testing::TestDatabase;

use crate::harness::{LEASE, claim, claimed, log, on_both_databases, open, step};

on_both_databases!(
    events_are_numbered_without_a_gap_and_replayed_from_anywhere,
    a_batch_moves_the_runs_progress,
    every_kind_of_event_comes_back_as_it_was,
    evaluation_is_absent_until_it_was_made,
    a_checkpoint_event_becomes_a_checkpoint,
    a_spike_of_one_step_survives_any_reduction,
    a_short_curve_is_not_reduced,
    a_resumed_run_forgets_what_came_after_its_checkpoint,
    a_spike_that_was_forgotten_is_gone_from_the_reduced_curve_too,
    a_second_evaluation_of_a_step_replaces_the_first,
    a_batch_whose_commit_was_not_confirmed_is_written_once,
    the_latest_values_are_those_of_the_last_step,
);

fn events_are_numbered_without_a_gap_and_replayed_from_anywhere(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    store.append_events(&claim, &[log("a"), log("b")]).unwrap();
    store.append_events(&claim, &[]).unwrap();
    store.append_events(&claim, &[log("c")]).unwrap();
    let read = |after, limit| {
        let events = store.events_after(claim.run.id, after, limit).unwrap();
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 10), [1, 2, 3]);
    assert_eq!(read(1, 1), [2]);
    assert!(read(3, 10).is_empty());
    assert_eq!(store.find_run(claim.run.id).unwrap().unwrap().event_seq, 3);
}

fn a_batch_moves_the_runs_progress(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    let started = RunEvent::Started {
        run: claim.run.id.to_string(),
        trainable_parameters: 10,
        all_parameters: 100,
        supervised_tokens_per_epoch: 50,
        total_steps: 20,
    };
    store
        .append_events(&claim, &[started, step(1, 3.0), step(2, 2.5)])
        .unwrap();
    let run = store.find_run(claim.run.id).unwrap().unwrap();
    assert_eq!((run.step, run.total_steps), (2, Some(20)));
    assert_eq!((run.last_loss, run.eval_loss), (Some(2.5), None));
    assert!((run.epoch - 0.02).abs() < 1e-12);
    assert_eq!(run.tokens_per_second, Some(1000.0));
}

fn every_kind_of_event_comes_back_as_it_was(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    let batch = [
        log("tabs\tand \"quotes\" and ünïcode"),
        step(1, 0.1 + 0.2),
        RunEvent::Eval {
            step: 1,
            eval_loss: 1.0 / 3.0,
            scores: json!({ "parses": 0.5, "note": "text" })
                .as_object()
                .unwrap()
                .clone(),
        },
        RunEvent::Checkpoint {
            step: 1,
            path: "checkpoint-1".into(),
        },
        RunEvent::Error {
            code: "internal".into(),
            message: "why".into(),
        },
        RunEvent::Finished {
            reason: FinishReason::Stopped,
            steps: 1,
            adapter: Some("adapter".into()),
            model: None,
        },
    ];
    store.append_events(&claim, &batch).unwrap();
    let stored = store.events_after(claim.run.id, 0, 100).unwrap();
    let stored: Vec<RunEvent> = stored.into_iter().map(|event| event.event).collect();
    assert_eq!(stored, batch);
    // A score that is no number is told in the event and is no curve.
    let names = store.metric_names(claim.run.id).unwrap();
    assert!(names.contains(&"parses".to_owned()) && !names.contains(&"note".to_owned()));
}

fn evaluation_is_absent_until_it_was_made(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    let id = claim.run.id;
    store
        .append_events(&claim, &[step(1, 3.0), step(2, 2.0)])
        .unwrap();
    assert!(store.metrics(id, "eval_loss", 100).unwrap().is_empty());
    assert_eq!(
        store.metric_names(id).unwrap(),
        [
            "grad_norm",
            "learning_rate",
            "loss",
            "supervised_tokens",
            "tokens_per_second"
        ]
    );
    store.append_events(&claim, &[evaluation(2, 2.25)]).unwrap();
    let points = store.metrics(id, "eval_loss", 100).unwrap();
    assert_eq!((points[0].step, points[0].value), (2, 2.25));
    assert_eq!(store.find_run(id).unwrap().unwrap().eval_loss, Some(2.25));
}

fn evaluation(step: u64, eval_loss: f64) -> RunEvent {
    RunEvent::Eval {
        step,
        eval_loss,
        scores: serde_json::Map::new(),
    }
}

fn a_checkpoint_event_becomes_a_checkpoint(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    let checkpoint = |step: u64| RunEvent::Checkpoint {
        step,
        path: format!("out/checkpoint-{step}").into(),
    };
    store
        .append_events(&claim, &[checkpoint(10), checkpoint(20), checkpoint(20)])
        .unwrap();
    let found = store.list_checkpoints(claim.run.id).unwrap();
    assert_eq!(found.iter().map(|c| c.step).collect::<Vec<_>>(), [10, 20]);
    assert_eq!(found[1].path, std::path::Path::new("out/checkpoint-20"));
    store.delete_checkpoints(claim.run.id, &[10]).unwrap();
    assert_eq!(store.list_checkpoints(claim.run.id).unwrap().len(), 1);
}

/// A curve of 10,000 steps that falls from 4 to 3, with one step that goes through the roof and one through the floor.
fn spiky(step_number: u64) -> RunEvent {
    let loss = match step_number {
        7_777 => 1e6,
        3_333 => -1e6,
        n => 4.0 - n as f64 / 10_000.0,
    };
    step(step_number, loss)
}

fn a_spike_of_one_step_survives_any_reduction(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    let events: Vec<RunEvent> = (1..=10_000).map(spiky).collect();
    for batch in events.chunks(997) {
        store.append_events(&claim, batch).unwrap();
    }
    for max_points in [0, 10, 50, 500, 2_000, 9_999] {
        let points = store.metrics(claim.run.id, "loss", max_points).unwrap();
        assert!(
            points.len() <= max_points.max(4) + 4,
            "{} points of {max_points}",
            points.len()
        );
        let value_at = |step| points.iter().find(|p| p.step == step).map(|p| p.value);
        assert_eq!(value_at(7_777), Some(1e6), "of {max_points}");
        assert_eq!(value_at(3_333), Some(-1e6), "of {max_points}");
        assert_eq!(points[0].step, 1, "of {max_points}");
        assert_eq!(points.last().unwrap().step, 10_000, "of {max_points}");
        assert!(
            points.is_sorted_by(|a, b| a.step < b.step),
            "of {max_points}"
        );
    }
    let all = store.metrics(claim.run.id, "loss", 10_000).unwrap();
    assert_eq!(all.len(), 10_000);
}

fn a_short_curve_is_not_reduced(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    let events: Vec<RunEvent> = (1..=100).map(|n| step(n, n as f64)).collect();
    store.append_events(&claim, &events).unwrap();
    let points = store.metrics(claim.run.id, "loss", 100).unwrap();
    assert_eq!(
        points.iter().map(|point| point.step).collect::<Vec<_>>(),
        (1..=100).collect::<Vec<_>>()
    );
    assert!((points[49].epoch - 0.5).abs() < 1e-12);
    assert_eq!(points[49].rank, 0);
}

fn a_resumed_run_forgets_what_came_after_its_checkpoint(database: &TestDatabase) {
    let store = open(database);
    let first = claimed(&store);
    let id = first.run.id;
    let events: Vec<RunEvent> = (1..=150).map(|n| step(n, 1.0)).collect();
    store.append_events(&first, &events).unwrap();
    store
        .append_events(&first, &[evaluation(140, 7.0)])
        .unwrap();
    store.release_run(&first).unwrap();
    // The checkpoint was of step 100.
    let second = claim(&store, "second");
    store
        .append_events(&second, &[log("resumes"), step(101, 2.0), step(102, 2.0)])
        .unwrap();
    let points = store.metrics(id, "loss", 1000).unwrap();
    assert_eq!(points.len(), 102);
    assert_eq!((points[99].value, points[100].value), (1.0, 2.0));
    assert!(store.metrics(id, "eval_loss", 1000).unwrap().is_empty());
    assert_eq!(store.find_run(id).unwrap().unwrap().step, 102);
    // What was said stays said.
    assert_eq!(store.events_after(id, 0, 1000).unwrap().len(), 154);
}

fn a_spike_that_was_forgotten_is_gone_from_the_reduced_curve_too(database: &TestDatabase) {
    let store = open(database);
    let first = claimed(&store);
    let id = first.run.id;
    let old: Vec<RunEvent> = (1..=2_000)
        .map(|n| {
            step(
                n,
                if n == 1_990 {
                    99.0
                } else if n == 1_930 {
                    50.0
                } else {
                    1.0
                },
            )
        })
        .collect();
    store.append_events(&first, &old).unwrap();
    store.release_run(&first).unwrap();
    let second = claim(&store, "second");
    // 1,985 lies in the bucket of the spike at 1,990; the one at 1,930 stays.
    let new: Vec<RunEvent> = (1_985..=2_000).map(|n| step(n, 1.0)).collect();
    for batch in new.chunks(3) {
        store.append_events(&second, batch).unwrap();
    }
    let points = store.metrics(id, "loss", 10).unwrap();
    let highest = points.iter().map(|p| p.value).fold(0.0, f64::max);
    assert!((highest - 50.0).abs() < 1e-12, "{points:?}");
}

fn a_second_evaluation_of_a_step_replaces_the_first(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    store
        .append_events(&claim, &[evaluation(5, 2.0), evaluation(5, 1.5)])
        .unwrap();
    store.append_events(&claim, &[evaluation(5, 1.0)]).unwrap();
    let points = store.metrics(claim.run.id, "eval_loss", 10).unwrap();
    assert_eq!(points.len(), 1);
    assert!((points[0].value - 1.0).abs() < 1e-12);
}

fn a_batch_whose_commit_was_not_confirmed_is_written_once(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    store.append_events(&claim, &[log("a")]).unwrap();
    // The claim still stands where it stood before the batch: the caller never heard of the commit.
    let unconfirmed = claim.as_before_last_batch(1);
    store.append_events(&unconfirmed, &[log("a")]).unwrap();
    store.append_events(&unconfirmed, &[log("b")]).unwrap();
    assert_eq!(store.events_after(claim.run.id, 0, 10).unwrap().len(), 2);
    assert_eq!(
        store.heartbeat(&unconfirmed, LEASE).unwrap(),
        store::Signal::Continue
    );
}

fn the_latest_values_are_those_of_the_last_step(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    store
        .append_events(&claim, &[step(1, 3.0), step(2, 2.0)])
        .unwrap();
    let latest = store.latest_metrics(claim.run.id).unwrap();
    assert_eq!((latest["loss"].step, latest["loss"].value), (2, 2.0));
    assert_eq!(latest.len(), 5);
}
