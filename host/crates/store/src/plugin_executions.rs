//! The history of plugin calls.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use domain::{Execution, RunId};
use serde::Serialize;
use uuid::Uuid;

use crate::runs::{parse_id, to_json};
use crate::schema::plugin_executions;
use crate::{Error, Store, to_i64, to_u64};

/// Which calls to list; the default is the newest fifty.
#[derive(Debug, Clone)]
pub struct ExecutionFilter {
    /// Only of this plugin.
    pub plugin: Option<String>,
    /// Only of this run.
    pub run_id: Option<RunId>,
    /// At most so many.
    pub limit: i64,
}

impl Default for ExecutionFilter {
    fn default() -> Self {
        Self {
            plugin: None,
            run_id: None,
            limit: 50,
        }
    }
}

/// One call, kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredExecution {
    /// Its id.
    pub id: Uuid,
    /// The run that made the call, if one did.
    pub run_id: Option<RunId>,
    /// When it was kept.
    pub created_at: DateTime<Utc>,
    /// The call.
    #[serde(flatten)]
    pub execution: Execution,
}

impl Store {
    /// Keeps a call.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record_execution(
        &self,
        execution: &Execution,
        run_id: Option<RunId>,
    ) -> Result<Uuid, Error> {
        let id = Uuid::now_v7();
        let row = Row {
            id: id.to_string(),
            plugin: execution.plugin.clone(),
            run_id: run_id.map(|id| id.to_string()),
            digest: execution.digest.clone(),
            input_digest: execution.input_digest.clone(),
            duration_us: to_i64(execution.duration_us),
            fuel: to_i64(execution.fuel),
            peak_memory_bytes: to_i64(execution.peak_memory_bytes),
            // PostgreSQL has no text with a NUL in it.
            log: execution.log.replace('\0', "\u{fffd}"),
            outcome: to_json(&execution.outcome),
            created_at: Utc::now().naive_utc(),
        };
        self.write(|connection| {
            diesel::insert_into(plugin_executions::table)
                .values(&row)
                .execute(connection)?;
            Ok(())
        })?;
        Ok(id)
    }

    /// One call.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find_execution(&self, id: Uuid) -> Result<Option<StoredExecution>, Error> {
        let row: Option<Row> = self.read(|connection| {
            Ok(plugin_executions::table
                .find(id.to_string())
                .select(Row::as_select())
                .first(connection)
                .optional()?)
        })?;
        row.map(Row::into_stored).transpose()
    }

    /// Calls, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_executions(&self, filter: &ExecutionFilter) -> Result<Vec<StoredExecution>, Error> {
        let rows: Vec<Row> = self.read(|connection| {
            let mut query = plugin_executions::table.into_boxed();
            if let Some(plugin) = &filter.plugin {
                query = query.filter(plugin_executions::plugin.eq(plugin));
            }
            if let Some(run_id) = filter.run_id {
                query = query.filter(plugin_executions::run_id.eq(run_id.to_string()));
            }
            Ok(query
                .order((
                    plugin_executions::created_at.desc(),
                    plugin_executions::id.desc(),
                ))
                .limit(filter.limit.max(0))
                .select(Row::as_select())
                .load(connection)?)
        })?;
        rows.into_iter().map(Row::into_stored).collect()
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = plugin_executions)]
struct Row {
    id: String,
    plugin: String,
    run_id: Option<String>,
    digest: String,
    input_digest: String,
    duration_us: i64,
    fuel: i64,
    peak_memory_bytes: i64,
    log: String,
    outcome: String,
    created_at: NaiveDateTime,
}

impl Row {
    fn into_stored(self) -> Result<StoredExecution, Error> {
        let corrupt = |message: String| Error::Corrupt {
            what: "plugin execution",
            id: self.id.clone(),
            message,
        };
        Ok(StoredExecution {
            id: self
                .id
                .parse()
                .map_err(|error: uuid::Error| corrupt(error.to_string()))?,
            run_id: self.run_id.as_deref().map(parse_id).transpose()?,
            created_at: self.created_at.and_utc(),
            execution: Execution {
                outcome: serde_json::from_str(&self.outcome)
                    .map_err(|error| corrupt(format!("its outcome: {error}")))?,
                plugin: self.plugin,
                digest: self.digest,
                input_digest: self.input_digest,
                duration_us: to_u64(self.duration_us),
                fuel: to_u64(self.fuel),
                peak_memory_bytes: to_u64(self.peak_memory_bytes),
                log: self.log,
            },
        })
    }
}
