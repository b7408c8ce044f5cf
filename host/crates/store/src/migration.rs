//! Brings a database to the tables that this version knows, and back.

use chrono::Utc;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use serde::Serialize;

use crate::connection::AnyConnection;
use crate::{Error, Store};

const SQLITE: EmbeddedMigrations = embed_migrations!("../../../migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("../../../migrations/postgres");

/// Any number that no other program uses: PostgreSQL's advisory lock while migrations run.
const LOCK: i64 = 0x636f_6465_7475_6e65;

/// One migration that this version knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationState {
    /// Its folder's name.
    pub name: String,
    /// The database has it.
    pub applied: bool,
}

impl Store {
    /// Applies what is missing and returns the names, in order. Two processes may try at once.
    ///
    /// # Errors
    /// [`Error::Newer`] when the database is ahead of this program, [`Error::Migration`] when one fails; the
    /// ones before it stay applied.
    pub fn migrate(&self) -> Result<Vec<String>, Error> {
        migrate(&mut *self.connection()?)
    }

    /// Takes back the last `count` migrations, newest first, and returns their names.
    ///
    /// # Errors
    /// [`Error::Migration`] when one fails or has no way back.
    pub fn revert(&self, count: usize) -> Result<Vec<String>, Error> {
        let mut connection = self.connection()?;
        let mut reverted = Vec::new();
        for _ in 0..count {
            if applied(&mut connection)?.is_empty() {
                break;
            }
            let version = match &mut *connection {
                AnyConnection::Sqlite(inner) => revert_last(inner, SQLITE)?,
                AnyConnection::Postgres(inner) => revert_last(inner, POSTGRES)?,
            };
            reverted.push(version);
        }
        Ok(reverted)
    }

    /// Every migration that this version knows, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn migration_status(&self) -> Result<Vec<MigrationState>, Error> {
        let mut connection = self.connection()?;
        let applied = applied(&mut connection)?;
        Ok(known(&connection)?
            .into_iter()
            .map(|(version, name)| MigrationState {
                name,
                applied: applied.contains(&version),
            })
            .collect())
    }
}

/// See [`Store::migrate`].
pub(crate) fn migrate(connection: &mut AnyConnection) -> Result<Vec<String>, Error> {
    // Even asking what is applied makes PostgreSQL's table of migrations, which two may not do at once.
    if let AnyConnection::Postgres(inner) = connection {
        inner.batch_execute(&format!("SELECT pg_advisory_lock({LOCK})"))?;
    }
    let result = migrate_alone(connection);
    if let AnyConnection::Postgres(inner) = connection {
        inner.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})"))?;
    }
    result
}

fn migrate_alone(connection: &mut AnyConnection) -> Result<Vec<String>, Error> {
    let known = known(connection)?;
    if let Some(version) = applied(connection)?
        .into_iter()
        .find(|version| !known.iter().any(|(known, _)| known == version))
    {
        return Err(Error::Newer { version });
    }
    if pending(connection)?.is_empty() {
        return Ok(Vec::new());
    }
    let begun = Utc::now();
    let names = match connection {
        AnyConnection::Sqlite(inner) => {
            AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN IMMEDIATE")?;
            let result = run_pending(inner, SQLITE);
            if result.is_ok() {
                AnsiTransactionManager::commit_transaction(inner)?;
            } else {
                let _ = AnsiTransactionManager::rollback_transaction(inner);
            }
            result?
        }
        AnyConnection::Postgres(inner) => run_pending(inner, POSTGRES)?,
    };
    if !names.is_empty() {
        let took_ms = (Utc::now() - begun).num_milliseconds();
        tracing::info!(took_ms, migrations = names.join(", "), "database migrated");
    }
    Ok(names)
}

fn run_pending<C, DB>(connection: &mut C, source: EmbeddedMigrations) -> Result<Vec<String>, Error>
where
    C: MigrationHarness<DB>,
    DB: diesel::backend::Backend,
{
    // Asked again under the lock: another process may have been quicker.
    let pending = connection.pending_migrations(source).map_err(failed)?;
    pending
        .iter()
        .map(|migration| {
            connection.run_migration(migration).map_err(failed)?;
            Ok(migration.name().to_string())
        })
        .collect()
}

fn revert_last<C, DB>(connection: &mut C, source: EmbeddedMigrations) -> Result<String, Error>
where
    C: MigrationHarness<DB>,
    DB: diesel::backend::Backend,
{
    connection
        .revert_last_migration(source)
        .map(|version| version.to_string())
        .map_err(failed)
}

fn pending(connection: &mut AnyConnection) -> Result<Vec<String>, Error> {
    fn names<DB: diesel::backend::Backend>(migrations: &[Box<dyn Migration<DB>>]) -> Vec<String> {
        migrations
            .iter()
            .map(|migration| migration.name().to_string())
            .collect()
    }
    match connection {
        AnyConnection::Sqlite(inner) => inner.pending_migrations(SQLITE).map(|found| names(&found)),
        AnyConnection::Postgres(inner) => inner
            .pending_migrations(POSTGRES)
            .map(|found| names(&found)),
    }
    .map_err(failed)
}

fn applied(connection: &mut AnyConnection) -> Result<Vec<String>, Error> {
    fn texts(versions: Vec<MigrationVersion<'_>>) -> Vec<String> {
        versions.iter().map(ToString::to_string).collect()
    }
    match connection {
        AnyConnection::Sqlite(inner) => inner.applied_migrations().map(texts),
        AnyConnection::Postgres(inner) => inner.applied_migrations().map(texts),
    }
    .map_err(failed)
}

/// Version and name of each migration for this database.
fn known(connection: &AnyConnection) -> Result<Vec<(String, String)>, Error> {
    fn pairs<DB: diesel::backend::Backend>(
        source: EmbeddedMigrations,
    ) -> diesel::migration::Result<Vec<(String, String)>> {
        let migrations: Vec<Box<dyn Migration<DB>>> = source.migrations()?;
        Ok(migrations
            .iter()
            .map(|migration| {
                (
                    migration.name().version().to_string(),
                    migration.name().to_string(),
                )
            })
            .collect())
    }
    match connection {
        AnyConnection::Sqlite(_) => pairs::<diesel::sqlite::Sqlite>(SQLITE),
        AnyConnection::Postgres(_) => pairs::<diesel::pg::Pg>(POSTGRES),
    }
    .map_err(failed)
}

fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Migration(error.to_string())
}
