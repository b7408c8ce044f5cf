//! What is pruned of the plugins' history and audit, and what stays.

use chrono::{TimeZone, Utc};
use domain::{Capability, CapabilityUse, Execution, ExecutionOutcome};
use serde_json::json;
use store::testing::TestDatabase;
use store::{ExecutionFilter, Retention, Store, SuggestionVerdict};
use uuid::Uuid;

use crate::harness::{on_both_databases, open};

on_both_databases! {
    what_is_older_than_the_limit_goes_and_the_rest_stays,
    the_newest_rows_stay_whatever_their_number,
    a_call_that_the_user_judged_stays,
    without_a_limit_everything_stays,
}

/// A call of a plugin, and a use of the same one.
fn record(store: &Store, plugin: &str) -> Uuid {
    let execution = Execution {
        plugin: plugin.into(),
        digest: "abc".into(),
        input_digest: "def".into(),
        duration_us: 14,
        fuel: 1,
        peak_memory_bytes: 65_536,
        log: String::new(),
        outcome: ExecutionOutcome::Ok { output: json!({}) },
    };
    let used = CapabilityUse {
        capability: Capability::Http,
        target: "https://example.org".into(),
        times: 1,
        refused: 0,
        bytes: 0,
        tokens: 0,
    };
    store.record_uses(plugin, "abc", &[used]).unwrap();
    store.record_execution(&execution, None).unwrap()
}

fn calls(store: &Store) -> Vec<String> {
    let all = ExecutionFilter {
        limit: 1000,
        ..ExecutionFilter::default()
    };
    let all = store.list_executions(&all).unwrap();
    all.into_iter().map(|call| call.execution.plugin).collect()
}

fn uses(store: &Store, plugin: &str) -> usize {
    store.list_uses(plugin, 1000).unwrap().len()
}

/// Until nothing is left to do; how many went each time.
fn prune(store: &Store, keep: &Retention, batch: u32) -> Vec<usize> {
    let gone = std::iter::repeat_with(|| store.prune_plugin_history(keep, batch).unwrap());
    gone.take_while(|gone| *gone > 0).collect()
}

fn what_is_older_than_the_limit_goes_and_the_rest_stays(database: &TestDatabase) {
    let store = open(database);
    for _ in 0..5 {
        record(&store, "old");
    }
    record(&store, "new");
    for table in ["plugin_executions", "plugin_uses"] {
        database.execute(&format!(
            "UPDATE {table} SET created_at = '2020-01-01 00:00:00' WHERE plugin = 'old'"
        ));
    }
    let keep = Retention {
        since: Some(Utc.with_ymd_and_hms(2021, 1, 1, 0, 0, 0).unwrap()),
        rows: None,
    };
    assert_eq!(prune(&store, &keep, 2), [4, 4, 2]);
    assert_eq!(calls(&store), ["new"]);
    assert_eq!((uses(&store, "old"), uses(&store, "new")), (0, 1));
}

fn the_newest_rows_stay_whatever_their_number(database: &TestDatabase) {
    let store = open(database);
    for plugin in ["a", "b", "c", "d", "e"] {
        record(&store, plugin);
    }
    let keep = |rows| Retention {
        since: None,
        rows: Some(rows),
    };
    assert_eq!(prune(&store, &keep(5), 10), [0; 0]);
    assert_eq!(prune(&store, &keep(2), 10), [6]);
    assert_eq!(calls(&store), ["e", "d"]);
    assert_eq!((uses(&store, "c"), uses(&store, "d")), (0, 1));
    assert_eq!(prune(&store, &keep(0), 10), [4]);
    assert!(calls(&store).is_empty());
}

fn a_call_that_the_user_judged_stays(database: &TestDatabase) {
    let store = open(database);
    let judged = record(&store, "judged");
    store
        .judge_suggestion(judged, "/suggestion", SuggestionVerdict::Accepted)
        .unwrap();
    record(&store, "not-judged");
    let keep = Retention {
        since: None,
        rows: Some(0),
    };
    assert_eq!(prune(&store, &keep, 10), [3]);
    assert_eq!(calls(&store), ["judged"]);
    assert_eq!(store.list_suggestions(judged).unwrap().len(), 1);
}

fn without_a_limit_everything_stays(database: &TestDatabase) {
    let store = open(database);
    record(&store, "a");
    assert_eq!(prune(&store, &Retention::default(), 10), [0; 0]);
    assert_eq!((calls(&store).len(), uses(&store, "a")), (1, 1));
}
