//! Runs as rows: made, found, listed, renamed, deleted. How they are worked on is in `queue`.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use domain::{CurationSummary, RunConfig, RunId, RunStatus};
use serde::Serialize;

use crate::connection::AnyConnection;
use crate::schema::runs;
use crate::{Error, Store, to_u64};

/// A run to be made.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id; the caller makes it, so that it can name folders before the row exists.
    pub id: RunId,
    /// What people call it; need not be unique.
    pub name: String,
    /// Everything that decides it, already validated.
    pub config: RunConfig,
}

/// A run and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Everything that decides it.
    pub config: RunConfig,
    /// It goes on from its last checkpoint instead of beginning anew.
    pub resume: bool,
    /// Who works on it, or did last.
    pub worker: Option<String>,
    /// Why it failed or was interrupted.
    pub error: Option<String>,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps in all, once known.
    pub total_steps: Option<u64>,
    /// Epochs done, as a fraction.
    pub epoch: f64,
    /// Training loss of the last step.
    pub last_loss: Option<f64>,
    /// Held-out loss of the last evaluation; none while nothing was evaluated.
    pub eval_loss: Option<f64>,
    /// Speed of the last step.
    pub tokens_per_second: Option<f64>,
    /// What its curators made of its data; none where it has none, or has not come so far.
    pub curation: Option<CurationSummary>,
    /// Seq of its newest event; 0 while there is none.
    pub event_seq: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When a worker first took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// In which order runs are listed; those without the figure come last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunOrder {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
    /// By name, in any case of ASCII letters.
    Name,
    /// Lowest last loss first.
    Loss,
    /// Lowest held-out loss first.
    EvalLoss,
    /// Most steps first.
    Steps,
}

/// Which runs to list; the default is the newest hundred.
#[derive(Debug, Clone)]
pub struct RunFilter {
    /// Only these statuses; empty for all.
    pub status: Vec<RunStatus>,
    /// Only names that contain this, in any case of ASCII letters.
    pub search: Option<String>,
    /// Which come first.
    pub order: RunOrder,
    /// At most so many.
    pub limit: i64,
    /// Skip so many.
    pub offset: i64,
}

impl Default for RunFilter {
    fn default() -> Self {
        Self {
            status: Vec::new(),
            search: None,
            order: RunOrder::default(),
            limit: 100,
            offset: 0,
        }
    }
}

impl Store {
    /// Puts a run into the queue.
    ///
    /// # Errors
    /// When the id is taken or the database fails.
    pub fn create_run(&self, run: &NewRun) -> Result<Run, Error> {
        let row = NewRow {
            id: run.id.to_string(),
            name: &run.name,
            status: RunStatus::Queued.as_str(),
            config: to_json(&run.config),
            created_at: Utc::now().naive_utc(),
            queued_at: Utc::now().naive_utc(),
        };
        self.write(|connection| {
            diesel::insert_into(runs::table)
                .values(&row)
                .execute(connection)?;
            find(connection, run.id)
        })
    }

    /// The run of that id, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find_run(&self, id: RunId) -> Result<Option<Run>, Error> {
        self.read(|connection| match find(connection, id) {
            Ok(run) => Ok(Some(run)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Runs, in the order of the filter.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_runs(&self, filter: &RunFilter) -> Result<Vec<Run>, Error> {
        self.read(|connection| {
            let query = matching(filter).select(Row::as_select());
            let query = match filter.order {
                RunOrder::Newest => query.order(runs::created_at.desc()),
                RunOrder::Oldest => query.order((runs::created_at.asc(), runs::id.asc())),
                RunOrder::Name => query.order(lower(runs::name).asc()),
                // The databases do not agree where NULL belongs.
                RunOrder::Loss => query.order((runs::last_loss.is_null(), runs::last_loss.asc())),
                RunOrder::EvalLoss => {
                    query.order((runs::eval_loss.is_null(), runs::eval_loss.asc()))
                }
                RunOrder::Steps => query.order(runs::step.desc()),
            };
            // Pages must not share a run: among equals the newest is first.
            let rows: Vec<Row> = query
                .then_order_by(runs::id.desc())
                .limit(filter.limit.max(0))
                .offset(filter.offset.max(0))
                .load(connection)?;
            rows.into_iter().map(Row::into_run).collect()
        })
    }

    /// How many runs a filter matches, whatever its limit.
    ///
    /// # Errors
    /// When the database fails.
    pub fn count_runs(&self, filter: &RunFilter) -> Result<i64, Error> {
        self.read(|connection| Ok(matching(filter).count().get_result(connection)?))
    }

    /// Gives a run another name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn rename_run(&self, id: RunId, name: &str) -> Result<Run, Error> {
        self.write(|connection| {
            diesel::update(runs::table.find(id.to_string()))
                .set(runs::name.eq(name))
                .execute(connection)?;
            find(connection, id)
        })
    }

    /// Deletes a run and all that hangs on it; its files are the caller's to remove.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::WrongStatus`] while a worker may still write.
    pub fn delete_run(&self, id: RunId) -> Result<(), Error> {
        self.write(|connection| {
            let run = lock(connection, id)?;
            if !run.status.is_final() {
                return Err(Error::WrongStatus {
                    id,
                    status: run.status,
                    hint: "stop it before you delete it",
                });
            }
            diesel::delete(runs::table.find(id.to_string())).execute(connection)?;
            Ok(())
        })
    }
}

/// The run of that id, or [`Error::NotFound`].
pub(crate) fn find(connection: &mut AnyConnection, id: RunId) -> Result<Run, Error> {
    runs::table
        .find(id.to_string())
        .select(Row::as_select())
        .first(connection)
        .optional()?
        .ok_or_else(|| not_found(id))?
        .into_run()
}

/// The same, and nobody else changes the row until the transaction ends.
pub(crate) fn lock(connection: &mut AnyConnection, id: RunId) -> Result<Run, Error> {
    if let AnyConnection::Postgres(inner) = connection {
        runs::table
            .find(id.to_string())
            .select(runs::fence)
            .for_update()
            .first::<i64>(inner)
            .optional()?;
    }
    find(connection, id)
}

pub(crate) fn not_found(id: RunId) -> Error {
    Error::NotFound {
        what: "run",
        id: id.to_string(),
    }
}

pub(crate) fn parse_id(text: &str) -> Result<RunId, Error> {
    text.parse().map_err(|error| Error::Corrupt {
        what: "run",
        id: text.to_owned(),
        message: format!("its id is no UUID: {error}"),
    })
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data serializes")
}

type Boxed<'a> = runs::BoxedQuery<'a, crate::connection::MultiBackend>;

fn matching(filter: &RunFilter) -> Boxed<'_> {
    let mut query = runs::table.into_boxed();
    if !filter.status.is_empty() {
        let words: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
        query = query.filter(runs::status.eq_any(words));
    }
    if let Some(text) = filter.search.as_deref().map(str::trim)
        && !text.is_empty()
    {
        let escaped = text
            .to_ascii_lowercase()
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        query = query.filter(lower(runs::name).like(format!("%{escaped}%")).escape('\\'));
    }
    query
}

#[diesel::declare_sql_function]
extern "SQL" {
    fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

#[derive(Insertable)]
#[diesel(table_name = runs)]
struct NewRow<'a> {
    id: String,
    name: &'a str,
    status: &'a str,
    config: String,
    created_at: NaiveDateTime,
    queued_at: NaiveDateTime,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = runs)]
pub(crate) struct Row {
    id: String,
    name: String,
    status: String,
    config: String,
    resume: bool,
    worker: Option<String>,
    error: Option<String>,
    event_seq: i64,
    step: i64,
    total_steps: Option<i64>,
    epoch: f64,
    last_loss: Option<f64>,
    eval_loss: Option<f64>,
    tokens_per_second: Option<f64>,
    curation: Option<String>,
    created_at: NaiveDateTime,
    started_at: Option<NaiveDateTime>,
    finished_at: Option<NaiveDateTime>,
}

impl Row {
    pub(crate) fn into_run(self) -> Result<Run, Error> {
        let corrupt = |message: String| Error::Corrupt {
            what: "run",
            id: self.id.clone(),
            message,
        };
        Ok(Run {
            id: parse_id(&self.id)?,
            status: self.status.parse().map_err(corrupt)?,
            // Not validated again: a newer version may be stricter about what an older one ran.
            config: serde_json::from_str(&self.config)
                .map_err(|error| corrupt(format!("its config: {error}")))?,
            name: self.name,
            resume: self.resume,
            worker: self.worker,
            error: self.error,
            step: to_u64(self.step),
            total_steps: self.total_steps.map(to_u64),
            epoch: self.epoch,
            last_loss: self.last_loss,
            eval_loss: self.eval_loss,
            tokens_per_second: self.tokens_per_second,
            curation: self
                .curation
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(|error| corrupt(format!("its curation: {error}")))?,
            event_seq: self.event_seq,
            created_at: self.created_at.and_utc(),
            started_at: self.started_at.map(|time| time.and_utc()),
            finished_at: self.finished_at.map(|time| time.and_utc()),
        })
    }
}
