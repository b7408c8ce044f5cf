//! Hot reload: one thread that waits for changes to calm down, then reloads. No two reloads ever race.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::{Error, PluginHost};

/// A build writes in bursts: the reload waits until the folder is quiet for so long …
const QUIET: Duration = Duration::from_millis(100);
/// … but not longer than this after the first change.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reloads the host's plugins until it is dropped.
pub struct Watcher {
    /// Dropping it closes the channel, which ends the thread.
    watcher: Option<RecommendedWatcher>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub(crate) fn start(host: PluginHost, folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let failed = |error: notify::Error| Error::Watch {
            path: folder.to_owned(),
            message: error.to_string(),
        };
        let (sender, events) = channel();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
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
            })
            .map_err(failed)?;
        watcher
            .watch(folder, RecursiveMode::Recursive)
            .map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("plugin-watch".to_owned())
            .spawn(move || {
                // What changed before the watch began.
                reload(&host);
                while wait(&events) {
                    reload(&host);
                }
            })
            .map_err(Error::io(folder))?;
        Ok(Self {
            watcher: Some(watcher),
            thread: Some(thread),
        })
    }
}

fn reload(host: &PluginHost) {
    let started = Instant::now();
    let before = host.generation();
    match host.reload() {
        Ok(generation) if generation > before => {
            tracing::info!("plugins reloaded in {} ms", started.elapsed().as_millis());
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("plugins cannot be reloaded: {error}"),
    }
}

/// Waits for a change and then for quiet; false when the watcher is gone.
fn wait(events: &Receiver<()>) -> bool {
    if events.recv().is_err() {
        return false;
    }
    let first = Instant::now();
    loop {
        match events.recv_timeout(QUIET) {
            Ok(()) if first.elapsed() < PATIENCE => {}
            Ok(()) | Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watcher = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
