use crate::harness::TestApp;

#[actix_web::test]
async fn health_readiness_and_counters_answer() {
    let app = TestApp::new();
    app.run("r");
    assert_eq!(app.get("/healthz").await.json()["status"], "ok");
    let ready = app.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["database"]["backend"], "sqlite");
    let metrics = app.get("/metrics").await;
    assert!(
        metrics.body.contains("codetune_runs{status=\"queued\"} 1"),
        "{}",
        metrics.body
    );
    assert_eq!(app.get("/api/v1/system").await.json()["database"], "sqlite");
}

#[actix_web::test]
async fn the_fallback_database_shows_on_every_page_and_in_readyz() {
    // Nothing listens on port 9; the store gives up after its tries.
    let app = TestApp::with(&[("DATABASE_URL", "postgres://user:canary@127.0.0.1:9/none")]);
    for path in ["/", "/runs", "/plugins", "/none"] {
        let page = app.get(path).await.body;
        assert!(page.contains("Working on the fallback database"), "{path}");
        assert!(!page.contains("canary"), "{path}");
    }
    let ready = app.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["database"]["fallback"], true);
    assert!(
        ready.body.contains("working on the fallback database"),
        "{}",
        ready.body
    );
    assert!(!ready.body.contains("canary"));
}

#[actix_web::test]
async fn the_openapi_document_names_every_route_of_the_api() {
    let app = TestApp::new();
    let document = app.get("/api/openapi.json").await.json();
    for (method, path) in codetune::routes::TABLE {
        if path.starts_with("/api/v1/") {
            assert!(
                document["paths"][path][method].is_object(),
                "{method} {path} is not described"
            );
        }
    }
    let run_config = &document["components"]["schemas"]["RunConfig"]["properties"];
    assert_eq!(
        run_config["train"]["properties"]["batch_size"]["maximum"],
        4096
    );
}
