use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A request to end a run: it is seen before the next step, and what was learned is saved.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag, on this clone and all others.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The flag itself, for code that knows no engine.
    pub fn as_atomic(&self) -> &AtomicBool {
        &self.0
    }

    /// Whether somebody raised it.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
