//! The worker: takes runs from the queue and trains them, in a process of its own.
//!
//! Reading order: [`worker`] (the loop), `training` (one run), `recorder` (what it says goes into the database),
//! [`spawn`] (how `serve` keeps a worker process alive), [`shutdown`] (how all of them end).

pub mod deletion;
mod recorder;
mod replay;
pub mod shutdown;
pub mod spawn;
mod training;
pub mod worker;

pub use shutdown::Shutdown;

use crate::config::{Config, PathsConfig};

impl Config {
    /// What the store has to know to open the database of these settings.
    pub fn store_config(&self) -> store::DatabaseConfig {
        store::DatabaseConfig {
            url: self.database.url.clone(),
            fallback_path: self.database.fallback_path.clone(),
            sql_debug: self.database.sql_debug,
            pool: self.database.pool.clone(),
        }
    }
}

/// Where a run writes its events as they come, one JSON object a line: the copy that needs no database.
pub fn event_log(paths: &PathsConfig, id: domain::RunId) -> std::path::PathBuf {
    paths.run(id).join("events.jsonl")
}
