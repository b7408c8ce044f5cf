//! Databases for one test: made empty, used, and gone when dropped.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use uuid::Uuid;

use crate::connection::connect;
use crate::url::Target;
use crate::{DatabaseConfig, PoolConfig, Store};

/// A database that exists as long as this value.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    folder: tempfile::TempDir,
    server: Option<(String, String)>,
}

impl TestDatabase {
    /// A new SQLite file in a temporary folder.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            url: format!("sqlite:{}", folder.path().join("test.db").display()),
            folder,
            server: None,
        }
    }

    /// A new database on the server of `TEST_DATABASE_URL`.
    ///
    /// # Panics
    /// When the variable is not set or the server refuses.
    pub fn postgres() -> Self {
        let server = std::env::var("TEST_DATABASE_URL").expect(
            "TEST_DATABASE_URL names a PostgreSQL server on which databases may be created",
        );
        let name = format!("codetune_test_{}", Uuid::now_v7().simple());
        on_server(&server, &format!("CREATE DATABASE {name}"));
        Self {
            url: with_database(&server, &name),
            folder: tempfile::tempdir().expect("a temporary folder"),
            server: Some((server, name)),
        }
    }

    /// The URL to open it with.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Settings with a small pool and no long waits.
    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig {
            url: self.url.clone(),
            fallback_path: self.folder.path().join("fallback.db"),
            sql_debug: false,
            pool: PoolConfig {
                max_size: 8,
                min_idle: 0,
                connection_timeout: Duration::from_secs(20),
                ..PoolConfig::default()
            },
        }
    }

    /// Runs a statement, for what no part of the program would do.
    ///
    /// # Panics
    /// When the database refuses it.
    pub fn execute(&self, statement: &str) {
        let target = crate::url::parse(&self.url).expect("the URL is this value's own");
        connect(&target, false)
            .expect("the test database answers")
            .batch_execute(statement)
            .expect("the statement is valid");
    }

    /// Opens it, migrated.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub fn open(&self) -> Store {
        Store::open(&self.config()).expect("the test database opens")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.server {
            on_server(server, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

fn on_server(server: &str, statement: &str) {
    connect(&Target::Postgres(server.to_owned()), false)
        .expect("the server of TEST_DATABASE_URL answers")
        .batch_execute(statement)
        .expect("the server of TEST_DATABASE_URL lets databases be made and dropped");
}

/// The same server, another database.
fn with_database(server: &str, name: &str) -> String {
    let (before, query) = match server.split_once('?') {
        Some((before, query)) => (before, format!("?{query}")),
        None => (server, String::new()),
    };
    let host_at = before.find("://").map_or(0, |at| at + 3);
    let host_end = before[host_at..]
        .find('/')
        .map_or(before.len(), |at| host_at + at);
    format!("{}/{name}{query}", &before[..host_end])
}
