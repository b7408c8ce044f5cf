//! How `serve` keeps a worker process alive.
//!
//! The worker is another process, so that a crash or an out-of-memory kill in training takes no page down. It
//! holds the reading end of a pipe: when the studio goes, however it goes, the pipe closes, and the worker saves
//! its run and ends.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use store::Store;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use super::worker::unique_name;
use crate::config::Config;

/// A worker that lived so long had a good start; the wait before the next one begins anew.
const GOOD_START: Duration = Duration::from_secs(60);
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Time for a worker to end its step and save.
const SAVE_TIME: Duration = Duration::from_secs(60);

/// A started worker. It ends when `lifeline` is dropped.
#[derive(Debug)]
pub struct WorkerProcess {
    /// The process.
    pub child: Child,
    /// Its standard input.
    pub lifeline: ChildStdin,
    /// Its name in the store.
    pub name: String,
}

/// What the supervisor has to tell of its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerNews {
    /// A process lives.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It ended, or could not be started, and is started again.
    Restarting {
        /// How it ended.
        reason: String,
    },
}

/// Starts `codetune worker`, or that of the GPU build where it sees a GPU, with these settings, on this store's database: a studio that fell back to SQLite
/// must not queue runs that its worker looks for in PostgreSQL.
///
/// # Errors
/// When the process cannot be started.
pub fn worker_process(config: &Config, store: &Store) -> anyhow::Result<WorkerProcess> {
    let program = crate::gpu::worker_program(config);
    let name = unique_name();
    let url = if store.fallback().is_some() {
        store.place().to_owned()
    } else {
        config.database.url.clone()
    };
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let mut child = Command::new(&program)
        .args(["worker", "--until-stdin-closes", "--name", &name])
        // In the environment and not in the arguments, which every user of the machine can read.
        .env("DATABASE_URL", url)
        .env("CODETUNE_DATA_DIR", absolute(&config.paths.data))
        .env("CODETUNE_PLUGINS_DIR", absolute(&config.paths.plugins))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(false)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let lifeline = child.stdin.take().context("the worker has no pipe")?;
    Ok(WorkerProcess {
        child,
        lifeline,
        name,
    })
}

/// Keeps one worker alive until it is stopped.
#[derive(Debug)]
pub struct Supervisor {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Supervisor {
    /// Starts a worker and starts another whenever one ends, later and later when they end soon. `on_news` hears
    /// of every change.
    pub fn start(
        config: Config,
        store: Store,
        on_news: impl Fn(WorkerNews) + Send + Sync + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(supervise(config, store, on_news, stopped));
        Self { stop, task }
    }

    /// Lets the worker save its run and end.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!("the worker's supervisor failed: {error}");
        }
    }
}

async fn supervise(
    config: Config,
    store: Store,
    on_news: impl Fn(WorkerNews) + Send + Sync,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut wait = SHORTEST_WAIT;
    loop {
        let begun = Instant::now();
        let reason = match worker_process(&config, &store) {
            Err(error) => format!("{error:#}"),
            Ok(mut worker) => {
                let pid = worker.child.id().unwrap_or_default();
                tracing::info!(pid, worker = worker.name, "worker started");
                on_news(WorkerNews::Running { pid });
                tokio::select! {
                    status = worker.child.wait() => {
                        interrupt(&store, worker.name).await;
                        match status {
                            Ok(status) => format!("the worker ended: {status}"),
                            Err(error) => format!("the worker was lost: {error}"),
                        }
                    }
                    _ = &mut stopped => return end(worker, &store).await,
                }
            }
        };
        if begun.elapsed() > GOOD_START {
            wait = SHORTEST_WAIT;
        }
        tracing::warn!("{reason}; another one is started in {wait:?}");
        on_news(WorkerNews::Restarting { reason });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = &mut stopped => return,
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Closes the pipe and waits for the worker to save; a worker that does not end is killed, and its run resumes
/// from its last checkpoint.
async fn end(worker: WorkerProcess, store: &Store) {
    let WorkerProcess {
        mut child,
        lifeline,
        name,
    } = worker;
    drop(lifeline);
    match tokio::time::timeout(SAVE_TIME, child.wait()).await {
        Ok(Ok(status)) => tracing::info!("the worker ended: {status}"),
        Ok(Err(error)) => tracing::warn!("the worker was lost: {error}"),
        Err(_) => {
            tracing::warn!("the worker does not end; it is killed");
            if let Err(error) = child.kill().await {
                tracing::warn!("the worker cannot be killed: {error}");
            }
            interrupt(store, name).await;
        }
    }
}

/// The run of a worker that is known to be dead need not wait for its lease to end.
async fn interrupt(store: &Store, name: String) {
    let store = store.clone();
    let call = tokio::task::spawn_blocking(move || store.interrupt_worker(&name)).await;
    match call {
        Ok(Ok(ids)) => {
            for id in ids {
                tracing::warn!(run = %id, "the run is interrupted: its worker ended");
            }
        }
        // The lease will end by itself.
        Ok(Err(error)) => tracing::warn!("the worker's run could not be marked: {error}"),
        Err(error) => tracing::warn!("the worker's run could not be marked: {error}"),
    }
}
