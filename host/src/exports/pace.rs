//! How long the rest of a stage takes, by how long its share took until now.

use std::time::Instant;

/// Of a stage that is under way.
#[derive(Debug)]
pub(super) struct Pace {
    stage: String,
    begun: Instant,
    /// The share that was done when it was first heard of.
    from: f64,
}

impl Pace {
    /// Seconds that are left of `stage`, of which `share` is done `now`; none before there is something to go by.
    pub(super) fn left(
        pace: &mut Option<Self>,
        stage: &str,
        share: f64,
        now: Instant,
    ) -> Option<f64> {
        let same = pace.take().filter(|pace| pace.stage == stage);
        let pace = pace.insert(same.unwrap_or_else(|| Self {
            stage: stage.to_owned(),
            begun: now,
            from: share,
        }));
        let done = share - pace.from;
        let took = now.saturating_duration_since(pace.begun).as_secs_f64();
        (done > 0.0).then(|| took * (1.0 - share).max(0.0) / done)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_left_goes_by_the_pace_of_the_stage_and_begins_anew_with_the_next() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut pace = None;
        assert_eq!(Pace::left(&mut pace, "write", 0.25, at(0)), None);
        assert_eq!(Pace::left(&mut pace, "write", 0.625, at(3)), Some(3.0));
        assert_eq!(Pace::left(&mut pace, "write", 1.0, at(6)), Some(0.0));
        assert_eq!(Pace::left(&mut pace, "check", 0.0, at(9)), None);
        assert_eq!(Pace::left(&mut pace, "check", 0.5, at(10)), Some(1.0));
    }
}
