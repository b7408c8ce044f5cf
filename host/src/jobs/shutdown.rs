//! A request to end, which threads can wait for.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::Context;

/// Cheap to clone; once requested, it stays so.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: Mutex<bool>,
    changed: Condvar,
}

impl Shutdown {
    /// Asks whoever waits to end.
    pub fn request(&self) {
        *self.0.requested.lock().expect("no holder panics") = true;
        self.0.changed.notify_all();
    }

    /// Somebody asked.
    pub fn is_requested(&self) -> bool {
        *self.0.requested.lock().expect("no holder panics")
    }

    /// Sleeps for `duration`, or until somebody asks; says whether somebody did.
    pub fn wait(&self, duration: Duration) -> bool {
        let requested = self.0.requested.lock().expect("no holder panics");
        let (requested, _) = self
            .0
            .changed
            .wait_timeout_while(requested, duration, |requested| !*requested)
            .expect("no holder panics");
        *requested
    }
}

/// Calls `on_signal` at the first SIGINT (Ctrl-C) or SIGTERM. A second one ends the process at once, for whoever
/// cannot wait for a save.
///
/// # Errors
/// When the system gives no thread or no signal handler.
pub fn on_signals(on_signal: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot listen for signals")?;
    let listener = {
        let _inside = runtime.enter();
        Signals::new().context("cannot listen for signals")?
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                let mut listener = listener;
                listener.next().await;
                on_signal();
                listener.next().await;
                std::process::exit(130);
            });
        })
        .context("cannot listen for signals")?;
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Calls `on_end` when standard input is closed: how a worker notices that the process which started it is gone,
/// however it went.
///
/// # Errors
/// When the system gives no thread.
pub fn on_stdin_closed(on_end: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            // Whatever is written there is of no interest; an error counts as the end.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            on_end();
        })
        .context("cannot watch standard input")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_wakes_whoever_waits() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.wait(Duration::ZERO));
        let waiter = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || shutdown.wait(Duration::from_secs(600))
        });
        shutdown.request();
        assert!(waiter.join().unwrap());
        assert!(shutdown.is_requested());
    }
}
