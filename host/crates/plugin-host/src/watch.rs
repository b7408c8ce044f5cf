//! Hot reload: one thread that waits for changes to calm down, then reloads. No two reloads ever race.
//!
//! The system tells of changes in the folder itself. It tells nothing of what another machine does in a network folder, or of
//! the target of a link, so the thread also looks by itself every now and then, which costs a look at each file's times.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::{Error, PluginHost};

/// A build writes in bursts: the reload waits until the folder is quiet for so long …
const QUIET: Duration = Duration::from_millis(100);
/// … but not longer than this after the first change.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks where nothing is told.
const POLL: Duration = Duration::from_secs(2);

/// Reloads the host's plugins until it is dropped.
pub struct Watcher {
    /// Dropping both closes the channel, which ends the thread.
    told: Option<(Sender<()>, Option<RecommendedWatcher>)>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub(crate) fn start(host: PluginHost, folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let (sender, events) = channel();
        let watcher = told(sender.clone(), folder);
        if let Err(error) = &watcher {
            tracing::warn!(
                "{}: the system does not tell of changes ({error}); they are looked for every {} s",
                folder.display(),
                POLL.as_secs()
            );
        }
        let thread = std::thread::Builder::new()
            .name("plugin-watch".to_owned())
            .spawn(move || {
                // What changed before the watch began.
                let mut failed = reload(&host, PluginHost::reload, None);
                loop {
                    let how: fn(&PluginHost) -> _ = match wait(&events) {
                        Woken::Told => PluginHost::reload,
                        Woken::Untold => PluginHost::poll,
                        Woken::Ended => return,
                    };
                    failed = reload(&host, how, failed);
                }
            })
            .map_err(Error::io(folder))?;
        Ok(Self {
            told: Some((sender, watcher.ok())),
            thread: Some(thread),
        })
    }
}

/// Has the system tell of changes.
fn told(sender: Sender<()>, folder: &Path) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that events were lost: that is a change too.
        let is_change = !matches!(
            event,
            Ok(notify::Event {
                kind: EventKind::Access(_),
                ..
            })
        );
        if is_change {
            let _ = sender.send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Reloads, and says so where something came of it; gives back why it failed, which is not said again while it is `known`.
fn reload(
    host: &PluginHost,
    how: fn(&PluginHost) -> Result<u64, Error>,
    known: Option<String>,
) -> Option<String> {
    let started = Instant::now();
    let before = host.generation();
    match how(host) {
        Ok(generation) if generation > before => {
            tracing::info!("plugins reloaded in {} ms", started.elapsed().as_millis());
            None
        }
        Ok(_) => None,
        Err(error) => {
            let failed = Some(error.to_string());
            if failed != known {
                tracing::warn!("plugins cannot be reloaded: {error}");
            }
            failed
        }
    }
}

/// Why the thread looks at the folder.
enum Woken {
    Told,
    /// Nothing was told for a while.
    Untold,
    /// The watcher is gone.
    Ended,
}

/// Waits for a change and then for quiet, or until it is time to look anyway.
fn wait(events: &Receiver<()>) -> Woken {
    match events.recv_timeout(POLL) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => return Woken::Untold,
        Err(RecvTimeoutError::Disconnected) => return Woken::Ended,
    }
    let first = Instant::now();
    loop {
        match events.recv_timeout(QUIET) {
            Ok(()) if first.elapsed() < PATIENCE => {}
            Ok(()) | Err(RecvTimeoutError::Timeout) => return Woken::Told,
            Err(RecvTimeoutError::Disconnected) => return Woken::Ended,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.told = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
