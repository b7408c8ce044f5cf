//! What runs say, in order, kept so that a page can be reloaded and a stream be taken up again.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use domain::{RunEvent, RunId};
use serde::Serialize;

use crate::connection::AnyConnection;
use crate::metrics::{self, Point};
use crate::queue::{Claim, held};
use crate::runs::{not_found, to_json};
use crate::schema::{events, runs};
use crate::{Error, Store, checkpoints, to_i64};

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredEvent {
    /// Counts from 1 within the run, without a gap.
    pub seq: i64,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// What was said.
    #[serde(flatten)]
    pub event: RunEvent,
}

impl Store {
    /// The events of a run after `after_seq`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn events_after(
        &self,
        id: RunId,
        after_seq: i64,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, Error> {
        let rows: Vec<Row> = self.read(|connection| {
            Ok(events::table
                .filter(
                    events::run_id
                        .eq(id.to_string())
                        .and(events::seq.gt(after_seq)),
                )
                .order(events::seq)
                .limit(limit.max(0))
                .select(Row::as_select())
                .load(connection)?)
        })?;
        rows.into_iter()
            .map(|row| {
                Ok(StoredEvent {
                    seq: row.seq,
                    created_at: row.created_at.and_utc(),
                    event: serde_json::from_str(&row.event).map_err(|error| Error::Corrupt {
                        what: "event",
                        id: format!("{id}/{}", row.seq),
                        message: error.to_string(),
                    })?,
                })
            })
            .collect()
    }

    /// How many events of a run its workers said, and the last of them. The others are the store's own word on
    /// an interruption.
    ///
    /// # Errors
    /// When the database fails.
    pub fn worker_events(&self, id: RunId) -> Result<(usize, Option<RunEvent>), Error> {
        const OF_STORE: &str = "{\"event\":\"error\",\"code\":\"interrupted\"%";
        let (count, last): (i64, Option<String>) = self.read(|connection| {
            let said = || {
                events::table.filter(
                    events::run_id
                        .eq(id.to_string())
                        .and(events::event.not_like(OF_STORE)),
                )
            };
            let last = said()
                .order(events::seq.desc())
                .select(events::event)
                .first(connection)
                .optional()?;
            Ok((said().count().get_result(connection)?, last))
        })?;
        let last = last
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| Error::Corrupt {
                what: "event",
                id: id.to_string(),
                message: error.to_string(),
            })?;
        Ok((usize::try_from(count).unwrap_or(0), last))
    }

    /// Writes what a worker's run said: events, metrics, checkpoints and the run's progress, all or nothing.
    ///
    /// A batch whose commit was not confirmed may be sent again; it is written once.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]: nothing was written, and nothing more will be.
    pub fn append_events(&self, claim: &Claim, batch: &[RunEvent]) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let start = claim.written();
        let end = start + to_i64(batch.len() as u64);
        self.write(|connection| {
            // The fence is checked by the write that also locks the row.
            let before: Option<(i64, i64)> = diesel::update(runs::table.filter(held(claim)))
                .set(runs::event_seq.eq(runs::event_seq))
                .returning((runs::event_seq, runs::step))
                .get_result(connection)
                .optional()?;
            let (seq, step) = before.ok_or_else(|| claim.lost())?;
            if seq == end {
                return Ok(());
            }
            if seq != start {
                return Err(claim.lost());
            }
            insert(connection, claim.run.id, start, batch)?;
            record(connection, claim.run.id, step, batch)?;
            diesel::update(runs::table.find(claim.id()))
                .set(runs::event_seq.eq(end))
                .execute(connection)?;
            Ok(())
        })?;
        claim.set_written(end);
        Ok(())
    }
}

/// Adds an event that no worker said, in the caller's transaction.
pub(crate) fn append_as_host(
    connection: &mut AnyConnection,
    id: RunId,
    event: &RunEvent,
) -> Result<(), Error> {
    let seq: i64 = diesel::update(runs::table.find(id.to_string()))
        .set(runs::event_seq.eq(runs::event_seq + 1))
        .returning(runs::event_seq)
        .get_result(connection)
        .optional()?
        .ok_or_else(|| not_found(id))?;
    insert(connection, id, seq - 1, std::slice::from_ref(event))
}

fn insert(
    connection: &mut AnyConnection,
    id: RunId,
    start: i64,
    batch: &[RunEvent],
) -> Result<(), Error> {
    let created_at = Utc::now().naive_utc();
    let run_id = id.to_string();
    let rows: Vec<NewRow<'_>> = batch
        .iter()
        .zip(start + 1..)
        .map(|(event, seq)| NewRow {
            run_id: &run_id,
            seq,
            created_at,
            event: to_json(event),
        })
        .collect();
    for rows in rows.chunks(1000) {
        let insert = diesel::insert_into(events::table).values(rows);
        match connection {
            AnyConnection::Sqlite(inner) => insert.execute(inner)?,
            AnyConnection::Postgres(inner) => insert.execute(inner)?,
        };
    }
    Ok(())
}

/// Draws from the events what the other tables hold: metrics, checkpoints, progress.
fn record(
    connection: &mut AnyConnection,
    id: RunId,
    step_before: i64,
    batch: &[RunEvent],
) -> Result<(), Error> {
    let first_step = batch.iter().find_map(|event| match event {
        RunEvent::Step { step, .. } => Some(to_i64(*step)),
        _ => None,
    });
    // A resumed run goes back to its checkpoint: what it had said of later steps is said anew.
    if let Some(step) = first_step
        && step <= step_before
    {
        metrics::forget_from(connection, id, step)?;
    }
    let mut progress = Progress::default();
    let mut points = Vec::new();
    for event in batch {
        progress.take(event, &mut points);
        if let RunEvent::Checkpoint { step, path } = event {
            checkpoints::record(connection, id, *step, path)?;
        }
    }
    metrics::insert(connection, id, &points)?;
    if !progress.is_empty() {
        diesel::update(runs::table.find(id.to_string()))
            .set(&progress)
            .execute(connection)?;
    }
    Ok(())
}

/// What a batch changes in the run's row; `None` leaves a column as it is.
#[derive(AsChangeset, Default, PartialEq)]
#[diesel(table_name = runs)]
struct Progress {
    step: Option<i64>,
    total_steps: Option<i64>,
    epoch: Option<f64>,
    last_loss: Option<f64>,
    eval_loss: Option<f64>,
    tokens_per_second: Option<f64>,
    curation: Option<String>,
}

impl Progress {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn take(&mut self, event: &RunEvent, points: &mut Vec<Point>) {
        match event {
            RunEvent::Started { total_steps, .. } => self.total_steps = Some(to_i64(*total_steps)),
            RunEvent::Step {
                step,
                epoch,
                loss,
                learning_rate,
                grad_norm,
                supervised_tokens,
                tokens_per_second,
                process_rank: _,
                metrics,
            } => {
                let step = to_i64(*step);
                self.step = Some(step);
                self.epoch = Some(*epoch);
                self.last_loss = Some(*loss);
                self.tokens_per_second = Some(*tokens_per_second);
                #[expect(clippy::cast_precision_loss, reason = "tokens of one step")]
                let supervised_tokens = *supervised_tokens as f64;
                for (name, value) in [
                    ("loss", *loss),
                    ("learning_rate", *learning_rate),
                    ("grad_norm", *grad_norm),
                    ("supervised_tokens", supervised_tokens),
                    ("tokens_per_second", *tokens_per_second),
                ] {
                    points.push(Point::new(name, step, *epoch, value));
                }
                for (name, value) in metrics {
                    points.push(Point::new(name.as_str(), step, *epoch, *value));
                }
            }
            RunEvent::Eval {
                step,
                eval_loss,
                scores,
            } => {
                let step = to_i64(*step);
                let epoch = self.epoch.unwrap_or(0.0);
                self.eval_loss = Some(*eval_loss);
                points.push(Point::new("eval_loss", step, epoch, *eval_loss));
                for (name, score) in scores {
                    if let Some(value) = score.as_f64() {
                        points.push(Point::new(name.as_str(), step, epoch, value));
                    }
                }
            }
            RunEvent::Finished { steps, .. } => self.step = Some(to_i64(*steps)),
            RunEvent::Curated { summary, .. } => self.curation = Some(to_json(summary)),
            RunEvent::Curating { .. }
            | RunEvent::Checkpoint { .. }
            | RunEvent::Log { .. }
            | RunEvent::Error { .. } => {}
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = events)]
struct NewRow<'a> {
    run_id: &'a str,
    seq: i64,
    created_at: NaiveDateTime,
    event: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = events)]
struct Row {
    seq: i64,
    created_at: NaiveDateTime,
    event: String,
}
