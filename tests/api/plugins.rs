use actix_web::http::Method;
use serde_json::json;

use crate::harness::{TestApp, request};

#[actix_web::test]
async fn a_plugin_that_is_not_there_is_named_with_those_that_are() {
    let app = TestApp::new();
    let answer = app
        .json(
            Method::POST,
            "/api/v1/plugins/none/run",
            json!({ "input": {} }),
        )
        .await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("none")
    );
}

#[actix_web::test]
async fn a_shipped_plugin_runs_from_api_and_page_and_the_calls_are_kept() {
    let app = TestApp::with_shipped_plugins();
    let input =
        json!({ "code": "async def f(x):\n    return x if x else 0\n", "language": "python" });
    let answer = app
        .json(
            Method::POST,
            "/api/v1/plugins/code-analyzer/run",
            json!({ "input": input }),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["outcome"], "ok", "{body}");
    assert_eq!(body["output"]["num_functions"], 1);

    let visitor = app.visitor().await;
    let page = app
        .post_form(
            &visitor,
            "/plugins/code-analyzer/run",
            &[("in.code", "def <script>alert(1)</script>")],
        )
        .await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(!page.body.contains("<script>alert"), "{}", page.body);

    let history = app
        .get("/api/v1/plugins/code-analyzer/executions")
        .await
        .json();
    assert_eq!(history.as_array().unwrap().len(), 2);
    let page = app.get("/plugins/code-analyzer").await;
    assert_eq!(page.status, 200, "{}", page.body);
    for text in ["Cyclomatic", "code-analyzer", "Past calls"] {
        assert!(
            page.body.to_lowercase().contains(&text.to_lowercase()),
            "{text}"
        );
    }
    assert_eq!(app.get("/plugins").await.status, 200);
}

#[actix_web::test]
async fn a_disabled_plugin_is_refused_everywhere_and_stays_so() {
    let app = TestApp::with_shipped_plugins();
    let visitor = app.visitor().await;
    let run = async || {
        app.json(
            Method::POST,
            "/api/v1/plugins/source-stats/run",
            json!({ "input": { "code": "x = 1\n" } }),
        )
        .await
    };
    assert_eq!(run().await.status, 200);
    let answer = app
        .post_form(
            &visitor,
            "/plugins/source-stats/disable",
            &[("from", "list")],
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("location")),
        (303, "/plugins")
    );
    assert_eq!(run().await.status, 409);
    let page = app
        .post_form(&visitor, "/plugins/source-stats/run", &[("in.code", "x")])
        .await;
    assert_eq!(page.status, 409);
    assert!(app.get("/plugins").await.body.contains("disabled"));
    assert!(
        !app.state
            .store
            .find_plugin_settings("source-stats")
            .unwrap()
            .unwrap()
            .enabled
    );
    let answer = app
        .send(
            request(Method::PUT, "/api/v1/plugins/source-stats/enabled")
                .set_json(json!({ "enabled": true })),
        )
        .await;
    assert_eq!(answer.json()["health"]["state"], "ready");
    assert_eq!(run().await.status, 200);
}
