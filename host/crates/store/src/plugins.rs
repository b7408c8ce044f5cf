//! What the user decided about each plugin: switched on, and which grants for which component.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use domain::Capability;
use serde::Serialize;

use crate::runs::to_json;
use crate::schema::plugins;
use crate::{Error, Store};

/// The user's word on one plugin. A plugin without a row is enabled and has no grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginSettings {
    /// The plugin's name.
    pub name: String,
    /// It may be called.
    pub enabled: bool,
    /// Digest of the component that the grants are for; another component has none of them.
    pub granted_digest: Option<String>,
    /// What that component may use.
    pub grants: Vec<Capability>,
    /// When the user last changed anything.
    pub updated_at: DateTime<Utc>,
}

impl Store {
    /// The settings of every plugin that the user decided something about, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_plugin_settings(&self) -> Result<Vec<PluginSettings>, Error> {
        let rows: Vec<Row> = self.read(|connection| {
            Ok(plugins::table
                .order(plugins::name)
                .select(Row::as_select())
                .load(connection)?)
        })?;
        rows.into_iter().map(Row::into_settings).collect()
    }

    /// The settings of one plugin, if the user decided anything about it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find_plugin_settings(&self, name: &str) -> Result<Option<PluginSettings>, Error> {
        let row: Option<Row> = self.read(|connection| {
            Ok(plugins::table
                .find(name)
                .select(Row::as_select())
                .first(connection)
                .optional()?)
        })?;
        row.map(Row::into_settings).transpose()
    }

    /// Switches a plugin on or off; its grants stay.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_plugin_enabled(&self, name: &str, enabled: bool) -> Result<PluginSettings, Error> {
        self.change_plugin(name, |row| row.enabled = enabled)
    }

    /// Grants a component what it may use, in place of all grants before.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_plugin_grants(
        &self,
        name: &str,
        digest: &str,
        grants: &[Capability],
    ) -> Result<PluginSettings, Error> {
        self.change_plugin(name, |row| {
            row.granted_digest = Some(digest.to_owned());
            row.grants = to_json(&grants);
        })
    }

    fn change_plugin(
        &self,
        name: &str,
        change: impl FnOnce(&mut Row),
    ) -> Result<PluginSettings, Error> {
        let row = self.write(|connection| {
            let found: Option<Row> = plugins::table
                .find(name)
                .select(Row::as_select())
                .first(connection)
                .optional()?;
            let is_new = found.is_none();
            let mut row = found.unwrap_or_else(|| Row {
                name: name.to_owned(),
                enabled: true,
                granted_digest: None,
                grants: "[]".to_owned(),
                updated_at: NaiveDateTime::default(),
            });
            change(&mut row);
            row.updated_at = Utc::now().naive_utc();
            if is_new {
                diesel::insert_into(plugins::table)
                    .values(&row)
                    .execute(connection)?;
            } else {
                diesel::update(plugins::table.find(name))
                    .set(&row)
                    .execute(connection)?;
            }
            Ok(row)
        })?;
        row.into_settings()
    }
}

#[derive(Insertable, AsChangeset, Queryable, Selectable)]
#[diesel(table_name = plugins, treat_none_as_null = true)]
struct Row {
    name: String,
    enabled: bool,
    granted_digest: Option<String>,
    grants: String,
    updated_at: NaiveDateTime,
}

impl Row {
    fn into_settings(self) -> Result<PluginSettings, Error> {
        Ok(PluginSettings {
            grants: serde_json::from_str(&self.grants).map_err(|error| Error::Corrupt {
                what: "plugin",
                id: self.name.clone(),
                message: format!("its grants: {error}"),
            })?,
            name: self.name,
            enabled: self.enabled,
            granted_digest: self.granted_digest,
            updated_at: self.updated_at.and_utc(),
        })
    }
}
