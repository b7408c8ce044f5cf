use std::path::PathBuf;
use std::time::Duration;

/// Which database, and how it is used.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// `sqlite:PATH`, `sqlite://PATH`, `postgres://…` or `postgresql://…`.
    pub url: String,
    /// The SQLite file that stands in for a PostgreSQL that cannot be reached.
    pub fallback_path: PathBuf,
    /// Log every statement, without its values.
    pub sql_debug: bool,
    /// The connection pool.
    pub pool: PoolConfig,
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("url", &crate::redact(&self.url))
            .field("fallback_path", &self.fallback_path)
            .field("sql_debug", &self.sql_debug)
            .field("pool", &self.pool)
            .finish()
    }
}

/// Bounds of the connection pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Most connections at once.
    pub max_size: u32,
    /// Connections kept ready.
    pub min_idle: u32,
    /// Longest wait for a connection.
    pub connection_timeout: Duration,
    /// A connection is replaced when it is older.
    pub max_lifetime: Duration,
    /// Try a connection before it is used.
    pub test_on_check_out: bool,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_size: 30,
            min_idle: 10,
            connection_timeout: Duration::from_secs(30),
            max_lifetime: Duration::from_secs(1800),
            test_on_check_out: true,
        }
    }
}
