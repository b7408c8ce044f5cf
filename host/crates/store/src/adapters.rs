//! What runs leave behind for use: adapters, and whole models of method full.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use domain::RunId;
use serde::Serialize;
use uuid::Uuid;

use crate::runs::parse_id;
use crate::schema::adapters;
use crate::{Error, Store};

/// What kind of result it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A PEFT folder.
    Adapter,
    /// A model folder.
    Model,
}

impl AdapterKind {
    /// The word that the store and the API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adapter => "adapter",
            Self::Model => "model",
        }
    }
}

/// A result to be noted.
#[derive(Debug, Clone)]
pub struct NewAdapter {
    /// The run that made it, if one of this studio did.
    pub run_id: Option<RunId>,
    /// What people call it.
    pub name: String,
    /// Adapter or model.
    pub kind: AdapterKind,
    /// Its folder; noted once, a second time replaces the first.
    pub path: PathBuf,
    /// Path or hub id of the model that it was trained on.
    pub base_model: Option<String>,
}

/// A result that can be tried, exported or trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adapter {
    /// Its id.
    pub id: Uuid,
    /// The run that made it, while that run exists.
    pub run_id: Option<RunId>,
    /// What people call it.
    pub name: String,
    /// Adapter or model.
    pub kind: AdapterKind,
    /// Its folder.
    pub path: PathBuf,
    /// Path or hub id of the model that it was trained on.
    pub base_model: Option<String>,
    /// When it was noted.
    pub created_at: DateTime<Utc>,
}

impl Store {
    /// Notes a result.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record_adapter(&self, adapter: &NewAdapter) -> Result<Adapter, Error> {
        let row = Row {
            id: Uuid::now_v7().to_string(),
            run_id: adapter.run_id.map(|id| id.to_string()),
            name: adapter.name.clone(),
            kind: adapter.kind.as_str().to_owned(),
            path: adapter.path.to_string_lossy().into_owned(),
            base_model: adapter.base_model.clone(),
            created_at: Utc::now().naive_utc(),
        };
        self.write(|connection| {
            diesel::delete(adapters::table.filter(adapters::path.eq(&row.path)))
                .execute(connection)?;
            diesel::insert_into(adapters::table)
                .values(&row)
                .execute(connection)?;
            Ok(())
        })?;
        row.into_adapter()
    }

    /// All results, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_adapters(&self) -> Result<Vec<Adapter>, Error> {
        let rows: Vec<Row> = self.read(|connection| {
            Ok(adapters::table
                .order((adapters::created_at.desc(), adapters::id.desc()))
                .select(Row::as_select())
                .load(connection)?)
        })?;
        rows.into_iter().map(Row::into_adapter).collect()
    }

    /// The result of that id, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find_adapter(&self, id: Uuid) -> Result<Option<Adapter>, Error> {
        let row: Option<Row> = self.read(|connection| {
            Ok(adapters::table
                .find(id.to_string())
                .select(Row::as_select())
                .first(connection)
                .optional()?)
        })?;
        row.map(Row::into_adapter).transpose()
    }

    /// Forgets a result; its files are the caller's to remove.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_adapter(&self, id: Uuid) -> Result<(), Error> {
        let deleted = self.write(|connection| {
            Ok(diesel::delete(adapters::table.find(id.to_string())).execute(connection)?)
        })?;
        if deleted == 0 {
            return Err(Error::NotFound {
                what: "adapter",
                id: id.to_string(),
            });
        }
        Ok(())
    }
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = adapters)]
struct Row {
    id: String,
    run_id: Option<String>,
    name: String,
    kind: String,
    path: String,
    base_model: Option<String>,
    created_at: NaiveDateTime,
}

impl Row {
    fn into_adapter(self) -> Result<Adapter, Error> {
        let corrupt = |message: String| Error::Corrupt {
            what: "adapter",
            id: self.id.clone(),
            message,
        };
        let kind = match self.kind.as_str() {
            "adapter" => AdapterKind::Adapter,
            "model" => AdapterKind::Model,
            other => return Err(corrupt(format!("{other:?} is no kind"))),
        };
        Ok(Adapter {
            id: self
                .id
                .parse()
                .map_err(|error: uuid::Error| corrupt(error.to_string()))?,
            run_id: self.run_id.as_deref().map(parse_id).transpose()?,
            name: self.name,
            kind,
            path: self.path.into(),
            base_model: self.base_model,
            created_at: self.created_at.and_utc(),
        })
    }
}
