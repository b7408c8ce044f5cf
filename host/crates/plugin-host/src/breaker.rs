//! The circuit breaker: a plugin that traps again and again rests, longer each time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Faults in a row before the first rest.
const PATIENCE: u32 = 5;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Counts one version's faults.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_a_row: u32,
    rests: u32,
    until: Option<Instant>,
    message: String,
}

/// The plugin rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rest {
    /// The last fault.
    pub(crate) message: String,
    /// Until the next try.
    pub(crate) remaining: Duration,
}

impl Breaker {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers: whoever panicked left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls must wait. After a rest one call may try; its fault starts the next rest at once.
    pub(crate) fn rest(&self, now: Instant) -> Option<Rest> {
        let state = self.state();
        let remaining = state
            .until?
            .checked_duration_since(now)
            .filter(|rest| !rest.is_zero())?;
        Some(Rest {
            message: state.message.clone(),
            remaining,
        })
    }

    /// A call ended as a call should, whatever it answered.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        if state.in_a_row > 0 || state.rests > 0 {
            *state = State::default();
        }
    }

    /// A call trapped.
    pub(crate) fn trapped(&self, now: Instant, message: &str) {
        let mut state = self.state();
        state.in_a_row += 1;
        message.clone_into(&mut state.message);
        if state.in_a_row >= PATIENCE {
            let rest = FIRST_REST * 2_u32.saturating_pow(state.rests.min(16));
            state.until = Some(now + rest.min(LONGEST_REST));
            state.rests += 1;
            // The next fault after the rest counts as the last straw.
            state.in_a_row = PATIENCE - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Breaker, PATIENCE};

    #[test]
    fn faults_in_a_row_bring_a_rest_that_doubles_and_a_success_forgets_them() {
        let breaker = Breaker::default();
        let start = Instant::now();
        for _ in 1..PATIENCE {
            breaker.trapped(start, "boom");
        }
        assert_eq!(breaker.rest(start), None);
        breaker.trapped(start, "boom");
        assert_eq!(
            breaker.rest(start).unwrap().remaining,
            Duration::from_secs(1)
        );
        let later = start + Duration::from_secs(2);
        assert_eq!(breaker.rest(later), None);
        breaker.trapped(later, "again");
        let rest = breaker.rest(later).unwrap();
        assert_eq!(
            (rest.remaining, rest.message.as_str()),
            (Duration::from_secs(2), "again")
        );
        breaker.succeeded();
        assert_eq!(breaker.rest(later), None);
        breaker.trapped(later, "boom");
        assert_eq!(breaker.rest(later), None);
    }

    #[test]
    fn a_rest_never_exceeds_a_minute() {
        let breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..1000 {
            breaker.trapped(now, "boom");
        }
        assert_eq!(
            breaker.rest(now).unwrap().remaining,
            Duration::from_secs(60)
        );
    }
}
