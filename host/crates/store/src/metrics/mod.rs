//! The curves of a run. A million points are read as a few thousand, and no spike is lost on the way.

mod series;
mod write;

use std::collections::BTreeMap;

use diesel::prelude::*;
use domain::RunId;
use serde::Serialize;

use crate::connection::AnyConnection;
use crate::schema::metrics;
use crate::{Error, Store};

use self::series::{BUCKET, Row, Series};
pub(crate) use self::write::{Point, forget_from, insert};

/// One value of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MetricPoint {
    /// Optimizer step.
    pub step: u64,
    /// Epochs done, as a fraction.
    pub epoch: f64,
    /// Process of a data-parallel run; 0 where there is one.
    pub rank: i32,
    /// The value; always finite.
    pub value: f64,
}

impl Store {
    /// The curve `name` of a run's rank 0, in order of steps, reduced to about `max_points`.
    ///
    /// The lowest and the highest value of every stretch are kept, and the first and the last point: a spike of
    /// one step survives at any reduction.
    ///
    /// # Errors
    /// When the database fails.
    pub fn metrics(
        &self,
        id: RunId,
        name: &str,
        max_points: usize,
    ) -> Result<Vec<MetricPoint>, Error> {
        self.rank_metrics(id, name, 0, max_points)
    }

    /// The same for one process of a data-parallel run.
    ///
    /// # Errors
    /// When the database fails.
    pub fn rank_metrics(
        &self,
        id: RunId,
        name: &str,
        rank: i32,
        max_points: usize,
    ) -> Result<Vec<MetricPoint>, Error> {
        let series = Series {
            run_id: id.to_string(),
            name: name.to_owned(),
            rank,
        };
        let max_points = i64::try_from(max_points.max(4)).unwrap_or(i64::MAX);
        self.read(|connection| {
            let Some((first, last)) = series.ends(connection)? else {
                return Ok(Vec::new());
            };
            let steps = last.step - first.step + 1;
            // Two points a stretch.
            let stretch = (steps - 1) / (max_points / 2) + 1;
            if steps <= max_points {
                return Ok(series
                    .points(connection)?
                    .into_iter()
                    .map(Row::to_point)
                    .collect());
            }
            let mut reduced = BTreeMap::new();
            let mut keep = |row: &Row| {
                let extremes = reduced
                    .entry((row.step - first.step) / stretch)
                    .or_insert((*row, *row));
                if row.value < extremes.0.value {
                    extremes.0 = *row;
                }
                if row.value > extremes.1.value {
                    extremes.1 = *row;
                }
            };
            if stretch >= BUCKET {
                for bucket in series.buckets(connection, i64::MIN)? {
                    keep(&bucket.lowest());
                    keep(&bucket.highest());
                }
            } else {
                series.points(connection)?.iter().for_each(&mut keep);
            }
            let mut rows: Vec<Row> = reduced
                .into_values()
                .flat_map(|(lowest, highest)| [lowest, highest])
                .chain([first, last])
                .collect();
            rows.sort_by_key(|row| row.step);
            rows.dedup_by_key(|row| row.step);
            Ok(rows.into_iter().map(Row::to_point).collect())
        })
    }

    /// Names of a run's curves, in alphabetical order.
    ///
    /// # Errors
    /// When the database fails.
    pub fn metric_names(&self, id: RunId) -> Result<Vec<String>, Error> {
        self.read(|connection| names(connection, &id.to_string()))
    }

    /// The newest point of each curve of a run's rank 0.
    ///
    /// # Errors
    /// When the database fails.
    pub fn latest_metrics(&self, id: RunId) -> Result<BTreeMap<String, MetricPoint>, Error> {
        self.read(|connection| {
            let mut latest = BTreeMap::new();
            for name in names(connection, &id.to_string())? {
                let series = Series {
                    run_id: id.to_string(),
                    name,
                    rank: 0,
                };
                if let Some((_, last)) = series.ends(connection)? {
                    latest.insert(series.name, last.to_point());
                }
            }
            Ok(latest)
        })
    }
}

/// Each name by one step into the index: `SELECT DISTINCT` would read every point.
fn names(connection: &mut AnyConnection, run_id: &str) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let after = names.last().map_or("", String::as_str);
        let next: Option<String> = metrics::table
            .filter(metrics::run_id.eq(run_id).and(metrics::name.gt(after)))
            .order(metrics::name)
            .select(metrics::name)
            .first(connection)
            .optional()?;
        match next {
            Some(name) => names.push(name),
            None => return Ok(names),
        }
    }
}
