use std::path::PathBuf;

use super::{ConfigError, Source, parsed};

/// Logging.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `LOG_LEVEL`; info.
    pub level: LogLevel,
    /// `LOG_FILE`; a file beside standard error, 10 MB and five old ones.
    pub file: Option<PathBuf>,
    /// `LOG_FORMAT`; `text` or `json`.
    pub json: bool,
    /// Colour on a terminal; `NO_COLOR` switches it off.
    pub colour: bool,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Faults only.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what happens.
    Info,
    /// And why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word that tracing uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl LogConfig {
    pub(super) fn read(source: Source<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            level: parsed(
                source,
                "LOG_LEVEL",
                LogLevel::Info,
                "error, warn, info, debug or trace",
                |value| match value.to_ascii_lowercase().as_str() {
                    "error" | "critical" => Some(LogLevel::Error),
                    "warn" | "warning" => Some(LogLevel::Warn),
                    "info" => Some(LogLevel::Info),
                    "debug" => Some(LogLevel::Debug),
                    "trace" => Some(LogLevel::Trace),
                    _ => None,
                },
            )?,
            file: source("LOG_FILE").map(PathBuf::from),
            json: parsed(
                source,
                "LOG_FORMAT",
                false,
                "text or json",
                |value| match value {
                    "text" => Some(false),
                    "json" => Some(true),
                    _ => None,
                },
            )?,
            colour: source("NO_COLOR").is_none(),
        })
    }
}
