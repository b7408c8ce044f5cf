//! One curve in its two tables: every point, and the extremes of each stretch.

use diesel::prelude::*;

use super::MetricPoint;
use crate::connection::AnyConnection;
use crate::schema::{metric_buckets, metrics};
use crate::{Error, to_u64};

/// Steps of one stored bucket.
pub(super) const BUCKET: i64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Queryable, Selectable)]
#[diesel(table_name = metrics)]
pub(super) struct Row {
    pub(super) step: i64,
    pub(super) epoch: f64,
    pub(super) value: f64,
}

impl Row {
    pub(super) fn to_point(self) -> MetricPoint {
        MetricPoint {
            step: to_u64(self.step),
            epoch: self.epoch,
            rank: 0,
            value: self.value,
        }
    }
}

/// The key of one curve.
pub(super) struct Series {
    pub(super) run_id: String,
    pub(super) name: String,
    pub(super) rank: i32,
}

impl Series {
    pub(super) fn ends(&self, connection: &mut AnyConnection) -> Result<Option<(Row, Row)>, Error> {
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

    pub(super) fn points(&self, connection: &mut AnyConnection) -> Result<Vec<Row>, Error> {
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

    pub(super) fn buckets(
        &self,
        connection: &mut AnyConnection,
        from: i64,
    ) -> Result<Vec<Bucket>, Error> {
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
pub(super) struct Bucket {
    pub(super) bucket: i64,
    pub(super) min_step: i64,
    pub(super) min_epoch: f64,
    pub(super) min_value: f64,
    pub(super) max_step: i64,
    pub(super) max_epoch: f64,
    pub(super) max_value: f64,
}

impl Bucket {
    pub(super) fn of(row: &Row) -> Self {
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

    pub(super) fn lowest(&self) -> Row {
        Row {
            step: self.min_step,
            epoch: self.min_epoch,
            value: self.min_value,
        }
    }

    pub(super) fn highest(&self) -> Row {
        Row {
            step: self.max_step,
            epoch: self.max_epoch,
            value: self.max_value,
        }
    }

    pub(super) fn widen(&mut self, row: &Row) {
        if row.value < self.min_value {
            (self.min_step, self.min_epoch, self.min_value) = (row.step, row.epoch, row.value);
        }
        if row.value > self.max_value {
            (self.max_step, self.max_epoch, self.max_value) = (row.step, row.epoch, row.value);
        }
    }
}
