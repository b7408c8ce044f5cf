use store::testing::TestDatabase;
use store::{Backend, DatabaseConfig, Error, Store};

use crate::harness::queue;

/// A server that is not there: nobody listens on the port that was free a moment ago.
fn unreachable(database: &TestDatabase) -> DatabaseConfig {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    DatabaseConfig {
        url: format!("postgres://ada:very-secret@127.0.0.1:{port}/studio"),
        ..database.config()
    }
}

#[test]
fn an_unreachable_postgresql_is_replaced_by_sqlite_and_says_so_without_the_password() {
    let database = TestDatabase::sqlite();
    let config = unreachable(&database);
    let store = Store::open(&config).unwrap();
    assert_eq!(store.backend(), Backend::Sqlite);
    assert!(config.fallback_path.is_file());
    let reason = &store.fallback().unwrap().reason;
    assert!(reason.contains("three tries"), "{reason}");
    assert!(reason.contains("ada:***@127.0.0.1"), "{reason}");
    assert!(!reason.contains("very-secret"), "{reason}");
    assert!(!format!("{config:?} {store:?}").contains("very-secret"));
    // The studio works.
    let run = queue(&store, "meanwhile");
    let only = store.only_in_fallback(&config.fallback_path).unwrap();
    assert_eq!(only.runs, [run.id]);
}

#[test]
fn a_wrong_scheme_opens_nothing() {
    let database = TestDatabase::sqlite();
    for url in [
        "mysql://ada:very-secret@db/studio",
        "studio.db",
        "postgre://db/studio",
    ] {
        let config = DatabaseConfig {
            url: url.into(),
            ..database.config()
        };
        let error = Store::open(&config).unwrap_err();
        assert!(matches!(error, Error::InvalidUrl(_)), "{error}");
        assert!(!error.to_string().contains("very-secret"), "{error}");
        assert!(!config.fallback_path.exists());
    }
    assert!(!std::path::Path::new("studio.db").exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let database = TestDatabase::sqlite();
    drop(database.open());
    let file = database.url().trim_start_matches("sqlite:").to_owned();
    let config = DatabaseConfig {
        url: format!("sqlite:{file}/below/a/file.db"),
        ..database.config()
    };
    let error = Store::open(&config).unwrap_err().to_string();
    assert!(error.contains(&file), "{error}");
}

#[test]
fn without_a_fallback_file_nothing_is_only_there() {
    let database = TestDatabase::sqlite();
    let store = database.open();
    let only = store
        .only_in_fallback(&database.config().fallback_path)
        .unwrap();
    assert!(only.is_empty());
    assert!(store.fallback().is_none());
    assert!(!database.config().fallback_path.exists());
}

#[test]
#[ignore = "needs PostgreSQL"]
fn what_was_written_while_postgresql_was_away_is_found_when_it_is_back() {
    let database = TestDatabase::postgres();
    let before = queue(&database.open(), "before");
    let meanwhile = {
        let store = Store::open(&unreachable(&database)).unwrap();
        queue(&store, "meanwhile")
    };
    let store = database.open();
    assert_eq!(store.backend(), Backend::Postgres);
    assert!(store.find_run(before.id).unwrap().is_some());
    let only = store
        .only_in_fallback(&database.config().fallback_path)
        .unwrap();
    assert_eq!(only.runs, [meanwhile.id]);
    assert_eq!(
        (only.datasets, only.adapters, only.plugin_executions),
        (0, 0, 0)
    );
}
