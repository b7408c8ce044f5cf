use chrono::NaiveDateTime;
use diesel::prelude::*;
use domain::{RunEvent, RunId, RunStatus};

use super::{HELD, now};
use crate::connection::AnyConnection;
use crate::events::append_as_host;
use crate::runs::{lock, not_found, parse_id};
use crate::schema::runs;
use crate::{Error, Store};

impl Store {
    /// Marks every run whose lease has ended as interrupted, and returns them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn interrupt_expired(&self) -> Result<Vec<RunId>, Error> {
        // Asked without a transaction first: nearly always there is nothing to do, and nothing to lock.
        if self.read(expired)?.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|connection| {
            let ids = expired(connection)?;
            interrupt(connection, &ids, "its worker gave no sign of life")
        })
    }

    /// Marks the runs of one worker as interrupted, for whoever saw that process die.
    ///
    /// # Errors
    /// When the database fails.
    pub fn interrupt_worker(&self, worker: &str) -> Result<Vec<RunId>, Error> {
        self.write(|connection| {
            let ids = runs::table
                .filter(runs::worker.eq(worker).and(runs::status.eq_any(HELD)))
                .select(runs::id)
                .order(runs::id)
                .load(connection)?;
            interrupt(connection, &ids, "its worker process ended")
        })
    }
}

fn expired(connection: &mut AnyConnection) -> Result<Vec<String>, Error> {
    let now = now(connection)?;
    Ok(runs::table
        .filter(runs::status.eq_any(HELD).and(runs::lease_until.lt(now)))
        .select(runs::id)
        .order(runs::id)
        .load(connection)?)
}

/// Raises the fence, so that the old worker is refused, and tells the run's log.
fn interrupt(
    connection: &mut AnyConnection,
    ids: &[String],
    why: &str,
) -> Result<Vec<RunId>, Error> {
    let mut interrupted = Vec::new();
    for text in ids {
        let id = parse_id(text)?;
        let run = match lock(connection, id) {
            Ok(run) => run,
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        if !matches!(run.status, RunStatus::Running | RunStatus::Stopping) {
            continue;
        }
        let message = format!("{why}; resume the run to go on from its last checkpoint");
        let now = now(connection)?;
        let changed = diesel::update(runs::table.find(text))
            .set((
                runs::status.eq(RunStatus::Interrupted.as_str()),
                runs::fence.eq(runs::fence + 1),
                runs::error.eq(&message),
                runs::lease_until.eq(None::<NaiveDateTime>),
                runs::stop_requested.eq(false),
                runs::finished_at.eq(now),
            ))
            .execute(connection)?;
        if changed == 0 {
            return Err(not_found(id));
        }
        let event = RunEvent::Error {
            code: "interrupted".into(),
            message,
        };
        append_as_host(connection, id, &event)?;
        interrupted.push(id);
    }
    Ok(interrupted)
}
