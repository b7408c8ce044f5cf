use domain::{Capability, CapabilityUse, Execution, ExecutionOutcome, Grants, RunStatus};
use serde_json::json;
use store::testing::TestDatabase;
use store::{AdapterKind, Error, ExecutionFilter, NewAdapter, NewDataset, SuggestionVerdict};
use uuid::Uuid;

use crate::harness::{claimed, on_both_databases, open};

on_both_databases!(
    an_adapter_is_noted_once_and_outlives_its_run,
    a_dataset_keeps_its_id_when_it_is_noted_again,
    a_plugin_that_was_switched_off_stays_off,
    grants_are_for_one_component,
    settings_of_a_plugin_stay_beside_its_grants,
    what_a_plugin_used_is_kept_in_order,
    a_suggestion_has_the_last_verdict_and_goes_with_its_call,
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
        .set_plugin_grants("code-analyzer", "abc", &Grants::from(&[Capability::Log]))
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
    let granted = Grants {
        hosts: vec!["https://example.com".to_owned()],
        addresses: vec!["10.0.0.1".parse().unwrap()],
        folders: [("corpus".to_owned(), "/data".into())].into(),
        tokens: 100,
        ..Grants::from(&[Capability::Log, Capability::Http])
    };
    store.set_plugin_grants("stats", "abc", &granted).unwrap();
    let settings = store.find_plugin_settings("stats").unwrap().unwrap();
    assert!(settings.enabled);
    assert_eq!(settings.granted_digest.as_deref(), Some("abc"));
    assert_eq!(settings.grants, granted);
    let none = Grants::default();
    let changed = store.set_plugin_grants("stats", "def", &none).unwrap();
    assert_eq!(changed.granted_digest.as_deref(), Some("def"));
    assert_eq!(changed.grants, none);
}

fn settings_of_a_plugin_stay_beside_its_grants(database: &TestDatabase) {
    let store = open(database);
    let config = [("max_complexity".to_owned(), json!(7))].into();
    store.set_plugin_config("stats", &config).unwrap();
    let grants = Grants::from(&[Capability::Config]);
    store.set_plugin_grants("stats", "abc", &grants).unwrap();
    let settings = store.find_plugin_settings("stats").unwrap().unwrap();
    assert_eq!((settings.config, settings.grants), (config, grants));
}

fn what_a_plugin_used_is_kept_in_order(database: &TestDatabase) {
    let store = open(database);
    let used = |capability, target: &str, tokens| CapabilityUse {
        capability,
        target: target.to_owned(),
        times: 2,
        refused: 1,
        bytes: 30,
        tokens,
    };
    let first = [
        used(Capability::Http, "https://example.com", 0),
        used(Capability::Secrets, "KEY", 0),
    ];
    store.record_uses("review", "abc", &first).unwrap();
    let second = used(Capability::Generate, "model", 7);
    store
        .record_uses("review", "def", std::slice::from_ref(&second))
        .unwrap();
    store.record_uses("other", "ghi", &first).unwrap();
    let found = store.list_uses("review", 10).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!((found[0].digest.as_str(), &found[0].used), ("def", &second));
    assert_eq!(store.list_uses("review", 1).unwrap().len(), 1);
}

fn a_suggestion_has_the_last_verdict_and_goes_with_its_call(database: &TestDatabase) {
    let store = open(database);
    let call = execution("style", ExecutionOutcome::Ok { output: json!([]) });
    let id = store.record_execution(&call, None).unwrap();
    for verdict in [SuggestionVerdict::Accepted, SuggestionVerdict::Rejected] {
        store
            .judge_suggestion(id, "/diagnostics/0", verdict)
            .unwrap();
    }
    store
        .judge_suggestion(id, "/diagnostics/1", SuggestionVerdict::Accepted)
        .unwrap();
    let found = store.list_suggestions(id).unwrap();
    let verdicts: Vec<_> = found
        .iter()
        .map(|found| (found.pointer.as_str(), found.verdict))
        .collect();
    assert_eq!(
        verdicts,
        [
            ("/diagnostics/0", SuggestionVerdict::Rejected),
            ("/diagnostics/1", SuggestionVerdict::Accepted),
        ]
    );
    assert_eq!(store.find_execution(id).unwrap().unwrap().id, id);
    let unknown = store.judge_suggestion(Uuid::now_v7(), "", SuggestionVerdict::Accepted);
    assert!(
        matches!(unknown, Err(Error::NotFound { .. })),
        "{unknown:?}"
    );
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
