//! The audit of what plugins used of what they are lent.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use domain::{Capability, CapabilityUse};
use serde::Serialize;
use uuid::Uuid;

use crate::connection::AnyConnection;
use crate::schema::plugin_uses;
use crate::{Error, Store, to_i64, to_u64};

/// One thing that one call used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredUse {
    /// The plugin's name.
    pub plugin: String,
    /// Digest of the component that ran.
    pub digest: String,
    /// When the call ended.
    pub created_at: DateTime<Utc>,
    /// What it used.
    #[serde(flatten)]
    pub used: CapabilityUse,
}

impl Store {
    /// Keeps what one call used.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record_uses(
        &self,
        plugin: &str,
        digest: &str,
        uses: &[CapabilityUse],
    ) -> Result<(), Error> {
        let now = Utc::now().naive_utc();
        let rows: Vec<Row> = uses
            .iter()
            .map(|used| Row {
                id: Uuid::now_v7().to_string(),
                plugin: plugin.to_owned(),
                digest: digest.to_owned(),
                capability: used.capability.word().to_owned(),
                target: used.target.replace('\0', "\u{fffd}"),
                times: to_i64(used.times),
                refused: to_i64(used.refused),
                bytes: to_i64(used.bytes),
                tokens: to_i64(used.tokens),
                created_at: now,
            })
            .collect();
        self.write(|connection| {
            let insert = diesel::insert_into(plugin_uses::table).values(&rows);
            match connection {
                AnyConnection::Sqlite(inner) => insert.execute(inner)?,
                AnyConnection::Postgres(inner) => insert.execute(inner)?,
            };
            Ok(())
        })
    }

    /// What a plugin used, the newest first, at most `limit` rows.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_uses(&self, plugin: &str, limit: i64) -> Result<Vec<StoredUse>, Error> {
        let rows: Vec<Row> = self.read(|connection| {
            Ok(plugin_uses::table
                .filter(plugin_uses::plugin.eq(plugin))
                .order((plugin_uses::created_at.desc(), plugin_uses::id.desc()))
                .limit(limit.max(0))
                .select(Row::as_select())
                .load(connection)?)
        })?;
        rows.into_iter().map(Row::into_stored).collect()
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = plugin_uses)]
struct Row {
    id: String,
    plugin: String,
    digest: String,
    capability: String,
    target: String,
    times: i64,
    refused: i64,
    bytes: i64,
    tokens: i64,
    created_at: NaiveDateTime,
}

impl Row {
    fn into_stored(self) -> Result<StoredUse, Error> {
        let capability = Capability::ALL
            .into_iter()
            .find(|capability| capability.word() == self.capability)
            .ok_or_else(|| Error::Corrupt {
                what: "plugin use",
                id: self.id.clone(),
                message: format!("no capability is named {:?}", self.capability),
            })?;
        Ok(StoredUse {
            plugin: self.plugin,
            digest: self.digest,
            created_at: self.created_at.and_utc(),
            used: CapabilityUse {
                capability,
                target: self.target,
                times: to_u64(self.times),
                refused: to_u64(self.refused),
                bytes: to_u64(self.bytes),
                tokens: to_u64(self.tokens),
            },
        })
    }
}
