//! What a run says goes to two places: at once into a file beside its checkpoints, and in batches into the database.
//!
//! The engine only puts an event into a channel, so a slow database never slows a step down; a database that is
//! away makes the batches wait, and the file has them meanwhile.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::RunEvent;
use store::{Claim, Store};

/// Longest time that an event waits for company.
const WINDOW: Duration = Duration::from_millis(150);
/// Most events of one batch.
const BATCH: usize = 1000;
/// How long the last events wait for a database that is away; the file has them in any case.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes one run's events into the database.
pub(super) struct Recorder<'a> {
    store: &'a Store,
    claim: &'a Claim,
    copy: Arc<EventFile>,
}

/// The file beside the checkpoints.
struct EventFile {
    path: PathBuf,
    /// `None` once the run was taken away: the file may be another worker's now.
    file: Mutex<Option<File>>,
}

/// Where events are sent to; the recorder ends when all of these are gone.
#[derive(Clone)]
pub(super) struct Recorded {
    copy: Arc<EventFile>,
    sender: Sender<RunEvent>,
}

impl Recorded {
    /// Never waits for the database. An event after the lease was lost goes nowhere.
    pub(super) fn send(&self, event: RunEvent) {
        // The file first: what a killed worker leaves there is taken up by the next one.
        self.copy.write(&event);
        let _ = self.sender.send(event);
    }
}

impl EventFile {
    /// A full disk must not end a run that the database can still follow.
    fn write(&self, event: &RunEvent) {
        let mut file = self.file.lock().expect("no holder panics");
        let Some(file) = file.as_mut() else { return };
        let mut line = serde_json::to_vec(event).expect("an event serializes");
        line.push(b'\n');
        if let Err(error) = file.write_all(&line) {
            tracing::warn!("{}: cannot write: {error}", self.path.display());
        }
    }

    fn close(&self) {
        *self.file.lock().expect("no holder panics") = None;
    }
}

impl<'a> Recorder<'a> {
    /// Opens the run's event file to append to it.
    pub(super) fn start(store: &'a Store, claim: &'a Claim, path: &Path) -> anyhow::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let copy = Arc::new(EventFile {
            path: path.to_owned(),
            file: Mutex::new(Some(file)),
        });
        Ok(Self { store, claim, copy })
    }

    /// Records on a thread of its own. The receiver that comes back is disconnected when everything is written.
    pub(super) fn scoped<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        on_lost: impl FnOnce() + Send + 'scope,
    ) -> (Recorded, Receiver<()>)
    where
        'a: 'scope,
    {
        let (sender, events) = mpsc::channel();
        let (done, outcome) = mpsc::channel();
        let copy = self.copy.clone();
        scope.spawn(move || {
            let _done: Sender<()> = done;
            while let Some(batch) = next_batch(&events) {
                if !self.write_store(&batch) {
                    self.copy.close();
                    on_lost();
                    return;
                }
                if batch
                    .iter()
                    .any(|event| matches!(event, RunEvent::Checkpoint { .. }))
                {
                    self.forget_removed_checkpoints();
                }
            }
        });
        (Recorded { copy, sender }, outcome)
    }

    /// False when the lease is lost.
    fn write_store(&self, batch: &[RunEvent]) -> bool {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            match self.store.append_events(self.claim, batch) {
                Ok(()) => return true,
                Err(store::Error::LeaseLost(_)) => return false,
                Err(error) => {
                    tracing::warn!(run = %self.claim.run.id, "events wait for the database: {error}");
                    if begun.elapsed() > PATIENCE {
                        tracing::error!(
                            run = %self.claim.run.id,
                            events = batch.len(),
                            "the database is away for too long; the events are only in {}",
                            self.copy.path.display()
                        );
                        return true;
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }
}

impl Recorder<'_> {
    /// The engine keeps the newest checkpoints only (`train.save_total_limit`).
    fn forget_removed_checkpoints(&self) {
        let id = self.claim.run.id;
        let forget = || -> Result<(), store::Error> {
            let gone: Vec<u64> = self
                .store
                .list_checkpoints(id)?
                .iter()
                .filter(|checkpoint| !checkpoint.path.is_dir())
                .map(|checkpoint| checkpoint.step)
                .collect();
            if gone.is_empty() {
                return Ok(());
            }
            self.store.delete_checkpoints(id, &gone)
        };
        if let Err(error) = forget() {
            tracing::warn!(run = %id, "removed checkpoints are still listed: {error}");
        }
    }
}

/// The next event and what comes shortly after it; `None` when nobody will send any more.
fn next_batch(events: &Receiver<RunEvent>) -> Option<Vec<RunEvent>> {
    let mut batch = vec![events.recv().ok()?];
    let until = Instant::now() + WINDOW;
    while batch.len() < BATCH {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) => batch.push(event),
            Err(_) => break,
        }
    }
    Some(batch)
}
