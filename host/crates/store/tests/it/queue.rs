use std::collections::HashSet;
use std::sync::Barrier;
use std::time::Duration;

use domain::{RunEvent, RunStatus};
use store::testing::TestDatabase;
use store::{Error, Signal};

use crate::harness::{LEASE, claim, claimed, log, on_both_databases, open, queue, step};

on_both_databases!(
    the_run_that_waits_longest_is_taken_first,
    many_workers_never_take_the_same_run,
    a_stop_reaches_the_worker_at_its_next_look,
    a_run_that_waits_stops_at_once,
    what_has_ended_cannot_be_stopped,
    a_run_without_a_sign_of_life_is_interrupted,
    a_live_lease_is_left_alone,
    a_zombie_cannot_write,
    a_dead_worker_gives_up_its_run_at_once,
    an_interrupted_run_is_queued_again_to_resume,
    a_completed_run_cannot_be_resumed,
    a_released_run_waits_in_the_queue_to_resume,
    a_late_heartbeat_keeps_a_run_that_nobody_ended,
    a_run_cannot_be_finished_with_a_status_that_is_no_end,
);

fn the_run_that_waits_longest_is_taken_first(database: &TestDatabase) {
    let store = open(database);
    let first = queue(&store, "first");
    let second = queue(&store, "second");
    let taken = claim(&store, "a");
    assert_eq!(taken.run.id, first.id);
    assert_eq!(taken.run.status, RunStatus::Running);
    assert_eq!(taken.run.worker.as_deref(), Some("a"));
    assert!(taken.run.started_at.is_some());
    assert_eq!(claim(&store, "b").run.id, second.id);
    assert!(store.claim_run("c", LEASE).unwrap().is_none());
}

fn many_workers_never_take_the_same_run(database: &TestDatabase) {
    let store = open(database);
    let runs: HashSet<_> = (0..12).map(|n| queue(&store, &n.to_string()).id).collect();
    let start = Barrier::new(6);
    let taken: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|worker| {
                let (store, start) = (store.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    let mut taken = Vec::new();
                    while let Some(claim) =
                        store.claim_run(&format!("worker {worker}"), LEASE).unwrap()
                    {
                        taken.push(claim.run.id);
                    }
                    taken
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert_eq!(taken.len(), runs.len(), "each run is taken once");
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), runs);
}

fn a_stop_reaches_the_worker_at_its_next_look(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    assert_eq!(store.signal(&claim).unwrap(), Signal::Continue);
    let run = store.request_stop(claim.run.id).unwrap();
    assert_eq!(run.status, RunStatus::Stopping);
    assert_eq!(store.signal(&claim).unwrap(), Signal::Stop);
    assert_eq!(store.heartbeat(&claim, LEASE).unwrap(), Signal::Stop);
    // Asking twice is no fault: two people may press the button.
    store.request_stop(claim.run.id).unwrap();
    store.finish_run(&claim, RunStatus::Stopped, None).unwrap();
    let run = store.find_run(claim.run.id).unwrap().unwrap();
    assert_eq!(run.status, RunStatus::Stopped);
    assert!(run.finished_at.is_some());
}

fn a_run_that_waits_stops_at_once(database: &TestDatabase) {
    let store = open(database);
    let run = queue(&store, "waits");
    let stopped = store.request_stop(run.id).unwrap();
    assert_eq!(stopped.status, RunStatus::Stopped);
    assert!(store.claim_run("worker", LEASE).unwrap().is_none());
}

fn what_has_ended_cannot_be_stopped(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    store
        .finish_run(&claim, RunStatus::Completed, None)
        .unwrap();
    let error = store.request_stop(claim.run.id).unwrap_err();
    assert!(error.to_string().contains("is completed"), "{error}");
}

fn a_run_without_a_sign_of_life_is_interrupted(database: &TestDatabase) {
    let store = open(database);
    queue(&store, "lost");
    let claim = store.claim_run("worker", Duration::ZERO).unwrap().unwrap();
    store.append_events(&claim, &[log("begins")]).unwrap();
    assert_eq!(store.interrupt_expired().unwrap(), [claim.run.id]);
    assert!(store.interrupt_expired().unwrap().is_empty());
    let run = store.find_run(claim.run.id).unwrap().unwrap();
    assert_eq!(run.status, RunStatus::Interrupted);
    assert!(run.error.unwrap().contains("no sign of life"));
    let events = store.events_after(claim.run.id, 0, 10).unwrap();
    assert_eq!(
        events.iter().map(|event| event.seq).collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(
        matches!(&events[1].event, RunEvent::Error { code, .. } if code == "interrupted"),
        "{events:?}"
    );
    let (count, last) = store.worker_events(claim.run.id).unwrap();
    assert_eq!(
        (count, last),
        (1, Some(log("begins"))),
        "the store's word is none of the worker's"
    );
}

fn a_live_lease_is_left_alone(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    assert!(store.interrupt_expired().unwrap().is_empty());
    assert_eq!(store.signal(&claim).unwrap(), Signal::Continue);
}

fn a_zombie_cannot_write(database: &TestDatabase) {
    let store = open(database);
    queue(&store, "taken away");
    let zombie = store.claim_run("zombie", Duration::ZERO).unwrap().unwrap();
    let id = zombie.run.id;
    store.interrupt_expired().unwrap();
    let refused = |at: &str| {
        let lost = |result: Result<(), Error>| {
            assert!(
                matches!(result, Err(Error::LeaseLost(lost)) if lost == id),
                "{at}"
            );
        };
        lost(store.append_events(&zombie, &[step(1, 9.0)]));
        lost(store.heartbeat(&zombie, LEASE).map(drop));
        lost(store.signal(&zombie).map(drop));
        lost(store.release_run(&zombie));
        lost(store.finish_run(&zombie, RunStatus::Completed, None));
    };
    refused("after the interruption");
    store.requeue_run(id).unwrap();
    refused("while it waits");
    let heir = claim(&store, "heir");
    assert!(heir.fence > zombie.fence);
    refused("while another worker holds it");
    store.append_events(&heir, &[step(1, 2.0)]).unwrap();
    store.finish_run(&heir, RunStatus::Completed, None).unwrap();
    refused("after the end");
    let losses = store.metrics(id, "loss", 10).unwrap();
    assert_eq!(
        losses.iter().map(|point| point.value).collect::<Vec<_>>(),
        [2.0]
    );
}

fn a_dead_worker_gives_up_its_run_at_once(database: &TestDatabase) {
    let store = open(database);
    queue(&store, "a");
    queue(&store, "b");
    let dead = claim(&store, "dead");
    let alive = claim(&store, "alive");
    assert_eq!(store.interrupt_worker("dead").unwrap(), [dead.run.id]);
    assert!(matches!(store.signal(&dead), Err(Error::LeaseLost(_))));
    assert_eq!(store.signal(&alive).unwrap(), Signal::Continue);
}

fn an_interrupted_run_is_queued_again_to_resume(database: &TestDatabase) {
    let store = open(database);
    let first = claimed(&store);
    assert!(!first.run.resume);
    store.interrupt_worker("worker").unwrap();
    let queued = store.requeue_run(first.run.id).unwrap();
    assert_eq!(queued.status, RunStatus::Queued);
    assert!(queued.resume && queued.error.is_none() && queued.finished_at.is_none());
    let second = claim(&store, "other");
    assert!(second.run.resume);
    assert_eq!(second.run.started_at, first.run.started_at);
}

fn a_completed_run_cannot_be_resumed(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    store
        .finish_run(&claim, RunStatus::Completed, None)
        .unwrap();
    let error = store.requeue_run(claim.run.id).unwrap_err();
    assert!(matches!(error, Error::WrongStatus { .. }), "{error}");
}

fn a_released_run_waits_in_the_queue_to_resume(database: &TestDatabase) {
    let store = open(database);
    let first = claimed(&store);
    store.append_events(&first, &[step(1, 3.0)]).unwrap();
    store.release_run(&first).unwrap();
    assert!(matches!(store.signal(&first), Err(Error::LeaseLost(_))));
    let second = claim(&store, "next");
    assert_eq!(second.run.id, first.run.id);
    assert!(second.run.resume);
    store.append_events(&second, &[step(2, 2.0)]).unwrap();
}

fn a_late_heartbeat_keeps_a_run_that_nobody_ended(database: &TestDatabase) {
    let store = open(database);
    queue(&store, "slept");
    let claim = store.claim_run("worker", Duration::ZERO).unwrap().unwrap();
    assert_eq!(store.heartbeat(&claim, LEASE).unwrap(), Signal::Continue);
    assert!(store.interrupt_expired().unwrap().is_empty());
}

fn a_run_cannot_be_finished_with_a_status_that_is_no_end(database: &TestDatabase) {
    let store = open(database);
    let claim = claimed(&store);
    assert!(store.finish_run(&claim, RunStatus::Running, None).is_err());
    assert_eq!(store.signal(&claim).unwrap(), Signal::Continue);
}
