//! How many calls of one plugin run at once: one that is slow, or asked for too often, leaves threads to the others.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Calls that run now, of all versions of a plugin.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    running: Mutex<usize>,
    ended: Condvar,
}

/// A call that may run until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for a call's turn, where `most` may run at once; none when there was none within `patience`.
    ///
    /// Not on a thread of a pool of rayon's: while that waits for the call it takes up others, which would wait for this one.
    pub(crate) fn wait_within(&self, most: usize, patience: Duration) -> Option<Turn<'_>> {
        let is_full = |running: &mut usize| *running >= most;
        let waited = self
            .ended
            .wait_timeout_while(self.lock(), patience, is_full);
        let (mut running, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *running += 1;
        Some(Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_calls_run_at_once_and_the_next_waits_for_one_to_end() {
        let turns = Turns::default();
        let now = |most| turns.wait_within(most, Duration::ZERO);
        let (first, second) = (now(2).unwrap(), now(2).unwrap());
        assert!(now(2).is_none());
        assert!(now(3).is_some(), "and is free again when it ends");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| turns.wait_within(2, Duration::from_secs(60)).is_some());
            drop(first);
            assert!(waits.join().unwrap());
        });
        drop(second);
        assert_eq!(*turns.lock(), 0);
    }
}
