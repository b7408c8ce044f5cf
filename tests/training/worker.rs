//! The worker as a process of its own, on both databases: it takes runs, is killed, is told to go, and loses nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use domain::{RunConfig, RunEvent, RunId, RunStatus};
use store::testing::TestDatabase;
use store::{NewRun, Run, Store};

/// A lease that ends soon after a worker was killed.
const LEASE_MS: &str = "2000";
/// Nothing here takes so long, except on a machine that has no time at all.
const PATIENCE: Duration = Duration::from_secs(120);

/// A data folder, a database, and rows to train on.
struct Studio {
    database: TestDatabase,
    store: Store,
    folder: tempfile::TempDir,
}

impl Studio {
    fn new(database: TestDatabase) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            r#"{"input_ids": [5, 9, 200, 31, 77, 12], "labels": [-100, -100, 200, 31, 77, 12]}"#,
            r#"{"input_ids": [8, 8, 100, 3], "labels": [8, 8, 100, 3]}"#,
        ];
        std::fs::write(folder.path().join("rows.jsonl"), rows.join("\n")).unwrap();
        Self {
            store: database.open(),
            database,
            folder,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run_folder(&self, id: RunId) -> PathBuf {
        self.data().join("runs").join(id.to_string())
    }

    /// Queues a run over the tiny golden model.
    fn queue(&self, train: &str) -> RunId {
        self.queue_on(&self.folder.path().join("rows.jsonl"), train)
    }

    fn queue_on(&self, rows: &Path, train: &str) -> RunId {
        let model = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fixtures/goldens/llama-tied/model");
        let text = format!(
            "[model]\npath = '{}'\n[data]\npath = '{}'\nformat = 'tokenized'\n[lora]\nr = 2\n\
             [train]\noutput = 'out'\nbatch_size = 1\nlr_scheduler_type = 'constant'\n{train}\n",
            model.display(),
            rows.display()
        );
        let id = RunId::new();
        self.store
            .create_run(&NewRun {
                id,
                name: "worker test".into(),
                config: RunConfig::from_toml(&text, &[]).unwrap(),
            })
            .unwrap();
        id
    }

    /// A worker that goes when the returned value is dropped.
    fn worker(&self, more: &[&str]) -> Worker {
        let child = Command::new(env!("CARGO_BIN_EXE_codetune"))
            .args(["worker", "--until-stdin-closes", "--lease-ms", LEASE_MS])
            .args(more)
            .current_dir(self.folder.path())
            .env("CODETUNE_DATA_DIR", self.data())
            .env("DATABASE_URL", self.database.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Worker(child)
    }

    fn find(&self, id: RunId) -> Run {
        self.store.find_run(id).unwrap().unwrap()
    }

    /// The run as soon as it is as wanted.
    fn wait(&self, id: RunId, what: &str, wanted: impl Fn(&Run) -> bool) -> Run {
        let begun = Instant::now();
        loop {
            let run = self.find(id);
            if wanted(&run) {
                return run;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the run is not {what}: {:?} at step {}, {:?}",
                run.status,
                run.step,
                run.error
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn wait_for(&self, id: RunId, status: RunStatus) -> Run {
        self.wait(id, status.as_str(), |run| run.status == status)
    }

    fn events(&self, id: RunId) -> Vec<RunEvent> {
        let stored = self.store.events_after(id, 0, 1_000_000).unwrap();
        stored.into_iter().map(|event| event.event).collect()
    }
}

struct Worker(Child);

impl Worker {
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// As the studio does when it goes.
    fn let_go(mut self) -> std::process::ExitStatus {
        drop(self.0.stdin.take());
        self.0.wait().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A worker that ended already is no fault here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn steps(events: &[RunEvent]) -> Vec<(u64, f64)> {
    events
        .iter()
        .filter_map(|event| match event {
            RunEvent::Step { step, loss, .. } => Some((*step, *loss)),
            _ => None,
        })
        .collect()
}

/// The steps of each turn that a worker had at a run.
fn turns(events: &[RunEvent]) -> Vec<Vec<(u64, f64)>> {
    events
        .split(|event| matches!(event, RunEvent::Started { .. }))
        .skip(1)
        .map(steps)
        .collect()
}

const ENDLESS: &str = "max_steps = 1000000\nsave_steps = 10";

fn a_killed_workers_run_is_interrupted_and_goes_on_at_its_checkpoint(database: TestDatabase) {
    let studio = Studio::new(database);
    let id = studio.queue(ENDLESS);
    let worker = studio.worker(&[]);
    studio.wait(id, "beyond its second checkpoint", |run| run.step > 25);
    worker.kill();

    let begun = Instant::now();
    while studio.store.interrupt_expired().unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the lease does not end");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let run = studio.find(id);
    assert_eq!(run.status, RunStatus::Interrupted);
    assert!(run.error.is_some());

    studio.store.requeue_run(id).unwrap();
    let _worker = studio.worker(&[]);
    let resumed = studio.wait(id, "resumed", |_| {
        turns(&studio.events(id))
            .get(1)
            .is_some_and(|turn| turn.len() > 20)
    });
    assert!(resumed.resume);
    studio.store.request_stop(id).unwrap();
    studio.wait_for(id, RunStatus::Stopped);

    let turns = turns(&studio.events(id));
    let [first, again] = &turns[..] else {
        panic!("{} turns", turns.len());
    };
    assert_eq!(
        first.len() as u64,
        first.last().unwrap().0,
        "no hole before the kill"
    );
    let from = again[0].0;
    assert!(from > 1, "the run began anew");
    assert_eq!(
        (from - 1) % 10,
        0,
        "it goes on after a checkpoint, not at {from}"
    );
    assert!(
        again
            .iter()
            .zip(from..)
            .all(|(step, wanted)| step.0 == wanted),
        "steps follow each other"
    );
    // The same steps with the same losses: nothing was lost or drawn twice.
    for (step, loss) in again {
        if let Some((_, old)) = first.iter().find(|(old, _)| old == step) {
            assert!(
                (loss - old).abs() <= 1e-6 * old.abs(),
                "step {step}: {loss} {old}"
            );
        }
    }
    let curve = studio.store.metrics(id, "loss", 1_000_000).unwrap();
    assert_eq!(curve.len() as u64, studio.find(id).step, "one point a step");
}

fn a_stop_ends_the_run_after_its_step_and_saves(database: TestDatabase) {
    let studio = Studio::new(database);
    let id = studio.queue("max_steps = 1000000");
    let _worker = studio.worker(&[]);
    studio.wait(id, "on its way", |run| run.step > 5);
    assert_eq!(
        studio.store.request_stop(id).unwrap().status,
        RunStatus::Stopping
    );
    let run = studio.wait_for(id, RunStatus::Stopped);
    let events = studio.events(id);
    let last = steps(&events).last().unwrap().0;
    let Some(RunEvent::Finished { steps, adapter, .. }) = events.last() else {
        panic!("{:?}", events.last());
    };
    assert_eq!((*steps, run.step), (last, last), "no step after the stop");
    let checkpoints = studio.store.list_checkpoints(id).unwrap();
    assert_eq!(
        checkpoints.last().unwrap().step,
        last,
        "what was learned is saved"
    );
    assert!(checkpoints.last().unwrap().path.is_dir());
    let adapter = adapter.as_ref().unwrap();
    assert!(adapter.starts_with(studio.run_folder(id)));
    assert!(adapter.join("adapter_model.safetensors").is_file());
    let listed = studio.store.list_adapters().unwrap();
    assert_eq!((listed[0].run_id, &listed[0].path), (Some(id), adapter));
    // The file beside the checkpoints tells the same story as the database.
    let file = std::fs::read_to_string(studio.run_folder(id).join("events.jsonl")).unwrap();
    let told: Vec<RunEvent> = file
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(told, events);
}

fn two_workers_share_the_queue_and_take_each_run_once(database: TestDatabase) {
    let studio = Studio::new(database);
    let runs: Vec<RunId> = (0..6).map(|_| studio.queue("max_steps = 3")).collect();
    let _workers = [studio.worker(&[]), studio.worker(&[])];
    for id in runs {
        let run = studio.wait_for(id, RunStatus::Completed);
        assert_eq!(run.step, 3);
        let events = studio.events(id);
        let started = events
            .iter()
            .filter(|event| matches!(event, RunEvent::Started { .. }))
            .count();
        assert_eq!(started, 1);
        assert_eq!(steps(&events).len(), 3);
    }
}

fn a_worker_that_is_told_to_go_saves_its_run_and_puts_it_back(database: TestDatabase) {
    let studio = Studio::new(database);
    let id = studio.queue("max_steps = 1000000");
    let worker = studio.worker(&[]);
    studio.wait(id, "on its way", |run| run.step > 5);
    assert!(worker.let_go().success());
    let run = studio.find(id);
    assert_eq!(run.status, RunStatus::Queued);
    assert!(run.resume);
    assert_eq!(
        studio
            .store
            .list_checkpoints(id)
            .unwrap()
            .last()
            .unwrap()
            .step,
        run.step
    );
    assert!(
        !studio
            .events(id)
            .iter()
            .any(|event| matches!(event, RunEvent::Finished { .. }))
    );
    let _worker = studio.worker(&[]);
    studio.wait(id, "resumed", |now| now.step > run.step);
    let all = steps(&studio.events(id));
    assert!(all.iter().zip(1..).all(|(step, wanted)| step.0 == wanted));
}

fn a_run_that_cannot_be_trained_fails_with_its_reason_and_the_worker_goes_on(
    database: TestDatabase,
) {
    let studio = Studio::new(database);
    let bad = studio.queue_on(Path::new("/nowhere/rows.jsonl"), "max_steps = 3");
    let good = studio.queue("max_steps = 3");
    let _worker = studio.worker(&[]);
    let run = studio.wait_for(bad, RunStatus::Failed);
    assert!(run.error.unwrap().contains("/nowhere/rows.jsonl"));
    let events = studio.events(bad);
    assert!(
        matches!(events.last(), Some(RunEvent::Error { code, .. }) if code == "bad_input"),
        "{events:?}"
    );
    studio.wait_for(good, RunStatus::Completed);
}

macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                super::$name(store::testing::TestDatabase::sqlite());
            })+
        }
        mod postgres {
            $(#[test]
            #[ignore = "needs PostgreSQL"]
            fn $name() {
                super::$name(store::testing::TestDatabase::postgres());
            })+
        }
    };
}

on_both_databases!(
    a_killed_workers_run_is_interrupted_and_goes_on_at_its_checkpoint,
    a_stop_ends_the_run_after_its_step_and_saves,
    two_workers_share_the_queue_and_take_each_run_once,
    a_worker_that_is_told_to_go_saves_its_run_and_puts_it_back,
    a_run_that_cannot_be_trained_fails_with_its_reason_and_the_worker_goes_on,
);
