use actix_web::http::Method;
use domain::RunStatus;
use serde_json::json;

use crate::harness::{TestApp, request, root, started, step};

fn good() -> serde_json::Value {
    json!({
        "model": { "path": root().join("tests/fixtures/goldens/llama-tied/model") },
        "data": { "path": root().join("Cargo.toml") },
        "train": { "epochs": 2 },
    })
}

#[actix_web::test]
async fn a_run_is_made_found_listed_renamed_stopped_and_deleted() {
    let app = TestApp::new();
    let made = app
        .json(
            Method::POST,
            "/api/v1/runs",
            json!({ "name": "one", "config": good() }),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    let path = made.header("location").to_owned();
    assert_eq!(app.get(&path).await.json()["status"], "queued");
    assert_eq!(app.get("/api/v1/runs").await.json()["total"], 1);
    assert_eq!(
        app.get("/api/v1/runs?status=failed").await.json()["total"],
        0
    );
    let renamed = app
        .json(Method::PATCH, &path, json!({ "name": "two" }))
        .await;
    assert_eq!(renamed.json()["name"], "two");
    let send = async |method, path: String| app.send(request(method, &path)).await;
    assert_eq!(send(Method::DELETE, path.clone()).await.status, 409);
    assert_eq!(
        send(Method::POST, format!("{path}/stop")).await.json()["status"],
        "stopped"
    );
    assert_eq!(
        send(Method::POST, format!("{path}/resume")).await.json()["status"],
        "queued"
    );
    assert_eq!(
        send(Method::POST, format!("{path}/resume")).await.status,
        409
    );
    send(Method::POST, format!("{path}/stop")).await;
    assert_eq!(send(Method::DELETE, path.clone()).await.status, 204);
    assert_eq!(app.get(&path).await.status, 404);
}

#[actix_web::test]
async fn a_bad_config_is_refused_by_field_as_in_the_form() {
    let app = TestApp::new();
    for (pointer, value, field) in [
        ("/train/learning_rate", json!(-1), "train.learning_rate"),
        ("/train/batch_size", json!("four"), "train.batch_size"),
        ("/train/epoch", json!(3), "train.epoch"),
        ("/lora", json!({ "r": 0 }), "lora.r"),
        ("/model/path", json!("none/such"), "model.path"),
    ] {
        let mut config = good();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
        let answer = app
            .json(Method::POST, "/api/v1/runs", json!({ "config": config }))
            .await;
        assert_eq!(answer.status, 422, "{pointer}: {}", answer.body);
        let body = answer.json();
        assert_eq!(body["error"]["code"], "invalid");
        let named = body["error"]["field"].as_str().unwrap_or_default();
        assert!(
            field.starts_with(named) && body["error"]["message"].is_string(),
            "{pointer}: {body}"
        );
    }
    assert_eq!(app.get("/api/v1/runs").await.json()["total"], 0);
}

#[actix_web::test]
async fn what_is_no_json_or_of_another_type_is_refused_in_json() {
    let app = TestApp::new();
    for body in [
        "",
        "{",
        "[]",
        "{\"config\": {}, \"extra\": 1}",
        "{\"config\": {\"train\": {\"learning_rate\": NaN}}}",
    ] {
        let answer = app
            .send(
                request(Method::POST, "/api/v1/runs")
                    .insert_header(("content-type", "application/json"))
                    .set_payload(body),
            )
            .await;
        assert_eq!(answer.status, 422, "{body:?}: {}", answer.body);
        assert!(answer.json()["error"]["message"].is_string());
    }
    let answer = app
        .send(request(Method::POST, "/api/v1/runs").set_form([("config", "{}")]))
        .await;
    assert_eq!(answer.status, 415);
    assert_eq!(
        app.get("/api/v1/none").await.json()["error"]["code"],
        "not_found"
    );
    assert_eq!(
        app.get("/api/v1/runs/none").await.json()["error"]["code"],
        "not_found"
    );
}

#[actix_web::test]
async fn a_spike_of_one_step_survives_the_reduction() {
    let app = TestApp::new();
    let mut events = vec![started(3000)];
    events.extend((1..=3000).map(|n| step(n, if n == 1777 { 99.0 } else { 1.0 })));
    let id = app.ended_run("r", &events, RunStatus::Completed);
    let answer = app
        .get(&format!(
            "/api/v1/runs/{id}/metrics?name=loss&max_points=100"
        ))
        .await;
    let body = answer.json();
    let values = body["series"]["loss"]["values"].as_array().unwrap();
    assert!(values.len() <= 210, "{}", values.len());
    assert!(values.contains(&json!(99.0)));
    assert!(body["series"].get("grad_norm").is_none());
}
