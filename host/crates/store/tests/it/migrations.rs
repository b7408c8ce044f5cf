use std::sync::Barrier;

use store::testing::TestDatabase;
use store::{DatabaseConfig, PoolConfig, Store};

use crate::harness::{on_both_databases, open, queue};

on_both_databases!(
    migrations_go_up_and_down_and_up_again,
    opening_twice_changes_nothing,
    two_processes_may_migrate_at_once,
    the_pool_keeps_to_its_bounds,
);

fn migrations_go_up_and_down_and_up_again(database: &TestDatabase) {
    let store = Store::connect(&database.config()).unwrap();
    let known = store.migration_status().unwrap();
    assert!(!known.is_empty() && known.iter().all(|migration| !migration.applied));
    let applied = store.migrate().unwrap();
    assert_eq!(applied.len(), known.len());
    queue(&store, "lost with its table");
    let mut reverted = store.revert(usize::MAX).unwrap();
    reverted.reverse();
    assert_eq!(reverted.len(), applied.len());
    assert!(store.list_runs(&store::RunFilter::default()).is_err());
    assert_eq!(store.migrate().unwrap(), applied);
    assert!(
        store
            .list_runs(&store::RunFilter::default())
            .unwrap()
            .is_empty()
    );
}

fn opening_twice_changes_nothing(database: &TestDatabase) {
    let run = queue(&open(database), "kept");
    let again = open(database);
    assert!(again.migrate().unwrap().is_empty());
    assert!(again.find_run(run.id).unwrap().is_some());
    assert!(again.find_damage().unwrap().is_empty());
    again.check().unwrap();
}

fn two_processes_may_migrate_at_once(database: &TestDatabase) {
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        let opened: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    Store::open(&database.config()).map(drop)
                })
            })
            .collect();
        for opened in opened {
            opened.join().unwrap().unwrap();
        }
    });
}

fn the_pool_keeps_to_its_bounds(database: &TestDatabase) {
    let config = DatabaseConfig {
        pool: PoolConfig {
            max_size: 3,
            min_idle: 1,
            ..PoolConfig::default()
        },
        ..database.config()
    };
    let store = Store::open(&config).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| store.check().unwrap());
        }
    });
    let status = store.pool_status();
    assert_eq!(status.max_size, 3);
    assert!(status.connections <= 3, "{status:?}");
    let default = PoolConfig::default();
    assert_eq!((default.max_size, default.min_idle), (30, 10));
    assert_eq!(default.connection_timeout.as_secs(), 30);
    assert_eq!(default.max_lifetime.as_secs(), 1800);
    assert!(default.test_on_check_out);
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_named() {
    let database = TestDatabase::sqlite();
    drop(open(&database));
    database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99999999999999')");
    let error = Store::open(&database.config()).unwrap_err().to_string();
    assert!(error.contains("99999999999999"), "{error}");
    assert!(error.contains("newer version"), "{error}");
}
