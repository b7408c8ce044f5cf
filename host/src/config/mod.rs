//! Settings of the process: one struct per concern, and the only code that reads the environment.
//!
//! A `.env` file in the working directory fills what the environment leaves open.

mod database;
mod history;
mod hub;
mod log;
mod paths;
mod server;
mod world;

use std::env;

pub use database::DatabaseConfig;
pub use history::HistoryConfig;
pub use hub::HubConfig;
pub use log::{LogConfig, LogLevel};
pub use paths::PathsConfig;
pub use server::ServerConfig;

/// Every setting, read once at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the studio listens and who may enter.
    pub server: ServerConfig,
    /// Which database.
    pub database: DatabaseConfig,
    /// What is kept of plugins' calls.
    pub history: HistoryConfig,
    /// Folders.
    pub paths: PathsConfig,
    /// The Hugging Face hub.
    pub hub: HubConfig,
    /// Logging.
    pub log: LogConfig,
    /// The other processes of a run that several train, where this is one of them.
    pub world: Option<engine::World>,
}

/// A variable that cannot be used; names the variable and the value.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?}: {message}")]
pub struct ConfigError {
    /// The environment variable.
    pub variable: &'static str,
    /// What it holds.
    pub value: String,
    /// What it must hold.
    pub message: String,
}

impl Config {
    /// Reads `.env` and the environment.
    ///
    /// # Errors
    /// Names the first variable whose value cannot be used.
    pub fn load() -> Result<Self, ConfigError> {
        // A missing .env is the normal case.
        let _ = dotenvy::dotenv();
        Self::read(&|name| env::var(name).ok())
    }

    /// The same from any source of variables; an empty variable counts as not set.
    ///
    /// # Errors
    /// Names the first variable whose value cannot be used.
    pub fn read(source: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let variable = |name: &str| source(name).filter(|value| !value.trim().is_empty());
        let paths = PathsConfig::read(&variable);
        Ok(Self {
            server: ServerConfig::read(&variable)?,
            database: DatabaseConfig::read(&variable, &paths)?,
            history: HistoryConfig::read(&variable)?,
            hub: HubConfig::read(&variable)?,
            log: LogConfig::read(&variable)?,
            world: world::read(&variable)?,
            paths,
        })
    }
}

type Source<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Parses one variable, or takes the default when it is not set.
fn parsed<T>(
    source: Source<'_>,
    variable: &'static str,
    default: T,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    match source(variable) {
        None => Ok(default),
        Some(value) => parse(value.trim()).ok_or_else(|| ConfigError {
            variable,
            message: format!("must be {expected}"),
            value,
        }),
    }
}

/// `true`, `1`, `yes`, `on` and their opposites, in any case.
fn flag(source: Source<'_>, variable: &'static str, default: bool) -> Result<bool, ConfigError> {
    parsed(
        source,
        variable,
        default,
        "true or false",
        |value| match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::Config;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, super::ConfigError> {
        Config::read(&|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_are_loopback_and_sqlite_under_the_data_folder() {
        let config = read(&[("CODETUNE_DATA_DIR", "data")]).unwrap();
        assert_eq!(config.server.host, "127.0.0.1");
        assert_eq!(config.server.port, 7860);
        assert_eq!(config.database.url, "sqlite:data/codetune.db");
    }

    #[test]
    fn sql_debug_false_means_off() {
        assert!(!read(&[("SQL_DEBUG", "false")]).unwrap().database.sql_debug);
        assert!(read(&[("SQL_DEBUG", "true")]).unwrap().database.sql_debug);
    }

    #[test]
    fn a_bad_value_names_variable_and_value() {
        let message = read(&[("PORT", "many")]).unwrap_err().to_string();
        assert_eq!(message, "PORT=\"many\": must be a port between 0 and 65535");
        assert!(
            read(&[("SQL_DEBUG", "maybe")])
                .unwrap_err()
                .to_string()
                .contains("SQL_DEBUG")
        );
        assert!(
            read(&[("LOG_LEVEL", "loud")])
                .unwrap_err()
                .to_string()
                .contains("LOG_LEVEL")
        );
    }

    #[test]
    fn a_space_listens_on_all_addresses() {
        let config = read(&[("SPACE_ID", "me/studio")]).unwrap();
        assert_eq!(config.server.host, "0.0.0.0");
        assert_eq!(config.server.space_id.as_deref(), Some("me/studio"));
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        assert_eq!(read(&[("HOST", "")]).unwrap().server.host, "127.0.0.1");
    }
}
