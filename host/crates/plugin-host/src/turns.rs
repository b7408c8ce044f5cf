//! How many calls of one plugin run at once: one that is slow, or asked for too often, leaves threads to the others.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Calls that run now, of all versions of a plugin.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    running: Mutex<usize>,
    ended: Condvar,
}

/// Calls that may run until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    /// How many.
    pub(crate) calls: usize,
}

impl Turns {
    /// Waits for one call's turn, where `most` may run at once; none when there was none within `patience`.
    pub(crate) fn wait_within(&self, most: usize, patience: Duration) -> Option<Turn<'_>> {
        let is_full = |running: &mut usize| *running >= most;
        let waited = self
            .ended
            .wait_timeout_while(self.lock(), patience, is_full);
        let (running, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out()).then(|| self.take(running, 1))
    }

    /// Waits for one call's turn, however long that takes: calls end by their deadlines.
    pub(crate) fn wait(&self, most: usize) -> Turn<'_> {
        self.wait_for(1, most)
    }

    /// The same for as many of `wanted` calls as may run then.
    pub(crate) fn wait_for(&self, wanted: usize, most: usize) -> Turn<'_> {
        let running = (self.ended)
            .wait_while(self.lock(), |running| *running >= most)
            .unwrap_or_else(PoisonError::into_inner);
        let calls = wanted.clamp(1, most - *running);
        self.take(running, calls)
    }

    fn take(&self, mut running: MutexGuard<'_, usize>, calls: usize) -> Turn<'_> {
        *running += calls;
        Turn { turns: self, calls }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.turns.lock() -= self.calls;
        self.turns.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_calls_run_at_once_and_the_next_waits_for_one_to_end() {
        let turns = Turns::default();
        let now = |most| turns.wait_within(most, Duration::ZERO);
        let first = now(2).unwrap();
        let rest = turns.wait_for(5, 2);
        assert_eq!(rest.calls, 1, "what is left of two");
        assert!(now(2).is_none());
        assert!(now(3).is_some(), "and is free again when it ends");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| turns.wait(2).calls);
            drop(first);
            assert_eq!(waits.join().unwrap(), 1);
        });
        drop(rest);
        assert_eq!(*turns.lock(), 0);
    }
}
