//! Points into the tables, and out of them again.

use std::collections::BTreeMap;

use diesel::prelude::*;
use domain::RunId;

use super::series::{BUCKET, Bucket, Row, Series};
use crate::Error;
use crate::connection::AnyConnection;
use crate::schema::{metric_buckets, metrics};

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
