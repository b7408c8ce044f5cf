//! Server-sent events: nothing is lost and nothing comes twice.

use std::time::Duration;

use actix_web::http::Method;
use domain::RunStatus;

use crate::harness::{TestApp, request, started, step};

/// The ids and names of a stream's messages, in order.
fn messages(stream: &str) -> Vec<(Option<i64>, String)> {
    stream
        .split("\n\n")
        .filter_map(|block| {
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            Some((
                field("id").map(|id| id.parse().unwrap()),
                field("event")?.to_owned(),
            ))
        })
        .collect()
}

#[actix_web::test]
async fn a_finished_run_is_told_from_the_beginning_and_then_the_stream_ends() {
    let app = TestApp::new();
    let id = app.ended_run(
        "r",
        &[started(2), step(1, 2.0), step(2, 1.0)],
        RunStatus::Completed,
    );
    let answer = app.get(&format!("/api/v1/runs/{id}/events")).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let told = messages(&answer.body);
    let names: Vec<_> = told.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["started", "step", "step", "status"]);
    let ids: Vec<_> = told.iter().filter_map(|(id, _)| *id).collect();
    assert!(ids.is_sorted() && ids.len() == 3, "{ids:?}");
    assert!(answer.body.contains("\"status\":\"completed\""));
}

#[actix_web::test]
async fn a_reconnect_gets_what_it_missed_and_nothing_else() {
    let app = TestApp::new();
    let id = app.ended_run(
        "r",
        &[started(3), step(1, 3.0), step(2, 2.0), step(3, 1.0)],
        RunStatus::Completed,
    );
    let path = format!("/api/v1/runs/{id}/events");
    let all: Vec<_> = messages(&app.get(&path).await.body)
        .iter()
        .filter_map(|(id, _)| *id)
        .collect();
    let seen = all[1];
    let again = app
        .send(request(Method::GET, &path).insert_header(("last-event-id", seen.to_string())))
        .await;
    let ids: Vec<_> = messages(&again.body)
        .iter()
        .filter_map(|(id, _)| *id)
        .collect();
    assert_eq!(ids, all[2..]);
    // The header wins over the address, which a browser repeats unchanged.
    let again = app
        .send(
            request(Method::GET, &format!("{path}?after=0"))
                .insert_header(("last-event-id", seen.to_string())),
        )
        .await;
    assert_eq!(
        messages(&again.body)
            .iter()
            .filter_map(|(id, _)| *id)
            .count(),
        2
    );
}

#[actix_web::test]
async fn what_happens_while_somebody_listens_is_told_once_and_in_order() {
    let app = TestApp::new();
    let id = app.run("r");
    let store = app.state.store.clone();
    let claim = store
        .claim_run("w", Duration::from_secs(60))
        .unwrap()
        .unwrap();
    store.append_events(&claim, &[started(40)]).unwrap();
    let worker = std::thread::spawn(move || {
        for n in 1..=40 {
            store.append_events(&claim, &[step(n, 1.0)]).unwrap();
        }
        store
            .finish_run(&claim, RunStatus::Completed, None)
            .unwrap();
    });
    let path = format!("/api/v1/runs/{id}/events");
    let (one, two) = futures_util::future::join(app.get(&path), app.get(&path)).await;
    worker.join().unwrap();
    for answer in [one, two] {
        let ids: Vec<_> = messages(&answer.body)
            .iter()
            .filter_map(|(id, _)| *id)
            .collect();
        assert_eq!(ids, (ids[0]..ids[0] + 41).collect::<Vec<_>>());
        assert!(answer.body.ends_with("\n\n"));
        assert_eq!(messages(&answer.body).last().unwrap().1, "status");
    }
}

#[actix_web::test]
async fn a_history_longer_than_a_page_is_told_whole() {
    let app = TestApp::new();
    let mut events = vec![started(1200)];
    events.extend((1..=1200).map(|n| step(n, 1.0)));
    let id = app.ended_run("r", &events, RunStatus::Completed);
    let answer = app.get(&format!("/api/v1/runs/{id}/events")).await;
    assert_eq!(
        messages(&answer.body)
            .iter()
            .filter(|(id, _)| id.is_some())
            .count(),
        1201
    );
}
