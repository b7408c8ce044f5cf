use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Between two questions whether it is done.
const PAUSE: Duration = Duration::from_micros(50);
/// Questions for each look at the other processes.
const QUESTIONS: u32 = 200;
/// How long a fault of what is awaited waits for the reason, which comes by another way.
const REASON: Duration = Duration::from_secs(1);

/// Waits for what all processes have a part in, until `done` says so.
///
/// # Errors
/// As soon as `look`, which is asked again and again, knows of a process that has ended; what `done` met with; and `late`
/// where it takes longer than `most`.
pub(super) fn wait(
    mut done: impl FnMut() -> Result<bool>,
    look: &mut dyn FnMut() -> Result<()>,
    most: Duration,
    late: impl FnOnce() -> Error,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        for _ in 0..QUESTIONS {
            match done() {
                Ok(true) => return Ok(()),
                Ok(false) => std::thread::sleep(PAUSE),
                Err(fault) => return Err(reason(look).unwrap_or(fault)),
            }
        }
        look()?;
        if begun.elapsed() > most {
            return Err(late());
        }
    }
}

/// Which process has ended, where that is why it failed.
fn reason(look: &mut dyn FnMut() -> Result<()>) -> Option<Error> {
    let begun = Instant::now();
    loop {
        if let Err(gone) = look() {
            return Some(gone);
        }
        if begun.elapsed() > REASON {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(words: &str) -> Error {
        Error::Peer(words.into())
    }

    fn waited(
        done: impl FnMut() -> Result<bool>,
        mut look: impl FnMut() -> Result<()>,
        most: Duration,
    ) -> Result<()> {
        wait(done, &mut look, most, || fault("late"))
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn what_gets_done_is_waited_for() {
        let mut left = 450;
        let done = || {
            left -= 1;
            Ok(left == 0)
        };
        let mut looks = 0;
        let look = || {
            looks += 1;
            Ok(())
        };
        waited(done, look, LONG).unwrap();
        assert_eq!((left, looks), (0, 2));
    }

    #[test]
    fn a_process_that_has_ended_ends_the_wait_in_its_words() {
        let gone = || Err(fault("process rank 2 of 3 has ended"));
        let error = waited(|| Ok(false), gone, LONG).unwrap_err();
        assert_eq!(
            error.to_string(),
            fault("process rank 2 of 3 has ended").to_string()
        );
        // Also where what is awaited notices it first, in words of its own.
        let mut looks = 0;
        let gone = || {
            looks += 1;
            match looks {
                3.. => Err(fault("process rank 2 of 3 has ended")),
                _ => Ok(()),
            }
        };
        let error = waited(|| Err(fault("a network error")), gone, LONG).unwrap_err();
        assert_eq!(
            error.to_string(),
            fault("process rank 2 of 3 has ended").to_string()
        );
    }

    #[test]
    fn what_does_not_get_done_ends_by_itself() {
        let error = waited(|| Ok(false), || Ok(()), Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), fault("late").to_string());
    }
}
