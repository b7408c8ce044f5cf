//! What the user decided about each plugin: switched on, and which grants for which component.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use domain::{Capability, Grants};
use serde::Serialize;
use serde_json::Value;

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
    pub grants: Grants,
    /// The user's values for its settings.
    pub config: BTreeMap<String, Value>,
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
        grants: &Grants,
    ) -> Result<PluginSettings, Error> {
        self.change_plugin(name, |row| {
            row.granted_digest = Some(digest.to_owned());
            row.grants = to_json(grants);
        })
    }

    /// Sets the user's values for a plugin's settings, in place of all before.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_plugin_config(
        &self,
        name: &str,
        config: &BTreeMap<String, Value>,
    ) -> Result<PluginSettings, Error> {
        self.change_plugin(name, |row| row.config = to_json(config))
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
                config: "{}".to_owned(),
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
    config: String,
}

impl Row {
    fn into_settings(self) -> Result<PluginSettings, Error> {
        let corrupt = |what: &str, error: serde_json::Error| Error::Corrupt {
            what: "plugin",
            id: self.name.clone(),
            message: format!("its {what}: {error}"),
        };
        Ok(PluginSettings {
            grants: grants(&self.grants).map_err(|error| corrupt("grants", error))?,
            config: serde_json::from_str(&self.config)
                .map_err(|error| corrupt("settings", error))?,
            name: self.name,
            enabled: self.enabled,
            granted_digest: self.granted_digest,
            updated_at: self.updated_at.and_utc(),
        })
    }
}

/// Grants as they are written now, or the list of capabilities that they were at first.
fn grants(text: &str) -> Result<Grants, serde_json::Error> {
    match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).map(|list: Vec<Capability>| Grants::from(&list[..])),
        false => serde_json::from_str(text),
    }
}
