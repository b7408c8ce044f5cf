use std::sync::atomic::{AtomicI64, Ordering};

use crate::Error;
use crate::runs::Run;

/// The right to work on a run, until its lease ends or somebody takes it away.
#[derive(Debug)]
pub struct Claim {
    /// The run as it was when it was taken.
    pub run: Run,
    /// The token that every write carries.
    pub fence: i64,
    /// Seq of the last event that is known to be written, so that a batch whose commit was not confirmed can be
    /// sent again and is never written twice.
    written: AtomicI64,
}

impl Claim {
    pub(super) fn new(run: Run, fence: i64) -> Self {
        let written = AtomicI64::new(run.event_seq);
        Self {
            run,
            fence,
            written,
        }
    }

    pub(crate) fn id(&self) -> String {
        self.run.id.to_string()
    }

    pub(crate) fn written(&self) -> i64 {
        self.written.load(Ordering::SeqCst)
    }

    pub(crate) fn set_written(&self, seq: i64) {
        self.written.store(seq, Ordering::SeqCst);
    }

    /// The claim of a worker that never heard of the commit of its last `events` events.
    #[cfg(feature = "testing")]
    pub fn as_before_last_batch(&self, events: i64) -> Self {
        Self {
            run: self.run.clone(),
            fence: self.fence,
            written: AtomicI64::new(self.written() - events),
        }
    }

    pub(crate) fn lost(&self) -> Error {
        Error::LeaseLost(self.run.id)
    }
}

/// What a worker should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Go on.
    Continue,
    /// Save and end within one step.
    Stop,
}

impl Signal {
    pub(super) fn from_request(stop_requested: bool) -> Self {
        if stop_requested {
            Self::Stop
        } else {
            Self::Continue
        }
    }
}
