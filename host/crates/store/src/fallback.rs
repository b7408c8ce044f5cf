//! When PostgreSQL cannot be reached: three tries, then a SQLite file, and what is only in that file.

use std::path::Path;
use std::time::Duration;

use backon::{BlockingRetryable, ExponentialBuilder};
use diesel::prelude::*;
use domain::RunId;
use serde::Serialize;

use crate::connection::{AnyConnection, connect};
use crate::runs::parse_id;
use crate::schema::{adapters, datasets, plugin_executions, runs};
use crate::url::Target;
use crate::{DatabaseConfig, Error, Store};

/// Why another database than the configured one is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// One sentence, without a password.
    pub reason: String,
}

/// What the fallback database holds and the main one does not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OnlyInFallback {
    /// Runs, oldest first.
    pub runs: Vec<RunId>,
    /// Datasets.
    pub datasets: usize,
    /// Adapters and models.
    pub adapters: usize,
    /// Calls of plugins.
    pub plugin_executions: usize,
}

impl OnlyInFallback {
    /// Nothing would be lost with the file.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The target that can be used, and why it is not the one asked for.
pub(crate) fn choose(
    target: Target,
    config: &DatabaseConfig,
) -> Result<(Target, Option<Fallback>), Error> {
    if matches!(target, Target::Sqlite(_)) {
        return Ok((target, None));
    }
    let attempt = || connect(&target, false).map(drop);
    let result = attempt
        .retry(
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(250))
                .with_factor(4.0)
                .with_max_times(2),
        )
        .notify(|error: &ConnectionError, wait| {
            tracing::warn!("PostgreSQL cannot be reached: {error}; next try in {wait:?}");
        })
        .call();
    let Err(error) = result else {
        return Ok((target, None));
    };
    let place = crate::redact(&config.url);
    let reason = format!("{place} cannot be reached after three tries: {error}");
    tracing::warn!(
        "{reason}. The studio goes on with SQLite at {}; what is written now is only there",
        config.fallback_path.display()
    );
    let path = std::path::absolute(&config.fallback_path).map_err(|source| Error::File {
        path: config.fallback_path.display().to_string(),
        source,
    })?;
    Ok((Target::Sqlite(path), Some(Fallback { reason })))
}

impl Store {
    /// What the SQLite file at `fallback_path` holds and this store does not; nothing when there is no such file.
    ///
    /// While the fallback itself is in use, the main database cannot be asked: then it is all that the file holds.
    ///
    /// # Errors
    /// When one of the two databases cannot be read.
    pub fn only_in_fallback(&self, fallback_path: &Path) -> Result<OnlyInFallback, Error> {
        if !fallback_path.is_file() {
            return Ok(OnlyInFallback::default());
        }
        let path = std::path::absolute(fallback_path).map_err(|source| Error::File {
            path: fallback_path.display().to_string(),
            source,
        })?;
        let mut file = connect(&Target::Sqlite(path), false)
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        let there = ids(&mut file)?;
        let here = if self.fallback().is_some() {
            Ids::default()
        } else {
            self.read(ids)?
        };
        let missing = |there: Vec<String>, here: &[String]| -> Vec<String> {
            there
                .into_iter()
                .filter(|id| here.binary_search(id).is_err())
                .collect()
        };
        Ok(OnlyInFallback {
            runs: missing(there.runs, &here.runs)
                .iter()
                .map(|id| parse_id(id))
                .collect::<Result<_, _>>()?,
            datasets: missing(there.datasets, &here.datasets).len(),
            adapters: missing(there.adapters, &here.adapters).len(),
            plugin_executions: missing(there.executions, &here.executions).len(),
        })
    }
}

/// The ids of one database, each list sorted.
#[derive(Default)]
struct Ids {
    runs: Vec<String>,
    datasets: Vec<String>,
    adapters: Vec<String>,
    executions: Vec<String>,
}

fn ids(connection: &mut AnyConnection) -> Result<Ids, Error> {
    let sorted = |mut ids: Vec<String>| {
        // Not ORDER BY: the server's collation is not the order of bytes.
        ids.sort();
        ids
    };
    Ok(Ids {
        runs: sorted(runs::table.select(runs::id).load(connection)?),
        datasets: sorted(datasets::table.select(datasets::id).load(connection)?),
        adapters: sorted(adapters::table.select(adapters::id).load(connection)?),
        executions: sorted(
            plugin_executions::table
                .select(plugin_executions::id)
                .load(connection)?,
        ),
    })
}
