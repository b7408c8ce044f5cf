//! Checkpoints of runs: which steps can be gone back to, and where they lie.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use domain::RunId;
use serde::Serialize;
use uuid::Uuid;

use crate::connection::AnyConnection;
use crate::schema::checkpoints;
use crate::{Error, Store, to_i64, to_u64};

/// A checkpoint folder of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// The step that it holds.
    pub step: u64,
    /// Its folder; older ones may have been removed by `train.save_total_limit`.
    pub path: PathBuf,
    /// When it was recorded.
    pub created_at: DateTime<Utc>,
}

impl Store {
    /// The checkpoints of a run, oldest step first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_checkpoints(&self, id: RunId) -> Result<Vec<Checkpoint>, Error> {
        let rows: Vec<(i64, String, NaiveDateTime)> = self.read(|connection| {
            Ok(checkpoints::table
                .filter(checkpoints::run_id.eq(id.to_string()))
                .order(checkpoints::step)
                .select((
                    checkpoints::step,
                    checkpoints::path,
                    checkpoints::created_at,
                ))
                .load(connection)?)
        })?;
        Ok(rows
            .into_iter()
            .map(|(step, path, created_at)| Checkpoint {
                step: to_u64(step),
                path: path.into(),
                created_at: created_at.and_utc(),
            })
            .collect())
    }

    /// Forgets checkpoints whose folders are gone.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_checkpoints(&self, id: RunId, steps: &[u64]) -> Result<(), Error> {
        let steps: Vec<i64> = steps.iter().map(|step| to_i64(*step)).collect();
        self.write(|connection| {
            diesel::delete(
                checkpoints::table.filter(
                    checkpoints::run_id
                        .eq(id.to_string())
                        .and(checkpoints::step.eq_any(steps)),
                ),
            )
            .execute(connection)?;
            Ok(())
        })
    }
}

/// Notes a checkpoint in the caller's transaction; one of the same step is replaced.
pub(crate) fn record(
    connection: &mut AnyConnection,
    id: RunId,
    step: u64,
    path: &Path,
) -> Result<(), Error> {
    let run_id = id.to_string();
    diesel::delete(
        checkpoints::table.filter(
            checkpoints::run_id
                .eq(&run_id)
                .and(checkpoints::step.eq(to_i64(step))),
        ),
    )
    .execute(connection)?;
    diesel::insert_into(checkpoints::table)
        .values((
            checkpoints::id.eq(Uuid::now_v7().to_string()),
            checkpoints::run_id.eq(run_id),
            checkpoints::step.eq(to_i64(step)),
            checkpoints::path.eq(path.to_string_lossy().into_owned()),
            checkpoints::created_at.eq(Utc::now().naive_utc()),
        ))
        .execute(connection)?;
    Ok(())
}
