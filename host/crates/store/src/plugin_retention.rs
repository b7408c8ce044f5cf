//! What is kept of the plugins' history and audit, so that neither grows without end.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use crate::connection::AnyConnection;
use crate::schema::{plugin_executions, plugin_suggestions, plugin_uses};
use crate::{Error, Store, to_i64};

/// How much is kept; without either, everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Nothing from before this.
    pub since: Option<DateTime<Utc>>,
    /// The newest calls, and as many of the newest uses.
    pub rows: Option<u64>,
}

impl Store {
    /// Removes the oldest of the calls and uses that need not be kept, at most `batch` of each, and says how many went:
    /// none when it is done. Call it again and again; others can write in between.
    ///
    /// A call whose suggestions the user judged stays.
    ///
    /// # Errors
    /// When the database fails.
    pub fn prune_plugin_history(&self, keep: &Retention, batch: u32) -> Result<usize, Error> {
        self.write(|connection| {
            let calls = oldest_calls(connection, keep, batch)?;
            let uses = oldest_uses(connection, keep, batch)?;
            let mut gone = 0;
            if !calls.is_empty() {
                let calls = plugin_executions::table.filter(plugin_executions::id.eq_any(&calls));
                gone += diesel::delete(calls).execute(connection)?;
            }
            if !uses.is_empty() {
                let uses = plugin_uses::table.filter(plugin_uses::id.eq_any(&uses));
                gone += diesel::delete(uses).execute(connection)?;
            }
            Ok(gone)
        })
    }
}

/// The newest id of a table that is one too many, an id before all where none is. Ids are in the order of time, so that the
/// primary key finds it. A macro, since a query's type is its table's.
macro_rules! beyond {
    ($table:ident, $keep:expr, $connection:expr) => {{
        let newest: Option<String> = match $keep.rows {
            Some(rows) => $table::table
                .order($table::id.desc())
                .offset(to_i64(rows))
                .select($table::id)
                .first($connection)
                .optional()?,
            None => None,
        };
        newest.unwrap_or_default()
    }};
}

fn oldest_calls(
    connection: &mut AnyConnection,
    keep: &Retention,
    batch: u32,
) -> Result<Vec<String>, Error> {
    use plugin_executions::{created_at, id, table};
    let beyond = beyond!(plugin_executions, keep, connection);
    let judged = plugin_suggestions::table.select(plugin_suggestions::execution_id);
    let is_old = created_at.lt(since(keep)).or(id.le(beyond));
    Ok(table
        .filter(is_old.and(id.ne_all(judged)))
        .order(id)
        .limit(batch.into())
        .select(id)
        .load(connection)?)
}

fn oldest_uses(
    connection: &mut AnyConnection,
    keep: &Retention,
    batch: u32,
) -> Result<Vec<String>, Error> {
    use plugin_uses::{created_at, id, table};
    let beyond = beyond!(plugin_uses, keep, connection);
    let is_old = created_at.lt(since(keep)).or(id.le(beyond));
    Ok(table
        .filter(is_old)
        .order(id)
        .limit(batch.into())
        .select(id)
        .load(connection)?)
}

/// Nothing is older than the epoch.
fn since(keep: &Retention) -> chrono::NaiveDateTime {
    keep.since.unwrap_or(DateTime::UNIX_EPOCH).naive_utc()
}
