//! The worker's loop: take the run that waits longest, train it, take the next.

use std::time::Duration;

use store::Store;

use super::Shutdown;
use super::training;
pub use super::training::Outcome;
use crate::config::Config;

/// How a worker behaves; the default is what a studio wants.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name in the store: unique among all processes that share the database.
    pub name: String,
    /// A run is given up when its worker has been silent for so long.
    pub lease: Duration,
    /// Time between two renewals of the lease.
    pub beat: Duration,
    /// Time between two looks for a stop request, or for a run while idle.
    pub poll: Duration,
    /// End after one run, or at once when none waits.
    pub once: bool,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: unique_name(),
            lease: Duration::from_secs(15),
            beat: Duration::from_secs(3),
            poll: Duration::from_millis(250),
            once: false,
        }
    }
}

/// A name that says where the worker is and that no other has.
pub fn unique_name() -> String {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "localhost".into());
    let id = uuid::Uuid::now_v7().simple().to_string();
    format!("{host}-{}-{}", std::process::id(), &id[20..])
}

/// Works until `shutdown` is requested; a run in work is then saved and put back into the queue.
///
/// A database that is away for a while is waited for. Returns the outcome of the last run.
///
/// # Errors
/// When a run could neither be trained nor be given up, for example because its folder cannot be made.
pub fn run(
    config: &Config,
    store: &Store,
    options: &WorkerOptions,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Outcome>> {
    tracing::info!(
        worker = options.name,
        database = store.place(),
        "worker waits for runs"
    );
    let mut last = None;
    let mut pause = options.poll;
    while !shutdown.is_requested() {
        match take(store, options) {
            Ok(Some(claim)) => {
                pause = options.poll;
                last = Some(training::train(config, store, options, &claim, shutdown)?);
                if options.once {
                    break;
                }
            }
            Ok(None) if options.once => break,
            Ok(None) => {
                pause = options.poll;
                shutdown.wait(pause);
            }
            Err(error) => {
                pause = (pause * 2).min(Duration::from_secs(10));
                tracing::warn!("cannot look for runs: {error}; next try in {pause:?}");
                shutdown.wait(pause);
            }
        }
    }
    Ok(last)
}

/// Gives up the runs of workers that vanished, then takes one that waits.
fn take(store: &Store, options: &WorkerOptions) -> Result<Option<store::Claim>, store::Error> {
    for id in store.interrupt_expired()? {
        tracing::warn!(run = %id, "the run's worker gave no sign of life; the run is interrupted");
    }
    store.claim_run(&options.name, options.lease)
}
