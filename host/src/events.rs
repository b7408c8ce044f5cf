//! Live events of runs: one poller per watched run reads the events table and tells everybody who listens.
//!
//! The table is the truth. A listener first reads what it missed from there and then follows the poller, so
//! a reconnect with `Last-Event-ID`, a server restart or a worker on another machine change nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use actix_web::web::Bytes;
use domain::{RunId, RunStatus};
use serde_json::json;
use store::{Store, StoredEvent};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

use crate::state::blocking;

const POLL: Duration = Duration::from_millis(250);
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events read at once; a long history is sent in pages of this size.
const PAGE: i64 = 500;
/// Batches that a slow listener may lag behind before it has to read the table again.
const BACKLOG: usize = 64;

/// What a poller tells its listeners.
#[derive(Debug, Clone)]
enum News {
    Events(Arc<Vec<StoredEvent>>),
    /// The run's row changed in a way that no event tells: status, worker, name.
    Status(RunStatus, Option<String>),
}

type Watched = HashMap<RunId, Weak<broadcast::Sender<News>>>;

/// Everybody who watches a run.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<Watched>>);

impl Hub {
    /// How many runs are watched now.
    pub fn watched(&self) -> usize {
        self.0
            .lock()
            .expect("no holder panics")
            .values()
            .filter(|sender| sender.strong_count() > 0)
            .count()
    }

    /// The stream of one listener, as the bytes of server-sent events: everything after `after` from the table,
    /// then what comes. Ends by itself after a final status has been sent.
    pub fn follow(&self, store: Store, run: RunId, after: i64) -> mpsc::Receiver<Bytes> {
        let (send, receive) = mpsc::channel(16);
        let hub = self.clone();
        actix_web::rt::spawn(async move {
            if let Err(error) = listen(&hub, &store, run, after, &send).await
                && !send.is_closed()
            {
                tracing::warn!("events of run {run}: {error:#}");
            }
        });
        receive
    }

    /// The poller of a run; the first listener starts it at its own position.
    fn watch(&self, store: &Store, run: RunId, after: i64) -> Arc<broadcast::Sender<News>> {
        let mut watched = self.0.lock().expect("no holder panics");
        if let Some(sender) = watched.get(&run).and_then(Weak::upgrade) {
            return sender;
        }
        let sender = Arc::new(broadcast::channel(BACKLOG).0);
        watched.retain(|_, sender| sender.strong_count() > 0);
        watched.insert(run, Arc::downgrade(&sender));
        actix_web::rt::spawn(poll(store.clone(), run, after, Arc::downgrade(&sender)));
        sender
    }
}

async fn poll(store: Store, run: RunId, mut after: i64, listeners: Weak<broadcast::Sender<News>>) {
    let mut last = None;
    while let Some(sender) = listeners.upgrade() {
        let reader = store.clone();
        let read = blocking(move || {
            // The row first: a final status is then never told before the events that lead to it.
            let row = reader.find_run(run)?;
            let events = reader.events_after(run, after, PAGE)?;
            Ok::<_, store::Error>((row, events))
        });
        match read.await {
            Ok(Ok((row, events))) => {
                let is_whole = events.len() < PAGE as usize;
                if let Some(event) = events.last() {
                    after = event.seq;
                    // Nobody listens any more: the next turn of the loop ends it.
                    let _ = sender.send(News::Events(Arc::new(events)));
                }
                let status = row.map(|row| (row.status, row.error));
                // While pages are left to read, the status would come before the events that explain it.
                if is_whole && status != last {
                    if let Some((status, error)) = status.clone() {
                        let _ = sender.send(News::Status(status, error));
                    }
                    last = status;
                }
            }
            Ok(Err(error)) => tracing::warn!("cannot read the events of run {run}: {error}"),
            Err(error) => tracing::warn!("cannot read the events of run {run}: {error}"),
        }
        drop(sender);
        tokio::time::sleep(POLL).await;
    }
}

async fn listen(
    hub: &Hub,
    store: &Store,
    run: RunId,
    mut after: i64,
    out: &mpsc::Sender<Bytes>,
) -> anyhow::Result<()> {
    out.send(Bytes::from_static(b"retry: 3000\n\n")).await?;
    let sender = hub.watch(store, run, after);
    // Subscribed before the replay, so that nothing falls between the two.
    let mut news = sender.subscribe();
    after = replay(store, run, after, out).await?;
    let reader = store.clone();
    if let Some(row) = blocking(move || reader.find_run(run)).await?? {
        after = replay(store, run, after, out).await?;
        out.send(status_message(row.status, row.error.as_deref()))
            .await?;
        if row.status.is_final() {
            return Ok(());
        }
    }
    loop {
        match tokio::time::timeout(HEARTBEAT, news.recv()).await {
            Err(_) => out.send(Bytes::from_static(b": alive\n\n")).await?,
            Ok(Ok(News::Events(events))) => {
                for event in events.iter().filter(|event| event.seq > after) {
                    out.send(message(event)).await?;
                }
                after = events.last().map_or(after, |event| event.seq.max(after));
            }
            Ok(Ok(News::Status(status, error))) => {
                out.send(status_message(status, error.as_deref())).await?;
                if status.is_final() {
                    return Ok(());
                }
            }
            Ok(Err(RecvError::Lagged(_))) => after = replay(store, run, after, out).await?,
            Ok(Err(RecvError::Closed)) => return Ok(()),
        }
    }
}

/// Sends what the table holds after `after`; returns the last number sent.
async fn replay(
    store: &Store,
    run: RunId,
    mut after: i64,
    out: &mpsc::Sender<Bytes>,
) -> anyhow::Result<i64> {
    loop {
        let reader = store.clone();
        let events = blocking(move || reader.events_after(run, after, PAGE)).await??;
        for event in &events {
            out.send(message(event)).await?;
        }
        after = events.last().map_or(after, |event| event.seq);
        if events.len() < PAGE as usize {
            return Ok(after);
        }
    }
}

fn message(stored: &StoredEvent) -> Bytes {
    let data = json!({ "seq": stored.seq, "at": stored.created_at, "run_event": stored.event });
    format!(
        "id: {}\nevent: {}\ndata: {data}\n\n",
        stored.seq,
        stored.event.name()
    )
    .into()
}

/// Carries no id: it is not in the table, and a reconnect learns the status anyway.
fn status_message(status: RunStatus, error: Option<&str>) -> Bytes {
    let data = json!({ "status": status, "final": status.is_final(), "error": error });
    format!("event: status\ndata: {data}\n\n").into()
}
