use domain::{Capability, Execution, ExecutionOutcome, RunStatus};
use serde_json::json;
use store::testing::TestDatabase;
use store::{AdapterKind, Error, ExecutionFilter, NewAdapter, NewDataset};
use uuid::Uuid;

use crate::harness::{claimed, on_both_databases, open};

on_both_databases!(
    an_adapter_is_noted_once_and_outlives_its_run,
    a_dataset_keeps_its_id_when_it_is_noted_again,
    a_plugin_that_was_switched_off_stays_off,
    grants_are_for_one_component,
    calls_of_plugins_are_kept_as_they_were,
    a_log_with_a_nul_is_kept,
);

fn an_adapter_is_noted_once_and_outlives_its_run(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    let new = NewAdapter {
        run_id: Some(claim.run.id),
        name: "first".into(),
        kind: AdapterKind::Adapter,
        path: "runs/1/adapter".into(),
        base_model: Some("models/tiny".into()),
    };
    store.record_adapter(&new).unwrap();
    let noted = store.record_adapter(&new).unwrap();
    let listed = store.list_adapters().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].id, listed[0].run_id),
        (noted.id, Some(claim.run.id))
    );
    store
        .finish_run(&claim, RunStatus::Completed, None)
        .unwrap();
    store.delete_run(claim.run.id).unwrap();
    let left = store.find_adapter(noted.id).unwrap().unwrap();
    assert_eq!((left.run_id, left.name.as_str()), (None, "first"));
    store.delete_adapter(noted.id).unwrap();
    assert!(matches!(
        store.delete_adapter(noted.id),
        Err(Error::NotFound {
            what: "adapter",
            ..
        })
    ));
}

fn a_dataset_keeps_its_id_when_it_is_noted_again(database: &TestDatabase) {
    let store = open(database);
    let mut new = NewDataset {
        name: "sample".into(),
        description: "what it is".into(),
        path: "sample/data.jsonl".into(),
        format: "completion".into(),
        samples: None,
        digest: None,
    };
    let first = store.record_dataset(&new).unwrap();
    new.samples = Some(120);
    let second = store.record_dataset(&new).unwrap();
    assert_eq!((second.id, second.samples), (first.id, Some(120)));
    assert_eq!(
        store.list_datasets().unwrap(),
        std::slice::from_ref(&second)
    );
    assert_eq!(store.find_dataset(first.id).unwrap(), Some(second));
    assert_eq!(store.find_dataset(Uuid::now_v7()).unwrap(), None);
    store.delete_dataset(first.id).unwrap();
    assert!(store.list_datasets().unwrap().is_empty());
}

fn a_plugin_that_was_switched_off_stays_off(database: &TestDatabase) {
    let store = open(database);
    assert_eq!(store.find_plugin_settings("code-analyzer").unwrap(), None);
    assert!(
        !store
            .set_plugin_enabled("code-analyzer", false)
            .unwrap()
            .enabled
    );
    store
        .set_plugin_grants("code-analyzer", "abc", &[Capability::Log])
        .unwrap();
    let settings = store.list_plugin_settings().unwrap();
    assert_eq!(settings.len(), 1);
    assert!(!settings[0].enabled);
    assert!(
        store
            .set_plugin_enabled("code-analyzer", true)
            .unwrap()
            .enabled
    );
}

fn grants_are_for_one_component(database: &TestDatabase) {
    let store = open(database);
    let granted = [Capability::Log, Capability::Config];
    store.set_plugin_grants("stats", "abc", &granted).unwrap();
    let settings = store.find_plugin_settings("stats").unwrap().unwrap();
    assert!(settings.enabled);
    assert_eq!(settings.granted_digest.as_deref(), Some("abc"));
    assert_eq!(settings.grants, granted);
    let changed = store.set_plugin_grants("stats", "def", &[]).unwrap();
    assert_eq!(changed.granted_digest.as_deref(), Some("def"));
    assert!(changed.grants.is_empty());
}

fn execution(plugin: &str, outcome: ExecutionOutcome) -> Execution {
    Execution {
        plugin: plugin.into(),
        digest: "abc".into(),
        input_digest: "def".into(),
        duration_us: 14,
        fuel: u64::MAX,
        peak_memory_bytes: 65_536,
        log: "a line".into(),
        outcome,
    }
}

fn calls_of_plugins_are_kept_as_they_were(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    let ok = execution(
        "stats",
        ExecutionOutcome::Ok {
            output: json!({ "lines": 3 }),
        },
    );
    let failed = execution(
        "analyzer",
        ExecutionOutcome::Failed {
            code: "fuel".into(),
            message: "it ran out of fuel".into(),
        },
    );
    store.record_execution(&ok, Some(claim.run.id)).unwrap();
    let id = store.record_execution(&failed, None).unwrap();
    let all = store.list_executions(&ExecutionFilter::default()).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].id, id);
    assert_eq!(all[0].execution.outcome, failed.outcome);
    // More fuel than the column can hold counts as the most that it can.
    assert_eq!(all[0].execution.fuel, i64::MAX as u64);
    let of_run = ExecutionFilter {
        run_id: Some(claim.run.id),
        plugin: Some("stats".into()),
        limit: 10,
    };
    let found = store.list_executions(&of_run).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].execution.outcome, ok.outcome);
}

fn a_log_with_a_nul_is_kept(database: &TestDatabase) {
    let store = open(database);
    let mut call = execution(
        "noisy",
        ExecutionOutcome::Ok {
            output: json!(null),
        },
    );
    call.log = "a\0b".into();
    store.record_execution(&call, None).unwrap();
    let kept = store.list_executions(&ExecutionFilter::default()).unwrap();
    assert_eq!(kept[0].execution.log, "a\u{fffd}b");
}
