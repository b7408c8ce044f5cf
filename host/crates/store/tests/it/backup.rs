use store::testing::TestDatabase;
use store::{DatabaseConfig, Store};

use crate::harness::{open, queue};

#[test]
fn a_copy_is_taken_while_the_database_is_used_and_put_back_later() {
    let database = TestDatabase::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let store = open(&database);
    let kept = queue(&store, "kept");
    store.backup(&copy).unwrap();
    let later = queue(&store, "later");
    assert!(
        store
            .backup(&copy)
            .unwrap_err()
            .to_string()
            .contains("exists already")
    );
    let in_use = store::restore(&database.config(), &copy).unwrap_err();
    assert!(in_use.to_string().contains("stop the studio"), "{in_use}");
    assert!(store.find_run(later.id).unwrap().is_some());
    drop(store);
    let elsewhere = DatabaseConfig {
        url: format!("sqlite:{}", folder.path().join("new/studio.db").display()),
        ..database.config()
    };
    // A place that does not exist yet is a fresh machine.
    std::fs::create_dir_all(folder.path().join("new")).unwrap();
    store::restore(&elsewhere, &copy).unwrap();
    let restored = Store::open(&elsewhere).unwrap();
    assert!(restored.find_run(kept.id).unwrap().is_some());
    assert!(restored.find_run(later.id).unwrap().is_none());
}

#[test]
fn a_copy_that_is_no_database_of_the_studio_is_refused_and_changes_nothing() {
    let database = TestDatabase::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let run = queue(&open(&database), "kept");
    let text = folder.path().join("notes.txt");
    std::fs::write(
        &text,
        "no database at all, but long enough to be looked at twice\n".repeat(40),
    )
    .unwrap();
    let empty = folder.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    for bad in [&text, &empty, &folder.path().join("missing.db")] {
        let error = store::restore(&database.config(), bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(&bad.display().to_string()), "{error}");
    }
    assert!(open(&database).find_run(run.id).unwrap().is_some());
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_copy_of_postgresql_is_left_to_its_own_tools() {
    let database = TestDatabase::postgres();
    let copy = tempfile::tempdir().unwrap().path().join("copy");
    let error = open(&database).backup(&copy).unwrap_err().to_string();
    assert!(error.contains("pg_dump"), "{error}");
}
