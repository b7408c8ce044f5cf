//! Datasets that the studio knows, so that pages name them by id and never by path.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use serde::Serialize;
use uuid::Uuid;

use crate::schema::datasets;
use crate::{Error, Store, to_i64, to_u64};

/// A dataset to be noted.
#[derive(Debug, Clone)]
pub struct NewDataset {
    /// What people call it.
    pub name: String,
    /// What it holds and where it is from.
    pub description: String,
    /// File or folder; noted once, a second time updates the first.
    pub path: PathBuf,
    /// A word of `data.format`.
    pub format: String,
    /// Samples in it, where they were counted.
    pub samples: Option<u64>,
    /// Lower-case hex SHA-256 of its bytes, where it was taken.
    pub digest: Option<String>,
}

/// A dataset that runs can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dataset {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// What it holds and where it is from.
    pub description: String,
    /// File or folder.
    pub path: PathBuf,
    /// A word of `data.format`.
    pub format: String,
    /// Samples in it, where they were counted.
    pub samples: Option<u64>,
    /// Lower-case hex SHA-256 of its bytes, where it was taken.
    pub digest: Option<String>,
    /// When it was first noted.
    pub created_at: DateTime<Utc>,
}

impl Store {
    /// Notes a dataset; one of the same path keeps its id and takes the new values.
    ///
    /// # Errors
    /// When the database fails.
    pub fn record_dataset(&self, dataset: &NewDataset) -> Result<Dataset, Error> {
        let path = dataset.path.to_string_lossy().into_owned();
        let values = (
            datasets::name.eq(&dataset.name),
            datasets::description.eq(&dataset.description),
            datasets::format.eq(&dataset.format),
            datasets::samples.eq(dataset.samples.map(to_i64)),
            datasets::digest.eq(&dataset.digest),
        );
        let row: Row = self.write(|connection| {
            let updated = diesel::update(datasets::table.filter(datasets::path.eq(&path)))
                .set(values)
                .execute(connection)?;
            if updated == 0 {
                diesel::insert_into(datasets::table)
                    .values((
                        datasets::id.eq(Uuid::now_v7().to_string()),
                        datasets::path.eq(&path),
                        datasets::created_at.eq(Utc::now().naive_utc()),
                        values,
                    ))
                    .execute(connection)?;
            }
            Ok(datasets::table
                .filter(datasets::path.eq(&path))
                .select(Row::as_select())
                .first(connection)?)
        })?;
        row.into_dataset()
    }

    /// All datasets, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn list_datasets(&self) -> Result<Vec<Dataset>, Error> {
        let rows: Vec<Row> = self.read(|connection| {
            Ok(datasets::table
                .order((datasets::name, datasets::id))
                .select(Row::as_select())
                .load(connection)?)
        })?;
        rows.into_iter().map(Row::into_dataset).collect()
    }

    /// The dataset of that id, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn find_dataset(&self, id: Uuid) -> Result<Option<Dataset>, Error> {
        let row: Option<Row> = self.read(|connection| {
            Ok(datasets::table
                .find(id.to_string())
                .select(Row::as_select())
                .first(connection)
                .optional()?)
        })?;
        row.map(Row::into_dataset).transpose()
    }

    /// Forgets a dataset; its files stay.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_dataset(&self, id: Uuid) -> Result<(), Error> {
        let deleted = self.write(|connection| {
            Ok(diesel::delete(datasets::table.find(id.to_string())).execute(connection)?)
        })?;
        if deleted == 0 {
            return Err(Error::NotFound {
                what: "dataset",
                id: id.to_string(),
            });
        }
        Ok(())
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = datasets)]
struct Row {
    id: String,
    name: String,
    description: String,
    path: String,
    format: String,
    samples: Option<i64>,
    digest: Option<String>,
    created_at: NaiveDateTime,
}

impl Row {
    fn into_dataset(self) -> Result<Dataset, Error> {
        Ok(Dataset {
            id: self
                .id
                .parse()
                .map_err(|error: uuid::Error| Error::Corrupt {
                    what: "dataset",
                    id: self.id.clone(),
                    message: error.to_string(),
                })?,
            name: self.name,
            description: self.description,
            path: self.path.into(),
            format: self.format,
            samples: self.samples.map(to_u64),
            digest: self.digest,
            created_at: self.created_at.and_utc(),
        })
    }
}
