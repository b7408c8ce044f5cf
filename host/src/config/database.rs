use std::path::PathBuf;
use std::time::Duration;

use store::PoolConfig;

use super::{ConfigError, PathsConfig, Source, flag, parsed};

/// Which database.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`; `sqlite:PATH` or `postgres://…`, by default SQLite in the data folder.
    pub url: String,
    /// The SQLite file that stands in for an unreachable PostgreSQL.
    pub fallback_path: PathBuf,
    /// `SQL_DEBUG`; log statements, with their values hidden.
    pub sql_debug: bool,
    /// `DATABASE_POOL_MAX_SIZE` (30), `DATABASE_POOL_MIN_IDLE` (10), `DATABASE_POOL_TIMEOUT_S` (30),
    /// `DATABASE_POOL_LIFETIME_S` (1800), `DATABASE_POOL_TEST` (true): the connection pool.
    pub pool: PoolConfig,
}

impl DatabaseConfig {
    pub(super) fn read(source: Source<'_>, paths: &PathsConfig) -> Result<Self, ConfigError> {
        let default = || format!("sqlite:{}", paths.data.join("codetune.db").display());
        Ok(Self {
            url: source("DATABASE_URL").unwrap_or_else(default),
            fallback_path: paths.data.join("fallback.db"),
            sql_debug: flag(source, "SQL_DEBUG", false)?,
            pool: pool(source)?,
        })
    }
}

fn pool(source: Source<'_>) -> Result<PoolConfig, ConfigError> {
    let default = PoolConfig::default();
    let count = |variable, default| {
        parsed(
            source,
            variable,
            default,
            "a number of connections",
            |value| value.parse().ok().filter(|count| *count <= 1000),
        )
    };
    let seconds = |variable, default: Duration| {
        parsed(
            source,
            variable,
            default,
            "a number of seconds above 0",
            |value| {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0)?;
                Some(Duration::from_secs(seconds))
            },
        )
    };
    let max_size = count("DATABASE_POOL_MAX_SIZE", default.max_size)?.max(1);
    Ok(PoolConfig {
        max_size,
        min_idle: count("DATABASE_POOL_MIN_IDLE", default.min_idle)?.min(max_size),
        connection_timeout: seconds("DATABASE_POOL_TIMEOUT_S", default.connection_timeout)?,
        max_lifetime: seconds("DATABASE_POOL_LIFETIME_S", default.max_lifetime)?,
        test_on_check_out: flag(source, "DATABASE_POOL_TEST", default.test_on_check_out)?,
    })
}

impl std::fmt::Debug for DatabaseConfig {
    /// Leaves the URL out: it may hold a password, and settings are logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("fallback_path", &self.fallback_path)
            .field("sql_debug", &self.sql_debug)
            .finish_non_exhaustive()
    }
}
