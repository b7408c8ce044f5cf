//! One claimed run: the engine on a thread, the lease kept alive beside it, the end written down.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::{FinishReason, RunConfig, RunEvent, RunId, RunStatus};
use engine::hub::HubEvent;
use engine::{StopFlag, TrainOptions};
use store::{AdapterKind, Claim, NewAdapter, Signal, Store};

use super::Shutdown;
use super::recorder::Recorder;
use super::replay::replay;
use super::worker::WorkerOptions;
use crate::config::Config;
use crate::plugins;

/// How a worker's turn at a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The run ended with this status.
    Ended(RunStatus),
    /// The worker was told to go: the run is saved and waits in the queue again.
    Released,
    /// The run was taken away; nothing more was written to it.
    Lost,
}

/// How the engine's call ended.
struct Trained {
    result: Result<(), Fault>,
    /// The event that ends a run; written last, when it is known what the end means.
    finished: Option<RunEvent>,
}

struct Fault {
    code: String,
    message: String,
}

/// Trains one claimed run to whatever end it finds.
pub(super) fn train(
    config: &Config,
    store: &Store,
    options: &WorkerOptions,
    claim: &Claim,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let id = claim.run.id;
    // Absolute, because these paths are kept and read by processes that stand elsewhere.
    let folder = std::path::absolute(config.paths.run(id))
        .with_context(|| format!("the folder of run {id} has no path"))?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let stop = StopFlag::default();
    let watch = Watch {
        store,
        options,
        claim,
        shutdown,
        stop: &stop,
        lost: AtomicBool::new(false),
    };
    // A worker that was given up may still be writing its last checkpoint here.
    let Some(_folder_is_mine) = watch.lock_folder(&folder)? else {
        return watch.leave();
    };
    let run_config = in_folder(&claim.run.config, &folder);
    let resume = claim.run.resume && has_checkpoint(&folder);
    tracing::info!(run = %id, name = claim.run.name, resume, "run begins");

    let log = super::event_log(&config.paths, id);
    if let Err(error) = replay(store, claim, &log) {
        // The curves keep a hole; the run itself is whole.
        tracing::warn!(run = %id, "events of the last worker are lost: {error:#}");
    }
    let recorder = Recorder::start(store, claim, &log)?;
    let trained = std::thread::scope(|scope| {
        let (recorded, outcome) = recorder.scoped(scope, || watch.lose());
        if claim.run.resume && !resume {
            recorded.send(RunEvent::Log {
                message: "there is no checkpoint yet: the run begins anew".into(),
            });
        }
        let (done, ended) = mpsc::channel::<()>();
        let run_config = &run_config;
        let hub = config.hub.settings();
        let stop = &stop;
        let events = recorded.clone();
        let trainer = scope.spawn(move || {
            let finished = Mutex::new(None);
            let fetched = engine::hub::local(run_config, &hub, stop, &mut |event| {
                if let HubEvent::Note(message) = event {
                    events.send(RunEvent::Log { message });
                }
            });
            let mut hear = |event| match event {
                RunEvent::Finished { .. } => {
                    *finished.lock().expect("no holder panics") = Some(event);
                }
                event => events.send(event),
            };
            let open = || plugins::open_named(config, store);
            let prepared = fetched.and_then(|run_config| {
                plugins::prepare(config, open, &run_config, stop, &mut hear)
            });
            let result = prepared.and_then(|prepared| {
                let options = TrainOptions {
                    run: id.to_string(),
                    resume,
                    curation: prepared.curation,
                    scorer: prepared.scorer,
                    ..TrainOptions::default()
                };
                engine::train(&prepared.run, &options, stop, &mut hear)
            });
            // The watcher wakes up when this end of the channel is gone, also after a panic.
            drop(done);
            Trained {
                result: result.map(drop).map_err(|error| Fault {
                    code: error.code().to_owned(),
                    message: error.to_string(),
                }),
                finished: finished.into_inner().expect("no holder panics"),
            }
        });
        watch.until(&ended);
        let trained = trainer.join().unwrap_or_else(|panic| Trained {
            result: Err(Fault {
                code: "internal".into(),
                message: format!("the engine panicked: {}", panic_message(&*panic)),
            }),
            finished: None,
        });
        let ending = ending(&trained, shutdown.is_requested());
        if let Some(event) = ending.event {
            recorded.send(event);
        }
        // The lease has to live until the last event is written.
        drop(recorded);
        watch.until(&outcome);
        (trained, ending.status)
    });
    let (trained, status) = trained;
    if watch.is_lost() {
        return watch.leave();
    }
    watch.conclude(&trained, status)
}

/// `engine::Error::Stopped`.
const STOPPED: &str = "stopped";

/// What the end of training means for the run.
struct Ending {
    event: Option<RunEvent>,
    /// `None`: back into the queue.
    status: Option<RunStatus>,
}

fn ending(trained: &Trained, going_away: bool) -> Ending {
    match (&trained.result, &trained.finished) {
        // While its files were fetched or its data was curated: what has come of that stays.
        (Err(fault), _) if fault.code == STOPPED => Ending {
            event: Some(RunEvent::Log {
                message: fault.message.clone(),
            }),
            status: (!going_away).then_some(RunStatus::Stopped),
        },
        (Err(fault), _) => Ending {
            event: Some(RunEvent::Error {
                code: fault.code.clone(),
                message: fault.message.clone(),
            }),
            status: Some(RunStatus::Failed),
        },
        (Ok(()), Some(RunEvent::Finished { reason, steps, .. }))
            if *reason == FinishReason::Stopped && going_away =>
        {
            Ending {
                event: Some(RunEvent::Log {
                    message: format!(
                        "the worker is going away after step {steps}; the run is saved and waits for the next worker"
                    ),
                }),
                status: None,
            }
        }
        (Ok(()), finished) => Ending {
            event: finished.clone(),
            status: Some(match finished {
                Some(RunEvent::Finished {
                    reason: FinishReason::Stopped,
                    ..
                }) => RunStatus::Stopped,
                _ => RunStatus::Completed,
            }),
        },
    }
}

/// The run's config, writing into its own folder and nowhere else.
fn in_folder(config: &RunConfig, folder: &Path) -> RunConfig {
    let mut config = config.clone();
    config.train.output = folder.to_string_lossy().into_owned();
    config
}

fn has_checkpoint(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("checkpoint-")
        })
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

/// What the worker does beside the training: keep the lease, pass on a stop, notice that the run was taken away.
struct Watch<'a> {
    store: &'a Store,
    options: &'a WorkerOptions,
    claim: &'a Claim,
    shutdown: &'a Shutdown,
    stop: &'a StopFlag,
    lost: AtomicBool,
}

impl Watch<'_> {
    fn id(&self) -> RunId {
        self.claim.run.id
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        self.stop.stop();
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    fn leave(&self) -> anyhow::Result<Outcome> {
        tracing::warn!(run = %self.id(), "the run was taken away; nothing more is written to it");
        Ok(Outcome::Lost)
    }

    /// Watches until the other end of the channel is gone.
    fn until<T>(&self, end: &Receiver<T>) {
        let mut next_beat = Instant::now();
        while !matches!(
            end.recv_timeout(self.options.poll),
            Err(RecvTimeoutError::Disconnected)
        ) {
            self.look(&mut next_beat);
        }
    }

    fn look(&self, next_beat: &mut Instant) {
        if self.shutdown.is_requested() {
            self.stop.stop();
        }
        if self.is_lost() {
            return;
        }
        let signal = if Instant::now() >= *next_beat {
            *next_beat = Instant::now() + self.options.beat;
            self.store.heartbeat(self.claim, self.options.lease)
        } else {
            self.store.signal(self.claim)
        };
        match signal {
            Ok(Signal::Continue) => {}
            Ok(Signal::Stop) => self.stop.stop(),
            Err(store::Error::LeaseLost(_)) => self.lose(),
            // Training goes on: the events wait, and the lease holds while nobody ends it.
            Err(error) => {
                tracing::warn!(run = %self.id(), "no sign of life could be given: {error}")
            }
        }
    }

    /// The only right to write into the run's folder, or `None` when the run was taken away meanwhile.
    fn lock_folder(&self, folder: &Path) -> anyhow::Result<Option<File>> {
        let path = folder.join("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut next_beat = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    // A file system without locks: the fence in the database has to do.
                    tracing::warn!("{}: cannot be locked: {error}", path.display());
                    return Ok(Some(file));
                }
            }
            self.look(&mut next_beat);
            if self.is_lost() {
                return Ok(None);
            }
            self.shutdown.wait(self.options.poll);
        }
    }

    /// Writes down how the run ended; waits for a database that is away.
    fn conclude(&self, trained: &Trained, status: Option<RunStatus>) -> anyhow::Result<Outcome> {
        let error = trained
            .result
            .as_ref()
            .err()
            .map(|fault| fault.message.as_str());
        let mut pause = self.options.poll;
        loop {
            let concluded = match status {
                None => self
                    .store
                    .release_run(self.claim)
                    .map(|()| Outcome::Released),
                Some(status) => self
                    .record_results(trained.finished.as_ref())
                    .and_then(|()| self.store.finish_run(self.claim, status, error))
                    .map(|()| Outcome::Ended(status)),
            };
            match concluded {
                Ok(outcome) => {
                    tracing::info!(run = %self.id(), ?outcome, error, "run ends");
                    return Ok(outcome);
                }
                Err(store::Error::LeaseLost(_)) => return self.leave(),
                Err(fault) => {
                    tracing::warn!(run = %self.id(), "the end of the run cannot be written: {fault}");
                    pause = (pause * 2).min(Duration::from_secs(5));
                    if self.shutdown.wait(pause) {
                        return Err(fault)
                            .context("the worker ends before the run's end was written");
                    }
                }
            }
        }
    }

    fn record_results(&self, finished: Option<&RunEvent>) -> Result<(), store::Error> {
        let Some(RunEvent::Finished { adapter, model, .. }) = finished else {
            return Ok(());
        };
        // Fenced like every other write: a worker that lost the run must not list its result.
        self.store.signal(self.claim)?;
        let run = &self.claim.run;
        let base = &run.config.model;
        for (kind, path) in [(AdapterKind::Adapter, adapter), (AdapterKind::Model, model)] {
            if let Some(path) = path {
                self.store.record_adapter(&NewAdapter {
                    run_id: Some(run.id),
                    name: run.name.clone(),
                    kind,
                    path: path.clone(),
                    base_model: base.repo.clone().or_else(|| base.path.clone()),
                })?;
            }
        }
        Ok(())
    }
}
