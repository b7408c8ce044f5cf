//! How often a plugin asks hosts, over all its calls.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Requests of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    asked: Mutex<VecDeque<Instant>>,
}

impl Rate {
    /// Counts a request at `now`; false when there were `most` in the minute before.
    pub(crate) fn take(&self, most: u32, now: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        while asked
            .front()
            .is_some_and(|first| now.duration_since(*first) >= MINUTE)
        {
            asked.pop_front();
        }
        let may = asked.len() < most as usize;
        if may {
            asked.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Rate;

    #[test]
    fn a_minute_has_so_many_requests_and_the_next_one_too() {
        let (rate, start) = (Rate::default(), Instant::now());
        let at = |seconds| rate.take(2, start + Duration::from_secs(seconds));
        assert!(at(0) && at(30) && !at(59));
        assert!(at(60) && !at(61) && at(90));
    }
}
