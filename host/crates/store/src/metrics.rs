//! The curves of a run. A million points are read as a few thousand, and no spike is lost on the way.

use std::collections::BTreeMap;

use diesel::prelude::*;
use domain::RunId;
use serde::Serialize;

use crate::connection::AnyConnection;
use crate::schema::{metric_buckets, metrics};
use crate::{Error, Store, to_u64};

/// Steps of one stored bucket.
const BUCKET: i64 = 64;

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

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    name: String,
    rank: i32,
    row: Row,
}

impl Point {
    pub(crate) fn new(name: impl Into<String>, step: i64, epoch: f64, value: f64) -> Self {
        Self {
            name: name.into(),
            rank: 0,
            row: Row { step, epoch, value },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Queryable, Selectable)]
#[diesel(table_name = metrics)]
struct Row {
    step: i64,
    epoch: f64,
    value: f64,
}

impl Row {
    fn to_point(self) -> MetricPoint {
        MetricPoint {
            step: to_u64(self.step),
            epoch: self.epoch,
            rank: 0,
            value: self.value,
        }
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

/// The key of one curve.
struct Series {
    run_id: String,
    name: String,
    rank: i32,
}

impl Series {
    fn ends(&self, connection: &mut AnyConnection) -> Result<Option<(Row, Row)>, Error> {
        let query = || {
            metrics::table
                .filter(
                    metrics::run_id
                        .eq(&self.run_id)
                        .and(metrics::name.eq(&self.name))
                        .and(metrics::rank.eq(self.rank)),
                )
                .select(Row::as_select())
        };
        let first = query().order(metrics::step).first(connection).optional()?;
        let last = query()
            .order(metrics::step.desc())
            .first(connection)
            .optional()?;
        Ok(first.zip(last))
    }

    fn points(&self, connection: &mut AnyConnection) -> Result<Vec<Row>, Error> {
        Ok(metrics::table
            .filter(
                metrics::run_id
                    .eq(&self.run_id)
                    .and(metrics::name.eq(&self.name))
                    .and(metrics::rank.eq(self.rank)),
            )
            .order(metrics::step)
            .select(Row::as_select())
            .load(connection)?)
    }

    fn buckets(&self, connection: &mut AnyConnection, from: i64) -> Result<Vec<Bucket>, Error> {
        Ok(metric_buckets::table
            .filter(
                metric_buckets::run_id
                    .eq(&self.run_id)
                    .and(metric_buckets::name.eq(&self.name))
                    .and(metric_buckets::rank.eq(self.rank))
                    .and(metric_buckets::bucket.ge(from)),
            )
            .order(metric_buckets::bucket)
            .select(Bucket::as_select())
            .load(connection)?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Queryable, Selectable)]
#[diesel(table_name = metric_buckets)]
struct Bucket {
    bucket: i64,
    min_step: i64,
    min_epoch: f64,
    min_value: f64,
    max_step: i64,
    max_epoch: f64,
    max_value: f64,
}

impl Bucket {
    fn of(row: &Row) -> Self {
        Self {
            bucket: row.step.div_euclid(BUCKET),
            min_step: row.step,
            min_epoch: row.epoch,
            min_value: row.value,
            max_step: row.step,
            max_epoch: row.epoch,
            max_value: row.value,
        }
    }

    fn lowest(&self) -> Row {
        Row {
            step: self.min_step,
            epoch: self.min_epoch,
            value: self.min_value,
        }
    }

    fn highest(&self) -> Row {
        Row {
            step: self.max_step,
            epoch: self.max_epoch,
            value: self.max_value,
        }
    }

    fn widen(&mut self, row: &Row) {
        if row.value < self.min_value {
            (self.min_step, self.min_epoch, self.min_value) = (row.step, row.epoch, row.value);
        }
        if row.value > self.max_value {
            (self.max_step, self.max_epoch, self.max_value) = (row.step, row.epoch, row.value);
        }
    }
}

/// Writes points and widens their buckets, in the caller's transaction. A point that is written again replaces
/// the old one.
pub(crate) fn insert(
    connection: &mut AnyConnection,
    id: RunId,
    points: &[Point],
) -> Result<(), Error> {
    let run_id = id.to_string();
    // One key once: PostgreSQL refuses to change a row twice in one statement.
    let unique: BTreeMap<(&str, i32, i64), &Row> = points
        .iter()
        .filter(|point| point.row.value.is_finite())
        .map(|point| {
            (
                (point.name.as_str(), point.rank, point.row.step),
                &point.row,
            )
        })
        .collect();
    let rows: Vec<NewRow<'_>> = unique
        .iter()
        .map(|((name, rank, _), row)| NewRow {
            run_id: &run_id,
            name,
            rank: *rank,
            step: row.step,
            epoch: row.epoch,
            value: row.value,
        })
        .collect();
    for rows in rows.chunks(1000) {
        match connection {
            AnyConnection::Sqlite(inner) => {
                diesel::replace_into(metrics::table)
                    .values(rows)
                    .execute(inner)?;
            }
            AnyConnection::Postgres(inner) => {
                use diesel::upsert::excluded;
                diesel::insert_into(metrics::table)
                    .values(rows)
                    .on_conflict((metrics::run_id, metrics::name, metrics::rank, metrics::step))
                    .do_update()
                    .set((
                        metrics::epoch.eq(excluded(metrics::epoch)),
                        metrics::value.eq(excluded(metrics::value)),
                    ))
                    .execute(inner)?;
            }
        }
    }
    let mut series: BTreeMap<(&str, i32), Vec<Row>> = BTreeMap::new();
    for ((name, rank, _), row) in unique {
        series.entry((name, rank)).or_default().push(*row);
    }
    for ((name, rank), rows) in series {
        let series = Series {
            run_id: run_id.clone(),
            name: name.to_owned(),
            rank,
        };
        widen_buckets(connection, &series, &rows)?;
    }
    Ok(())
}

/// Takes the rows of one curve, in order of steps, into its buckets.
fn widen_buckets(
    connection: &mut AnyConnection,
    series: &Series,
    rows: &[Row],
) -> Result<(), Error> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let from = first.step.div_euclid(BUCKET);
    // Steps come in order, so this is the newest bucket or none.
    let old = series.buckets(connection, from)?;
    let mut buckets: BTreeMap<i64, Bucket> = old.iter().map(|old| (old.bucket, *old)).collect();
    for row in rows {
        buckets
            .entry(row.step.div_euclid(BUCKET))
            .and_modify(|bucket| bucket.widen(row))
            .or_insert_with(|| Bucket::of(row));
    }
    if !old.is_empty() {
        diesel::delete(
            metric_buckets::table.filter(
                metric_buckets::run_id
                    .eq(&series.run_id)
                    .and(metric_buckets::name.eq(&series.name))
                    .and(metric_buckets::rank.eq(series.rank))
                    .and(metric_buckets::bucket.ge(from)),
            ),
        )
        .execute(connection)?;
    }
    let rows: Vec<NewBucket<'_>> = buckets
        .values()
        .map(|bucket| NewBucket {
            run_id: &series.run_id,
            name: &series.name,
            rank: series.rank,
            bucket: bucket.bucket,
            min_step: bucket.min_step,
            min_epoch: bucket.min_epoch,
            min_value: bucket.min_value,
            max_step: bucket.max_step,
            max_epoch: bucket.max_epoch,
            max_value: bucket.max_value,
        })
        .collect();
    for rows in rows.chunks(1000) {
        let insert = diesel::insert_into(metric_buckets::table).values(rows);
        match connection {
            AnyConnection::Sqlite(inner) => insert.execute(inner)?,
            AnyConnection::Postgres(inner) => insert.execute(inner)?,
        };
    }
    Ok(())
}

/// Forgets every point from `step` on, in the caller's transaction.
pub(crate) fn forget_from(
    connection: &mut AnyConnection,
    id: RunId,
    step: i64,
) -> Result<(), Error> {
    let run_id = id.to_string();
    diesel::delete(metrics::table.filter(metrics::run_id.eq(&run_id).and(metrics::step.ge(step))))
        .execute(connection)?;
    let bucket = step.div_euclid(BUCKET);
    diesel::delete(
        metric_buckets::table.filter(
            metric_buckets::run_id
                .eq(&run_id)
                .and(metric_buckets::bucket.ge(bucket)),
        ),
    )
    .execute(connection)?;
    // The bucket that the step falls into keeps what came before it.
    let left: Vec<(String, i32, Row)> = metrics::table
        .filter(
            metrics::run_id
                .eq(&run_id)
                .and(metrics::step.ge(bucket * BUCKET)),
        )
        .order((metrics::name, metrics::rank, metrics::step))
        .select((metrics::name, metrics::rank, Row::as_select()))
        .load(connection)?;
    for group in left.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1) {
        let series = Series {
            run_id: run_id.clone(),
            name: group[0].0.clone(),
            rank: group[0].1,
        };
        let rows: Vec<Row> = group.iter().map(|(_, _, row)| *row).collect();
        widen_buckets(connection, &series, &rows)?;
    }
    Ok(())
}

#[derive(Insertable)]
#[diesel(table_name = metrics)]
struct NewRow<'a> {
    run_id: &'a str,
    name: &'a str,
    rank: i32,
    step: i64,
    epoch: f64,
    value: f64,
}

#[derive(Insertable)]
#[diesel(table_name = metric_buckets)]
struct NewBucket<'a> {
    run_id: &'a str,
    name: &'a str,
    rank: i32,
    bucket: i64,
    min_step: i64,
    min_epoch: f64,
    min_value: f64,
    max_step: i64,
    max_epoch: f64,
    max_value: f64,
}
