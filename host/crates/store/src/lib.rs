//! The studio's memory: runs and their queue, metrics, events, checkpoints, plugins, datasets, adapters.
//!
//! SQLite or PostgreSQL through diesel, behind one [`Store`] that is cheap to clone. Every function is one unit
//! of work with its own transaction; all of them block, so an async caller runs them on a blocking thread.
//! No diesel type leaves this crate, and nothing here knows of HTTP, plugins or tensors.
//!
//! Start with [`Store::open`], then `runs` (rows), `queue` (leases and fencing), `metrics` (reduced reads).

mod adapters;
mod backup;
mod checkpoints;
mod config;
#[expect(unreachable_pub, reason = "what the MultiConnection derive generates")]
mod connection;
mod datasets;
mod error;
mod events;
mod fallback;
mod metrics;
mod migration;
mod plugin_executions;
mod plugin_retention;
mod plugin_suggestions;
mod plugin_uses;
mod plugins;
mod queue;
mod runs;
mod schema;
#[cfg(feature = "testing")]
pub mod testing;
mod url;

use std::sync::Arc;
use std::time::Duration;

use diesel::r2d2::{HandleError, Pool, PooledConnection};

pub use adapters::{Adapter, AdapterKind, NewAdapter};
pub use backup::restore;
pub use checkpoints::Checkpoint;
pub use config::{DatabaseConfig, PoolConfig};
pub use datasets::{Dataset, NewDataset};
pub use error::Error;
pub use events::StoredEvent;
pub use fallback::{Fallback, OnlyInFallback};
pub use metrics::MetricPoint;
pub use migration::MigrationState;
pub use plugin_executions::{ExecutionFilter, StoredExecution};
pub use plugin_retention::Retention;
pub use plugin_suggestions::{StoredSuggestion, SuggestionVerdict};
pub use plugin_uses::StoredUse;
pub use plugins::PluginSettings;
pub use queue::{Claim, Signal};
pub use runs::{NewRun, Run, RunFilter, RunOrder};
pub use url::redact;

use connection::{AnyConnection, Manager};
use url::Target;

/// Which database is behind a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Backend {
    /// The word that pages and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// How the connection pool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PoolStatus {
    /// Connections that are open.
    pub connections: u32,
    /// Those that nobody uses now.
    pub idle: u32,
    /// Most connections at once.
    pub max_size: u32,
}

/// A pool of connections to one database; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    pool: Pool<Manager>,
    backend: Backend,
    place: String,
    fallback: Option<Fallback>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("place", &self.0.place)
            .finish()
    }
}

impl Store {
    /// Opens the database and applies missing migrations.
    ///
    /// A PostgreSQL that cannot be reached in three tries, each later than the last, is replaced by the SQLite
    /// file at `fallback_path`; [`Store::fallback`] then says why.
    ///
    /// # Errors
    /// A URL of another scheme, a SQLite file that cannot be opened, a migration that fails.
    pub fn open(config: &DatabaseConfig) -> Result<Self, Error> {
        let store = Self::connect(config)?;
        store.migrate()?;
        Ok(store)
    }

    /// The same without migrations, for tools that look before they change anything.
    ///
    /// # Errors
    /// A URL of another scheme, a SQLite file that cannot be opened.
    pub fn connect(config: &DatabaseConfig) -> Result<Self, Error> {
        let target = url::parse(&config.url)?;
        let (target, fallback) = fallback::choose(target, config)?;
        let mut first = prepare(&target, config.sql_debug)?;
        connection::enable_wal(&mut first)?;
        let (backend, place) = match &target {
            Target::Sqlite(path) => (Backend::Sqlite, format!("sqlite:{}", path.display())),
            Target::Postgres(url) => (Backend::Postgres, redact(url)),
        };
        let pool = &config.pool;
        let pool = Pool::builder()
            .max_size(pool.max_size.max(1))
            .min_idle(Some(pool.min_idle.min(pool.max_size.max(1))))
            .connection_timeout(pool.connection_timeout.max(Duration::from_millis(1)))
            .max_lifetime(Some(pool.max_lifetime.max(Duration::from_secs(1))))
            .test_on_check_out(pool.test_on_check_out)
            .error_handler(Box::new(LogError))
            // The idle connections are opened in the background: a start does not wait for all of them.
            .build_unchecked(Manager {
                target,
                sql_debug: config.sql_debug,
            });
        Ok(Self(Arc::new(Inner {
            pool,
            backend,
            place,
            fallback,
        })))
    }

    /// Which database is in use.
    pub fn backend(&self) -> Backend {
        self.0.backend
    }

    /// Where the data is, without a password: for logs and the settings page.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// Why SQLite is in use where PostgreSQL was asked for; `None` when all is as configured.
    pub fn fallback(&self) -> Option<&Fallback> {
        self.0.fallback.as_ref()
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or what the database said.
    pub fn check(&self) -> Result<(), Error> {
        use diesel::connection::SimpleConnection;
        Ok(self.connection()?.batch_execute("SELECT 1")?)
    }

    /// How the pool stands now.
    pub fn pool_status(&self) -> PoolStatus {
        let state = self.0.pool.state();
        PoolStatus {
            connections: state.connections,
            idle: state.idle_connections,
            max_size: self.0.pool.max_size(),
        }
    }

    fn connection(&self) -> Result<PooledConnection<Manager>, Error> {
        self.0
            .pool
            .get()
            .map_err(|error| Error::Unavailable(error.to_string()))
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        work(&mut *self.connection()?)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        connection::write(&mut *self.connection()?, work)
    }
}

/// Opens the first connection, so that what is wrong is said at once and not by a pool that gave up.
fn prepare(target: &Target, sql_debug: bool) -> Result<AnyConnection, Error> {
    if let Target::Sqlite(path) = target
        && let Some(folder) = path.parent()
    {
        std::fs::create_dir_all(folder).map_err(|source| Error::File {
            path: folder.display().to_string(),
            source,
        })?;
    }
    connection::connect(target, sql_debug).map_err(|error| Error::Unavailable(error.to_string()))
}

/// Says through the log what a connection of the pool met; messages are scrubbed where they arise.
#[derive(Debug)]
struct LogError;

impl HandleError<diesel::r2d2::Error> for LogError {
    fn handle_error(&self, error: diesel::r2d2::Error) {
        tracing::warn!("database connection: {error}");
    }
}

/// A count or step as the databases keep it.
fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The same back; the tables hold no negative ones.
fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
