use std::path::PathBuf;

use super::{ConfigError, PathsConfig, Source, flag};

/// Which database.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`; `sqlite:PATH` or `postgres://…`, by default SQLite in the data folder.
    pub url: String,
    /// The SQLite file that stands in for an unreachable PostgreSQL.
    pub fallback_path: PathBuf,
    /// `SQL_DEBUG`; log statements, with their values hidden.
    pub sql_debug: bool,
}

impl DatabaseConfig {
    pub(super) fn read(source: Source<'_>, paths: &PathsConfig) -> Result<Self, ConfigError> {
        let default = || format!("sqlite:{}", paths.data.join("codetune.db").display());
        Ok(Self {
            url: source("DATABASE_URL").unwrap_or_else(default),
            fallback_path: paths.data.join("fallback.db"),
            sql_debug: flag(source, "SQL_DEBUG", false)?,
        })
    }
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
