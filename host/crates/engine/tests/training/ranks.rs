//! Runs that several processes train together, held to the same run of one.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use domain::{FinishReason, Method, RunConfig, RunEvent};
use engine::{StopFlag, TrainOptions, World};

use crate::harness::{Run, config, random_rows, tensors, train, train_in, write_rows};

const CONFIG: &str = "CODETUNE_TEST_RANK_CONFIG";

fn world(rank: usize, size: usize, port: u16) -> World {
    World {
        rank,
        size,
        local_rank: rank,
        address: "127.0.0.1".into(),
        port,
        patience: Duration::from_secs(60),
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A run whose last step of an epoch has fewer sequences than there are processes.
fn base(folder: &Path, output: &str) -> RunConfig {
    let mut config = config("qwen2", folder, &random_rows(13, 40, 5));
    let held_out = folder.join("held-out.jsonl");
    write_rows(&held_out, &random_rows(7, 40, 6));
    config.data.eval_path = Some(held_out.display().to_string());
    config.train.output = folder.join(output).display().to_string();
    config.train.batch_size = 3;
    config.train.gradient_accumulation_steps = 2;
    config.train.epochs = 2.0;
    config.train.eval_steps = 2;
    config.train.save_steps = 2;
    config.train.learning_rate = 2e-3;
    config
}

/// The run of each process, by rank; `watch` is called in all of them.
fn together(
    config: &RunConfig,
    size: usize,
    resume: bool,
    watch: impl Fn(usize, &RunEvent, &StopFlag) + Sync,
) -> Vec<Run> {
    let port = free_port();
    std::thread::scope(|scope| {
        let watch = &watch;
        let start = move |rank| {
            scope.spawn(move || {
                let world = Some(world(rank, size, port));
                train_in(config, resume, world, |event, stop| {
                    watch(rank, event, stop)
                })
            })
        };
        let all: Vec<_> = (0..size).map(start).collect();
        all.into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn evaluations(run: &Run) -> Vec<f64> {
    let found = run.events.iter().filter_map(|event| match event {
        RunEvent::Eval { eval_loss, .. } => Some(*eval_loss),
        _ => None,
    });
    found.collect()
}

fn close(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() < 1e-5 * expected,
            "{got}, expected {expected}"
        );
    }
}

/// The same adapter but for the order in which gradients were added up.
fn same_weights(got: &Path, expected: &Path) {
    let file = "adapter_model.safetensors";
    let (got, expected) = (tensors(&got.join(file)), tensors(&expected.join(file)));
    assert_eq!(got.len(), expected.len());
    for ((name, got), (_, expected)) in got.iter().zip(&expected) {
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                (got - expected).abs() < 2e-4,
                "{name}: {got}, expected {expected}"
            );
        }
    }
}

#[test]
fn several_processes_train_as_one_with_the_same_batch() {
    let folder = tempfile::tempdir().unwrap();
    let one = train(&base(folder.path(), "one"));
    let expected = one.result.as_ref().unwrap();
    assert_eq!(one.losses().len(), 6);
    for size in [2, 3] {
        let config = base(folder.path(), &format!("{size}"));
        let runs = together(&config, size, false, |_, _, _| {});
        let first = runs[0].result.as_ref().unwrap();
        close(&runs[0].losses(), &one.losses());
        close(&evaluations(&runs[0]), &evaluations(&one));
        same_weights(
            first.adapter.as_ref().unwrap(),
            expected.adapter.as_ref().unwrap(),
        );
        for (rank, run) in runs.iter().enumerate() {
            // All know the same figures to the bit, say who they are, and the first alone saves.
            assert_eq!(run.losses(), runs[0].losses());
            assert_eq!(evaluations(run), evaluations(&runs[0]));
            let report = run.result.as_ref().unwrap();
            assert_eq!(report.adapter.is_some(), rank == 0);
            for event in &run.events {
                if let RunEvent::Step { process_rank, .. } = event {
                    assert_eq!(*process_rank, Some(rank as u64));
                }
                assert!(rank == 0 || !matches!(event, RunEvent::Checkpoint { .. }));
            }
        }
    }
}

#[test]
fn packed_and_streamed_data_and_whole_models_are_shared_out_too() {
    for what in ["packed", "streamed", "full"] {
        let folder = tempfile::tempdir().unwrap();
        let with = |output: &str| {
            let mut config = base(folder.path(), output);
            config.data.packing = what == "packed";
            config.data.max_seq_length = 96;
            if what == "streamed" {
                config.data.streaming = true;
                config.train.max_steps = 4;
            }
            if what == "full" {
                config.train.method = Method::Full;
                config.lora = Default::default();
                config.train.learning_rate = 1e-4;
            }
            config
        };
        let one = train(&with("one"));
        assert!(one.result.is_ok(), "{what}: {:?}", one.result);
        let runs = together(&with("two"), 2, false, |_, _, _| {});
        assert!(runs[0].result.is_ok(), "{what}: {:?}", runs[0].result);
        close(&runs[0].losses(), &one.losses());
    }
}

#[test]
fn a_run_of_several_that_one_is_asked_to_stop_is_resumed_by_any_number() {
    let folder = tempfile::tempdir().unwrap();
    let longer = |output: &str| {
        let mut config = base(folder.path(), output);
        config.train.epochs = 5.0;
        config
    };
    let one = train(&longer("one"));
    for size in [2, 1] {
        let config = longer(&format!("then-{size}"));
        let first = together(&config, 2, false, |rank, event, stop| {
            if rank == 1 && matches!(event, RunEvent::Step { step: 3, .. }) {
                stop.stop();
            }
        });
        let steps: Vec<u64> = first
            .iter()
            .map(|run| {
                let report = run.result.as_ref().unwrap();
                assert_eq!(report.reason, FinishReason::Stopped);
                report.steps
            })
            .collect();
        assert_eq!(steps[0], steps[1]);
        let second = together(&config, size, true, |_, _, _| {});
        let mut losses = first[0].losses();
        losses.extend(second[0].losses());
        close(&losses, &one.losses());
        let (got, expected) = (
            second[0].result.as_ref().unwrap(),
            one.result.as_ref().unwrap(),
        );
        same_weights(
            got.adapter.as_ref().unwrap(),
            expected.adapter.as_ref().unwrap(),
        );
    }
}

#[test]
fn a_fault_of_one_process_ends_the_others_with_its_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (good, mut other) = (base(folder.path(), "run"), base(folder.path(), "run"));
    let rows = folder.path().join("other.jsonl");
    write_rows(&rows, &random_rows(13, 40, 77));
    other.data.path = Some(rows.display().to_string());
    let port = free_port();
    let runs = std::thread::scope(|scope| {
        let start = |rank: usize, config| {
            scope.spawn(move || train_in(config, false, Some(world(rank, 2, port)), |_, _| {}))
        };
        [start(0, &good), start(1, &other)].map(|thread| thread.join().unwrap())
    });
    assert!(
        runs[1]
            .error()
            .starts_with("process rank 1 has model, data or checkpoint that differ")
    );
    assert!(
        runs[0]
            .error()
            .starts_with("1 other processes have model, data or checkpoint")
    );

    other.data.path = Some("nowhere.jsonl".into());
    let runs = std::thread::scope(|scope| {
        let start = |rank: usize, config| {
            scope.spawn(move || train_in(config, false, Some(world(rank, 2, port)), |_, _| {}))
        };
        [start(0, &good), start(1, &other)].map(|thread| thread.join().unwrap())
    });
    let told = runs[0].error();
    assert!(
        told.starts_with("process rank 1 of 2 failed, so this one ends too: ")
            && told.contains("nowhere.jsonl"),
        "{told}"
    );
}

#[test]
fn what_several_processes_cannot_do_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused =
        |config: &RunConfig, world: World| train_in(config, false, Some(world), |_, _| {}).error();
    let config = base(folder.path(), "run");
    let error = refused(&config, world(2, 2, 1));
    assert!(error.starts_with("RANK=2 with WORLD_SIZE=2"), "{error}");
    let error = refused(&config, world(0, 7, 1));
    assert!(
        error.starts_with("train.batch_size: times gradient_accumulation_steps makes 6"),
        "{error}"
    );
}

/// Trains in this process when it was started by the test below; writes events to standard error.
#[test]
fn child() {
    let Ok(path) = std::env::var(CONFIG) else {
        return;
    };
    let number = |name: &str| -> u16 { std::env::var(name).unwrap().parse().unwrap() };
    let text = std::fs::read_to_string(path).unwrap();
    let config = RunConfig::from_toml(&text, &[]).unwrap();
    let options = TrainOptions {
        world: Some(world(usize::from(number("RANK")), 2, number("MASTER_PORT"))),
        ..TrainOptions::default()
    };
    let result = engine::train(&config, &options, &StopFlag::new(), &mut |event| {
        eprintln!("EVENT {}", serde_json::to_string(&event).unwrap());
    });
    if let Err(error) = result {
        eprintln!("ERROR {} {error}", error.code());
    }
}

fn start(config: &RunConfig, rank: usize, port: u16) -> Child {
    let path = PathBuf::from(format!("{}-{rank}.toml", config.train.output));
    std::fs::write(&path, config.to_toml()).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ranks::child", "--nocapture"])
        .env(CONFIG, path)
        .env("RANK", rank.to_string())
        .env("MASTER_PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_process_that_is_killed_makes_the_other_end_and_say_so() {
    for killed in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = base(folder.path(), "run");
        config.train.epochs = 1000.0;
        let port = free_port();
        let mut ranks = [0, 1].map(|rank| start(&config, rank, port));
        let [mut doomed, other] = [killed, 1 - killed].map(|rank| {
            let stderr = ranks[rank].stderr.take().unwrap();
            BufReader::new(stderr).lines().map_while(Result::ok)
        });
        assert!(doomed.any(|line| line.contains("\"event\":\"step\"")));
        ranks[killed].kill().unwrap();
        let last = other.last().unwrap();
        let expected = format!("ERROR peer_failed process rank {killed} of 2 has ended");
        assert!(last.starts_with(&expected), "{last}");
        for rank in &mut ranks {
            rank.wait().unwrap();
        }
    }
}
