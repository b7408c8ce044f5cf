//! Runs, events and the two databases that every test is tried on.

use std::time::Duration;

use domain::{RunConfig, RunEvent, RunId};
use store::testing::TestDatabase;
use store::{Claim, NewRun, Run, Store};

/// Long enough that no lease of a test ends by itself.
pub(crate) const LEASE: Duration = Duration::from_secs(600);

/// Makes each `fn name(database: &TestDatabase)` a test on SQLite and, ignored, one on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                super::$name(&store::testing::TestDatabase::sqlite());
            })+
        }
        mod postgres {
            $(#[test]
            #[ignore = "needs PostgreSQL"]
            fn $name() {
                super::$name(&store::testing::TestDatabase::postgres());
            })+
        }
    };
}
pub(crate) use on_both_databases;

pub(crate) fn open(database: &TestDatabase) -> Store {
    database.open()
}

/// A config that is like real ones but points to nothing.
pub(crate) fn config() -> RunConfig {
    RunConfig::from_toml(
        "[model]\npath = \"model\"\n[data]\npath = \"data.jsonl\"\n[train]\noutput = \"out\"\nlearning_rate = 1e-4\n",
        &[],
    )
    .expect("the config is valid")
}

pub(crate) fn queue(store: &Store, name: &str) -> Run {
    store
        .create_run(&NewRun {
            id: RunId::new(),
            name: name.to_owned(),
            config: config(),
        })
        .expect("a run can be queued")
}

/// A run that a worker holds.
pub(crate) fn claimed(store: &Store) -> Claim {
    queue(store, "claimed");
    claim(store, "worker")
}

pub(crate) fn claim(store: &Store, worker: &str) -> Claim {
    store
        .claim_run(worker, LEASE)
        .expect("the queue answers")
        .expect("a run waits")
}

pub(crate) fn step(step: u64, loss: f64) -> RunEvent {
    RunEvent::Step {
        step,
        epoch: step as f64 / 100.0,
        loss,
        learning_rate: 1e-4,
        grad_norm: 0.5,
        supervised_tokens: 64,
        tokens_per_second: 1000.0,
        process_rank: None,
        metrics: Default::default(),
    }
}

pub(crate) fn log(message: &str) -> RunEvent {
    RunEvent::Log {
        message: message.to_owned(),
    }
}
