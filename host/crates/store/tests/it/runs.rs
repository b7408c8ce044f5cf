use domain::{CurationStep, CurationSummary, RunEvent, RunId, RunStatus};
use store::testing::TestDatabase;
use store::{Error, NewRun, RunFilter, RunOrder};

use crate::harness::{claim, claimed, config, log, on_both_databases, open, queue, step};

on_both_databases!(
    a_run_comes_back_as_it_was_made,
    a_run_keeps_what_its_curators_made_of_its_data,
    an_id_is_taken_once,
    runs_are_listed_newest_first_and_by_page,
    runs_are_ordered_over_all_pages,
    runs_are_found_by_status_and_name,
    percent_and_underscore_in_a_search_mean_themselves,
    a_rename_of_no_run_says_so,
    a_run_in_work_cannot_be_deleted,
    deleting_a_run_deletes_what_hangs_on_it,
);

fn a_run_comes_back_as_it_was_made(database: &TestDatabase) {
    let store = open(database);
    let id = RunId::new();
    let made = store
        .create_run(&NewRun {
            id,
            name: "naïve \"run\"; DROP TABLE runs".into(),
            config: config(),
        })
        .unwrap();
    let found = store.find_run(id).unwrap().unwrap();
    assert_eq!(found, made);
    assert_eq!(found.config, config());
    assert_eq!(found.status, RunStatus::Queued);
    assert_eq!(found.eval_loss, None);
    assert!(found.started_at.is_none() && found.finished_at.is_none());
    assert_eq!(store.find_run(RunId::new()).unwrap(), None);
}

fn a_run_keeps_what_its_curators_made_of_its_data(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    assert_eq!(claim.run.curation, None);
    let summary = CurationSummary {
        pipeline: "ab".repeat(32),
        rows: 10,
        kept: 7,
        dropped: 3,
        steps: vec![CurationStep {
            plugin: "secrets".into(),
            rewritten: 2,
            ..CurationStep::default()
        }],
        ..CurationSummary::default()
    };
    let events = [
        RunEvent::Curating {
            rows: 5,
            kept: 3,
            seconds: 1.5,
            seconds_left: None,
        },
        RunEvent::Curated {
            path: "out/curated".into(),
            summary: summary.clone(),
        },
    ];
    store.append_events(&claim, &events).unwrap();
    let found = store.find_run(claim.run.id).unwrap().unwrap();
    assert_eq!(found.curation, Some(summary));
    let told = store.events_after(claim.run.id, 0, 10).unwrap();
    assert!(told.into_iter().map(|stored| stored.event).eq(events));
}

fn an_id_is_taken_once(database: &TestDatabase) {
    let store = open(database);
    let run = queue(&store, "first");
    let again = store.create_run(&NewRun {
        id: run.id,
        name: "second".into(),
        config: config(),
    });
    assert!(matches!(again, Err(Error::Database(_))), "{again:?}");
    assert_eq!(store.find_run(run.id).unwrap().unwrap().name, "first");
}

fn runs_are_listed_newest_first_and_by_page(database: &TestDatabase) {
    let store = open(database);
    let made: Vec<RunId> = (0..5)
        .map(|n| queue(&store, &format!("run {n}")).id)
        .collect();
    let page = |offset| {
        let filter = RunFilter {
            limit: 2,
            offset,
            ..RunFilter::default()
        };
        let runs = store.list_runs(&filter).unwrap();
        runs.iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(page(0), [made[4], made[3]]);
    assert_eq!(page(4), [made[0]]);
    assert_eq!(store.count_runs(&RunFilter::default()).unwrap(), 5);
}

fn runs_are_ordered_over_all_pages(database: &TestDatabase) {
    let store = open(database);
    for (name, loss) in [
        ("b", Some(2.0)),
        ("C", None),
        ("a", Some(1.0)),
        ("d", Some(3.0)),
    ] {
        let run = queue(&store, name);
        let Some(loss) = loss else {
            store.request_stop(run.id).unwrap();
            continue;
        };
        let claim = claim(&store, "worker");
        store
            .append_events(&claim, &[step(loss as u64, loss)])
            .unwrap();
    }
    let first_two = |order, offset| {
        let filter = RunFilter {
            order,
            limit: 2,
            offset,
            ..RunFilter::default()
        };
        let runs = store.list_runs(&filter).unwrap();
        runs.into_iter().map(|run| run.name).collect::<Vec<_>>()
    };
    for (order, all) in [
        (RunOrder::Newest, ["d", "a", "C", "b"]),
        (RunOrder::Oldest, ["b", "C", "a", "d"]),
        (RunOrder::Name, ["a", "b", "C", "d"]),
        (RunOrder::Loss, ["a", "b", "d", "C"]),
        (RunOrder::Steps, ["d", "b", "a", "C"]),
    ] {
        assert_eq!(first_two(order, 0), all[..2], "{order:?}");
        assert_eq!(first_two(order, 2), all[2..], "{order:?}");
    }
}

fn runs_are_found_by_status_and_name(database: &TestDatabase) {
    let store = open(database);
    let lower = queue(&store, "Lower Rate");
    queue(&store, "higher rate");
    claim(&store, "worker");
    let names = |filter: &RunFilter| {
        let runs = store.list_runs(filter).unwrap();
        runs.into_iter().map(|run| run.name).collect::<Vec<_>>()
    };
    let running = RunFilter {
        status: vec![RunStatus::Running, RunStatus::Stopping],
        ..RunFilter::default()
    };
    assert_eq!(names(&running), [lower.name.as_str()]);
    let search = RunFilter {
        search: Some("LOWER".into()),
        ..RunFilter::default()
    };
    assert_eq!(names(&search), [lower.name.as_str()]);
    assert_eq!(store.count_runs(&search).unwrap(), 1);
}

fn percent_and_underscore_in_a_search_mean_themselves(database: &TestDatabase) {
    let store = open(database);
    queue(&store, "half");
    queue(&store, "50% r_8");
    for text in ["%", "_", "50% R_8"] {
        let filter = RunFilter {
            search: Some(text.into()),
            ..RunFilter::default()
        };
        assert_eq!(store.count_runs(&filter).unwrap(), 1, "{text}");
    }
}

fn a_rename_of_no_run_says_so(database: &TestDatabase) {
    let store = open(database);
    let id = RunId::new();
    let error = store.rename_run(id, "name").unwrap_err();
    assert_eq!(error.to_string(), format!("there is no run {id}"));
    let run = queue(&store, "old");
    assert_eq!(store.rename_run(run.id, "new").unwrap().name, "new");
}

fn a_run_in_work_cannot_be_deleted(database: &TestDatabase) {
    let store = open(database);
    let run = queue(&store, "waits");
    let error = store.delete_run(run.id).unwrap_err();
    assert!(matches!(
        error,
        Error::WrongStatus {
            status: RunStatus::Queued,
            ..
        }
    ));
    assert!(store.find_run(run.id).unwrap().is_some());
}

fn deleting_a_run_deletes_what_hangs_on_it(database: &TestDatabase) {
    let store = open(database);
    let id = queue(&store, "gone").id;
    let claim = claim(&store, "worker");
    let checkpoint = domain::RunEvent::Checkpoint {
        step: 1,
        path: "checkpoint-1".into(),
    };
    store
        .append_events(&claim, &[log("begins"), step(1, 2.0), checkpoint])
        .unwrap();
    store
        .finish_run(&claim, RunStatus::Completed, None)
        .unwrap();
    store.delete_run(id).unwrap();
    assert_eq!(store.find_run(id).unwrap(), None);
    assert!(store.events_after(id, 0, 10).unwrap().is_empty());
    assert!(store.metrics(id, "loss", 10).unwrap().is_empty());
    assert!(store.list_checkpoints(id).unwrap().is_empty());
}
