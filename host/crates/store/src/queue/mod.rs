//! The queue of runs: who works on which, for how long, and who may still write.
//!
//! A worker holds a run by a lease that it renews. Each claim raises the run's fence, and every write of a
//! worker carries the fence of its claim: a worker that was given up, but lives, is refused at its next write.

mod claim;
mod interrupt;

use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use domain::{RunId, RunStatus};

use crate::connection::AnyConnection;
use crate::runs::{Run, find, lock, parse_id};
use crate::schema::runs;
use crate::{Error, Store};

pub use claim::{Claim, Signal};

const HELD: [&str; 2] = ["running", "stopping"];

impl Store {
    /// Takes the run that waits longest, if one does.
    ///
    /// # Errors
    /// When the database fails.
    pub fn claim_run(&self, worker: &str, lease: Duration) -> Result<Option<Claim>, Error> {
        // Looked at without a lock first: a worker asks several times a second, mostly in vain.
        if self.read(any_queued)?.is_none() {
            return Ok(None);
        }
        self.write(|connection| {
            let Some(id) = next_queued(connection)? else {
                return Ok(None);
            };
            let now = now(connection)?;
            let fence: Option<i64> = diesel::update(
                runs::table.filter(
                    runs::id
                        .eq(&id)
                        .and(runs::status.eq(RunStatus::Queued.as_str())),
                ),
            )
            .set((
                runs::status.eq(RunStatus::Running.as_str()),
                runs::worker.eq(worker),
                runs::fence.eq(runs::fence + 1),
                runs::lease_until.eq(now + delta(lease)),
                runs::error.eq(None::<String>),
                runs::finished_at.eq(None::<NaiveDateTime>),
            ))
            .returning(runs::fence)
            .get_result(connection)
            .optional()?;
            let Some(fence) = fence else { return Ok(None) };
            diesel::update(runs::table.filter(runs::id.eq(&id).and(runs::started_at.is_null())))
                .set(runs::started_at.eq(now))
                .execute(connection)?;
            let run = find(connection, parse_id(&id)?)?;
            Ok(Some(Claim::new(run, fence)))
        })
    }

    /// Renews the lease and says whether somebody asked the run to stop.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the claim does not hold any more.
    pub fn heartbeat(&self, claim: &Claim, lease: Duration) -> Result<Signal, Error> {
        self.write(|connection| {
            let now = now(connection)?;
            diesel::update(runs::table.filter(held(claim)))
                .set(runs::lease_until.eq(now + delta(lease)))
                .returning(runs::stop_requested)
                .get_result(connection)
                .optional()?
                .map(Signal::from_request)
                .ok_or_else(|| claim.lost())
        })
    }

    /// The same question without renewing: cheap enough to be asked several times a second.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the claim does not hold any more.
    pub fn signal(&self, claim: &Claim) -> Result<Signal, Error> {
        self.read(|connection| {
            runs::table
                .filter(held(claim))
                .select(runs::stop_requested)
                .first(connection)
                .optional()?
                .map(Signal::from_request)
                .ok_or_else(|| claim.lost())
        })
    }

    /// Ends a run and gives it up. `error` says why it failed.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], and [`Error::WrongStatus`] for a status that is no end.
    pub fn finish_run(
        &self,
        claim: &Claim,
        status: RunStatus,
        error: Option<&str>,
    ) -> Result<(), Error> {
        if !status.is_final() {
            return Err(Error::WrongStatus {
                id: claim.run.id,
                status,
                hint: "a run is finished with a final status",
            });
        }
        self.write(|connection| {
            let finished = diesel::update(runs::table.filter(held(claim)))
                .set((
                    runs::status.eq(status.as_str()),
                    runs::error.eq(error),
                    runs::lease_until.eq(None::<NaiveDateTime>),
                    runs::stop_requested.eq(false),
                    runs::finished_at.eq(now(connection)?),
                ))
                .execute(connection)?;
            if finished == 0 {
                return Err(claim.lost());
            }
            Ok(())
        })
    }

    /// Puts a run back into the queue because its worker goes away, to be resumed by the next one.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    pub fn release_run(&self, claim: &Claim) -> Result<(), Error> {
        self.write(|connection| {
            let released = diesel::update(runs::table.filter(held(claim)))
                .set((
                    runs::status.eq(RunStatus::Queued.as_str()),
                    runs::resume.eq(true),
                    runs::lease_until.eq(None::<NaiveDateTime>),
                    runs::stop_requested.eq(false),
                ))
                .execute(connection)?;
            if released == 0 {
                return Err(claim.lost());
            }
            Ok(())
        })
    }

    /// Asks a run to stop: one that waits stops at once, one that runs within a step.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::WrongStatus`] when it has ended already.
    pub fn request_stop(&self, id: RunId) -> Result<Run, Error> {
        self.write(|connection| {
            let run = lock(connection, id)?;
            let row = runs::table.find(id.to_string());
            match run.status {
                RunStatus::Queued => diesel::update(row)
                    .set((
                        runs::status.eq(RunStatus::Stopped.as_str()),
                        runs::finished_at.eq(now(connection)?),
                    ))
                    .execute(connection)?,
                RunStatus::Running => diesel::update(row)
                    .set((
                        runs::status.eq(RunStatus::Stopping.as_str()),
                        runs::stop_requested.eq(true),
                    ))
                    .execute(connection)?,
                RunStatus::Stopping => return Ok(run),
                status => {
                    return Err(Error::WrongStatus {
                        id,
                        status,
                        hint: "there is nothing to stop",
                    });
                }
            };
            find(connection, id)
        })
    }

    /// Puts a run that did not complete back into the queue, to go on from its last checkpoint.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::WrongStatus`] when it cannot be resumed.
    pub fn requeue_run(&self, id: RunId) -> Result<Run, Error> {
        self.write(|connection| {
            let run = lock(connection, id)?;
            if !run.status.can_resume() {
                return Err(Error::WrongStatus {
                    id,
                    status: run.status,
                    hint: "only a stopped, failed or interrupted run can be resumed",
                });
            }
            diesel::update(runs::table.find(id.to_string()))
                .set((
                    runs::status.eq(RunStatus::Queued.as_str()),
                    runs::resume.eq(true),
                    runs::stop_requested.eq(false),
                    runs::error.eq(None::<String>),
                    runs::queued_at.eq(now(connection)?),
                    runs::finished_at.eq(None::<NaiveDateTime>),
                ))
                .execute(connection)?;
            find(connection, id)
        })
    }
}

/// The row of a claim while the claim holds. A lease that has run out but that nobody ended still holds: a
/// laptop that slept goes on where it was.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn held(claim: &Claim) -> _ {
    let id: String = claim.id();
    let fence: i64 = claim.fence;
    let held: [&'static str; 2] = HELD;
    runs::id
        .eq(id)
        .and(runs::fence.eq(fence))
        .and(runs::status.eq_any(held))
}

/// The clock that leases are measured by: the server's where several machines share one, else this machine's.
pub(crate) fn now(connection: &mut AnyConnection) -> Result<NaiveDateTime, Error> {
    match connection {
        AnyConnection::Sqlite(_) => Ok(Utc::now().naive_utc()),
        AnyConnection::Postgres(inner) => Ok(diesel::select(sql::<diesel::sql_types::Timestamp>(
            "clock_timestamp() AT TIME ZONE 'UTC'",
        ))
        .get_result(inner)?),
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

/// The id of the run that waits longest. On PostgreSQL workers pass over a row that another one is taking; on
/// SQLite the transaction already owns the file.
fn next_queued(connection: &mut AnyConnection) -> Result<Option<String>, Error> {
    let query = runs::table
        .filter(runs::status.eq(RunStatus::Queued.as_str()))
        .order((runs::queued_at, runs::id))
        .select(runs::id)
        .limit(1);
    Ok(match connection {
        AnyConnection::Sqlite(inner) => query.first(inner),
        AnyConnection::Postgres(inner) => query.for_update().skip_locked().first(inner),
    }
    .optional()?)
}

fn any_queued(connection: &mut AnyConnection) -> Result<Option<String>, Error> {
    Ok(runs::table
        .filter(runs::status.eq(RunStatus::Queued.as_str()))
        .select(runs::id)
        .first(connection)
        .optional()?)
}
