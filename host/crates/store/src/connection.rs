//! One connection type over both databases, and how a connection is made.

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, Instant};

use diesel::connection::{
    AnsiTransactionManager, Instrumentation, InstrumentationEvent, SimpleConnection,
    TransactionManager,
};
use diesel::prelude::*;
use diesel::r2d2::{ManageConnection, R2D2Connection};

use crate::Error;
use crate::url::{Target, scrub, with_connect_timeout};

/// How long a SQLite connection waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to either database. Filters, joins, transactions and `RETURNING` work on it as it is; batch
/// inserts, `ON CONFLICT` and row locks need a match on the inner connection.
#[derive(diesel::MultiConnection)]
pub enum AnyConnection {
    /// A file.
    Sqlite(SqliteConnection),
    /// A server.
    Postgres(PgConnection),
}

/// Opens and tests connections for the pool.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) target: Target,
    pub(crate) sql_debug: bool,
}

impl ManageConnection for Manager {
    type Connection = AnyConnection;
    type Error = diesel::r2d2::Error;

    fn connect(&self) -> Result<AnyConnection, Self::Error> {
        connect(&self.target, self.sql_debug).map_err(diesel::r2d2::Error::ConnectionError)
    }

    fn is_valid(&self, connection: &mut AnyConnection) -> Result<(), Self::Error> {
        connection.ping().map_err(diesel::r2d2::Error::QueryError)
    }

    fn has_broken(&self, connection: &mut AnyConnection) -> bool {
        std::thread::panicking() || connection.is_broken()
    }
}

/// Opens one connection and sets what every connection needs.
pub(crate) fn connect(target: &Target, sql_debug: bool) -> ConnectionResult<AnyConnection> {
    let mut connection = match target {
        Target::Sqlite(path) => AnyConnection::Sqlite(connect_sqlite(path)?),
        Target::Postgres(url) => AnyConnection::Postgres(connect_postgres(url)?),
    };
    if sql_debug {
        connection.set_instrumentation(log_statements());
    }
    Ok(connection)
}

fn connect_sqlite(path: &Path) -> ConnectionResult<SqliteConnection> {
    let path = path.to_str().ok_or_else(|| {
        ConnectionError::BadConnection(format!("{}: the path is not UTF-8", path.display()))
    })?;
    let mut connection = SqliteConnection::establish(path)
        .map_err(|error| ConnectionError::BadConnection(format!("{path}: {error}")))?;
    // The timeout comes first: it already guards the next pragmas.
    connection
        .batch_execute(&format!(
            "PRAGMA busy_timeout = {}; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;",
            BUSY_TIMEOUT.as_millis()
        ))
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

fn connect_postgres(url: &str) -> ConnectionResult<PgConnection> {
    let mut connection =
        PgConnection::establish(&with_connect_timeout(url)).map_err(|error| match error {
            ConnectionError::BadConnection(message)
            | ConnectionError::InvalidConnectionUrl(message) => {
                ConnectionError::BadConnection(scrub(&message, url))
            }
            other => other,
        })?;
    connection
        .batch_execute("SET TIME ZONE 'UTC'; SET application_name = 'codetune';")
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Switches a SQLite file to write-ahead logging, which it then remembers.
///
/// The switch needs the file for itself for a moment and does not wait for it, hence the tries.
pub(crate) fn enable_wal(connection: &mut AnyConnection) -> Result<(), Error> {
    use backon::BlockingRetryable;
    let AnyConnection::Sqlite(connection) = connection else {
        return Ok(());
    };
    let mut switch = || connection.batch_execute("PRAGMA journal_mode = WAL;");
    (|| switch())
        .retry(
            backon::ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(10))
                .with_max_times(8),
        )
        .call()
        .map_err(Error::from)
}

/// Runs `work` in a transaction that owns the right to write from its first moment on, so that it cannot fail
/// half way because another writer was quicker.
pub(crate) fn write<T>(
    connection: &mut AnyConnection,
    work: impl FnOnce(&mut AnyConnection) -> Result<T, Error>,
) -> Result<T, Error> {
    match connection {
        AnyConnection::Sqlite(inner) => {
            AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN IMMEDIATE")?;
        }
        AnyConnection::Postgres(inner) => AnsiTransactionManager::begin_transaction(inner)?,
    }
    type Manager = <AnyConnection as Connection>::TransactionManager;
    match work(connection) {
        Ok(value) => {
            Manager::commit_transaction(connection)?;
            Ok(value)
        }
        Err(error) => {
            // The first fault is the one to tell; a connection that cannot roll back is not used again.
            let _ = Manager::rollback_transaction(connection);
            Err(error)
        }
    }
}

/// Logs each statement with its time. The values are cut off: they are the users' data.
fn log_statements() -> impl Instrumentation {
    let mut begun: Option<Instant> = None;
    move |event: InstrumentationEvent<'_>| match event {
        InstrumentationEvent::StartQuery { .. } => begun = Some(Instant::now()),
        InstrumentationEvent::FinishQuery { query, error, .. } => {
            let sql = statement(query);
            let took_us = begun.take().map_or(0, |begun| begun.elapsed().as_micros());
            match error {
                None => tracing::debug!(target: "store::sql", took_us, "{sql}"),
                Some(_) => tracing::debug!(target: "store::sql", took_us, failed = true, "{sql}"),
            }
        }
        _ => {}
    }
}

/// The statement without the values that diesel writes behind it.
fn statement(query: impl Display) -> String {
    let text = query.to_string();
    match text.find(" -- binds:") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
