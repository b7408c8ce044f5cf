//! Copies of a SQLite database, taken while it is used, and put back while it is not.

use std::fs;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::connection::{AnyConnection, connect};
use crate::url::{Target, parse};
use crate::{DatabaseConfig, Error, Store, migration};

impl Store {
    /// Writes a complete, compact copy of the SQLite database to a new file, while others read and write.
    ///
    /// # Errors
    /// When the file exists, or on PostgreSQL, which has `pg_dump` for this.
    pub fn backup(&self, to: &Path) -> Result<(), Error> {
        self.read(|connection| {
            let AnyConnection::Sqlite(connection) = connection else {
                return Err(Error::InvalidUrl(
                    "the database is PostgreSQL: take its copy with pg_dump --format=custom, and put it back \
                     with pg_restore"
                        .into(),
                ));
            };
            if to.exists() {
                return Err(Error::InvalidUrl(format!(
                    "{}: exists already; name a new file",
                    to.display()
                )));
            }
            diesel::sql_query("VACUUM INTO ?")
                .bind::<Text, _>(to.to_string_lossy().into_owned())
                .execute(connection)?;
            Ok(())
        })
    }

    /// Looks through the whole database for damage, and returns what it found: nothing when all is well.
    ///
    /// # Errors
    /// When the database cannot be read at all.
    pub fn find_damage(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for state in self.migration_status()? {
            if !state.applied {
                found.push(format!("migration {} is not applied", state.name));
            }
        }
        self.read(|connection| {
            if let AnyConnection::Sqlite(connection) = connection {
                found.extend(sqlite_damage(connection)?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

fn sqlite_damage(connection: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    let lines: Vec<Line> = diesel::sql_query(
        "SELECT integrity_check AS line FROM pragma_integrity_check WHERE integrity_check <> 'ok' \
         UNION ALL SELECT 'a row of ' || \"table\" || ' points to a missing row of ' || parent \
         FROM pragma_foreign_key_check",
    )
    .load(connection)?;
    Ok(lines.into_iter().map(|line| line.line).collect())
}

/// Puts a copy that [`Store::backup`] made in the place of the configured SQLite database. What was there is kept
/// beside it, with `.before-restore` behind its name.
///
/// # Errors
/// When the copy is damaged, made by a newer version or no database of the studio, when the database is in use,
/// or when it is PostgreSQL. The database is then as it was.
pub fn restore(config: &DatabaseConfig, from: &Path) -> Result<(), Error> {
    let Target::Sqlite(place) = parse(&config.url)? else {
        return Err(Error::InvalidUrl(
            "the database is PostgreSQL: put a copy back with pg_restore".into(),
        ));
    };
    let file_error = |path: &Path| {
        let path = path.display().to_string();
        move |source| Error::File { path, source }
    };
    let beside = |suffix: &str| {
        let mut name = place.clone().into_os_string();
        name.push(suffix);
        std::path::PathBuf::from(name)
    };
    // The copy is looked at where it will not be changed if it is bad.
    let new = beside(".restoring");
    fs::copy(from, &new).map_err(file_error(from))?;
    let checked = check_copy(&new, from);
    remove_side_files(&new);
    if let Err(error) = checked {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    if place.exists() {
        free_of_users(&place)?;
        remove_side_files(&place);
        fs::rename(&place, beside(".before-restore")).map_err(file_error(&place))?;
    }
    fs::File::open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&new, &place))
        .map_err(file_error(&place))
}

fn open_file(path: &Path) -> Result<AnyConnection, Error> {
    connect(&Target::Sqlite(path.to_owned()), false)
        .map_err(|error| Error::Unavailable(error.to_string()))
}

fn check_copy(copy: &Path, named: &Path) -> Result<(), Error> {
    let bad = |message: String| Error::Corrupt {
        what: "backup",
        id: named.display().to_string(),
        message,
    };
    let mut connection = open_file(copy).map_err(|error| bad(error.to_string()))?;
    let AnyConnection::Sqlite(inner) = &mut connection else {
        unreachable!("a file is SQLite");
    };
    let damage = sqlite_damage(inner).map_err(|error| bad(error.to_string()))?;
    if let Some(first) = damage.first() {
        return Err(bad(first.clone()));
    }
    inner
        .batch_execute("SELECT id FROM runs LIMIT 1")
        .map_err(|_| bad("it is no database of the studio".into()))?;
    migration::migrate(&mut connection)?;
    Ok(())
}

/// Fails while another process has the file open: it would go on writing into the old one.
fn free_of_users(place: &Path) -> Result<(), Error> {
    let mut connection = open_file(place)?;
    // Leaving write-ahead logging takes a lock that excludes every other connection.
    connection
        .batch_execute("PRAGMA busy_timeout = 0; PRAGMA journal_mode = DELETE;")
        .map_err(|_| {
            Error::Unavailable(format!(
                "{} is in use; stop the studio and its workers first",
                place.display()
            ))
        })
}

fn remove_side_files(place: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = place.as_os_str().to_owned();
        name.push(suffix);
        // They are there or not; after a clean close they are not.
        let _ = fs::remove_file(name);
    }
}
