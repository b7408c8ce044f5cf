//! Curations from the studio: a dataset through plugins in a process of its own, by API and by form.

use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use serde_json::{Value, json};

use crate::harness::TestApp;

async fn ended(app: &TestApp, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let curation = app.get(&format!("/api/v1/curations/{id}")).await.json();
        if !["waiting", "running"].contains(&curation["status"].as_str().unwrap()) {
            return curation;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{curation}");
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Row 2 has a key, row 3 is row 1 again, row 4 has a long line and what a page must not take for its own.
fn write_rows(folder: &Path) -> String {
    let plain = "def area(width, height):\n    return width * height\n";
    let key = format!(
        "token = 'ghp_{}'\ndef use(client):\n    return client.login(token)\n",
        "a1B2".repeat(9)
    );
    let long = format!("<script>alert(1)</script> = '{}'\n", "word ".repeat(300));
    let rows = [plain, &key, plain, &long].map(|text| json!({ "text": text }).to_string());
    let path = folder.join("rows.jsonl");
    std::fs::write(&path, rows.join("\n")).unwrap();
    path.display().to_string()
}

#[actix_web::test]
async fn a_dataset_is_curated_reported_downloaded_trained_on_and_deleted() {
    let app = TestApp::with_shipped_plugins();
    let folder = tempfile::tempdir().unwrap();
    let path = write_rows(folder.path());
    let body = json!({ "name": "Better rows", "path": path, "plugins": [
        { "name": "secrets" }, { "name": "curator-rules", "config": { "max_line_length": 400 } },
    ] });
    let answer = app.json(Method::POST, "/api/v1/curations", body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let curation = ended(&app, &id).await;
    assert_eq!(curation["status"], "done", "{curation}");
    assert_eq!(
        (&curation["rows"], &curation["kept"]),
        (&json!(4), &json!(2))
    );

    let report = app
        .get(&format!("/api/v1/curations/{id}/report"))
        .await
        .json();
    assert_eq!(report["exact_duplicates"], 1);
    assert_eq!(report["steps"][0]["rewritten"], 1);
    assert_eq!(report["steps"][1]["reasons"]["long-line"]["rows"], 1);
    let data = app
        .get_bytes(&format!("/api/v1/curations/{id}/files/data.jsonl"))
        .await;
    let text = String::from_utf8(data.bytes).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(!text.contains("ghp_"));
    for wrong in ["job.json", "..%2fjob.json", "%2e%2e"] {
        let answer = app
            .get(&format!("/api/v1/curations/{id}/files/{wrong}"))
            .await;
        assert_eq!(answer.status, 404, "{wrong}: {}", answer.body);
    }

    let page = app.get(&format!("/datasets/curations/{id}")).await;
    assert_eq!(page.status, 200, "{}", page.body);
    for part in [
        "Better rows",
        "long-line",
        "max_line_length",
        "Lines of a row",
    ] {
        assert!(page.body.contains(part), "{part}");
    }
    assert!(
        !page.body.contains("<script>alert"),
        "a row's text is escaped"
    );
    let list = app.get("/datasets").await.body;
    assert!(list.contains(&format!("/datasets/curations/{id}")));
    let form = app.get(&format!("/runs/new?curation={id}")).await;
    assert!(
        form.body.contains("data.jsonl") && !form.body.contains("held-out.jsonl"),
        "the form begins with its data"
    );

    let known = app.state.store.list_datasets().unwrap();
    assert_eq!(
        (known[0].name.as_str(), known[0].samples),
        ("Better rows", Some(2))
    );
    let gone = app
        .json(
            Method::DELETE,
            &format!("/api/v1/curations/{id}"),
            Value::Null,
        )
        .await;
    assert_eq!(gone.status, 204);
    assert!(app.state.store.list_datasets().unwrap().is_empty());
    assert_eq!(
        app.get(&format!("/api/v1/curations/{id}")).await.status,
        404
    );
    let folder = app.state.config.paths.curations().join(&id);
    assert!(!folder.exists());
}

#[actix_web::test]
async fn rows_that_are_held_out_stay_as_they_are_and_are_downloaded_apart() {
    let app = TestApp::with_shipped_plugins();
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<String> = (0..8)
        .map(|n| json!({ "text": format!("def add_{n}(value):\n    return value + {n}\n") }))
        .map(|row| row.to_string())
        .collect();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows.join("\n")).unwrap();
    let nonsense = json!({ "name": "nonsense", "only": "train", "config": { "rate": 1.0 } });
    let mut body = json!({ "path": path.display().to_string(), "plugins": [nonsense] });
    let refused = app
        .json(Method::POST, "/api/v1/curations", body.clone())
        .await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert_eq!(refused.json()["error"]["field"], "hold_out_share");
    body["hold_out_share"] = json!(0.25);
    let answer = app.json(Method::POST, "/api/v1/curations", body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let curation = ended(&app, &id).await;
    assert_eq!(curation["status"], "done", "{curation}");
    let report = app
        .get(&format!("/api/v1/curations/{id}/report"))
        .await
        .json();
    assert_eq!(
        (&report["kept"], &report["held_out"], &report["rewritten"]),
        (&json!(6), &json!(2), &json!(6))
    );
    let apart = app
        .get_bytes(&format!("/api/v1/curations/{id}/files/held-out.jsonl"))
        .await;
    let apart = String::from_utf8(apart.bytes).unwrap();
    assert_eq!(apart.lines().count(), 2);
    assert!(apart.lines().all(|line| rows.iter().any(|row| row == line)));
    let page = app.get(&format!("/datasets/curations/{id}")).await;
    assert!(page.body.contains("held-out.jsonl"), "{}", page.body);
}

#[actix_web::test]
async fn one_that_is_stopped_goes_on_where_it_was() {
    let app = TestApp::with_shipped_plugins();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    // Some waves of rows, so that there is a middle to stop in.
    let rows: Vec<String> = (0..60_000)
        .map(|n| {
            json!({ "text": format!("def area_{n}(width):\n    return width * {n}\n") }).to_string()
        })
        .collect();
    std::fs::write(&path, rows.join("\n")).unwrap();
    let body = json!({ "path": path, "plugins": [{ "name": "near-duplicates" }] });
    let answer = app.json(Method::POST, "/api/v1/curations", body).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    loop {
        let curation = app.get(&format!("/api/v1/curations/{id}")).await.json();
        if curation["rows"].as_u64() > Some(0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{curation}");
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    let page = app.get(&format!("/datasets/curations/{id}")).await.body;
    assert!(
        page.contains("hx-trigger=\"every 1s\""),
        "it is followed while it is made"
    );
    let stop = format!("/api/v1/curations/{id}/stop");
    assert_eq!(app.json(Method::POST, &stop, Value::Null).await.status, 202);
    let stopped = ended(&app, &id).await;
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    assert!(stopped["rows"].as_u64() < Some(60_000), "{stopped}");
    assert_eq!(app.json(Method::POST, &stop, Value::Null).await.status, 409);
    let report = app.get(&format!("/api/v1/curations/{id}/report")).await;
    assert_eq!(report.status, 409);
    let resume = format!("/api/v1/curations/{id}/resume");
    assert_eq!(
        app.json(Method::POST, &resume, Value::Null).await.status,
        202
    );
    let done = ended(&app, &id).await;
    assert_eq!(
        (&done["status"], &done["rows"]),
        (&json!("done"), &json!(60_000))
    );
}

#[actix_web::test]
async fn what_cannot_be_curated_is_refused_field_by_field() {
    let app = TestApp::with_shipped_plugins();
    let body = json!({ "path": "/no/such/rows", "format": "letters", "plugins": [
        { "name": "none-such" }, { "name": "secrets", "config": { "action": "shout" } },
        { "name": "parses" }, { "name": "secrets", "on_error": "cry" },
    ] });
    let answer = app.json(Method::POST, "/api/v1/curations", body).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    let fields = answer.json()["error"]["fields"].clone();
    let fields: Vec<&str> = fields
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "path",
            "format",
            "plugins.0",
            "plugins.1",
            "plugins.2",
            "plugins.3.on_error"
        ]
    );
    assert!(app.state.curations.list().is_empty());
}

#[actix_web::test]
async fn the_form_shows_each_plugins_settings_and_keeps_what_was_filled_in() {
    let app = TestApp::with_shipped_plugins();
    let visitor = app.visitor().await;
    let form = app.get("/datasets/curate").await.body;
    assert!(
        form.contains("use.secrets") && form.contains("config.curator-rules.in.max_line_length")
    );
    assert!(!form.contains("use.parses"), "a scorer curates nothing");
    let fields = [
        ("path", "/no/such/rows"),
        ("format", "text"),
        ("use.curator-rules", "true"),
        ("order.curator-rules", "7"),
        ("config.curator-rules.in.max_line_length", "123"),
    ];
    let answer = app.post_form(&visitor, "/datasets/curate", &fields).await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("/no/such/rows") && answer.body.contains("value=\"123\""));

    let folder = tempfile::tempdir().unwrap();
    let path = write_rows(folder.path());
    let wrong = [("path", path.as_str()), ("columns", "text = body")];
    let answer = app.post_form(&visitor, "/datasets/curate", &wrong).await;
    assert_eq!(answer.status, 422);
    assert!(
        answer
            .body
            .contains("<a href=\"#columns\">Columns</a> write one name")
            && answer.body.contains("text = body")
    );
    let wrong = [
        ("path", path.as_str()),
        ("use.curator-rules", "true"),
        ("config.curator-rules.in.max_line_length", "many"),
    ];
    let answer = app.post_form(&visitor, "/datasets/curate", &wrong).await;
    let said = "<a href=\"#config.curator-rules.in.max_line_length\">curator-rules: max_line_length</a> must be a number";
    assert!(answer.body.contains(said), "{}", answer.body);
    assert!(
        answer
            .body
            .contains("id=\"config.curator-rules.in.max_line_length\"")
    );

    let fields = [
        ("path", path.as_str()),
        ("use.curator-rules", "true"),
        ("config.curator-rules.in.max_line_length", "123"),
        ("config.curator-rules.in.generated", "false"),
    ];
    let answer = app.post_form(&visitor, "/datasets/curate", &fields).await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let id = answer
        .header("location")
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let curation = ended(&app, &id).await;
    assert_eq!(curation["status"], "done", "{curation}");
    // Without a tick for exact duplicates the third row stays.
    assert_eq!(curation["kept"], 3);
    let page = app.get(&format!("/datasets/curations/{id}")).await.body;
    assert!(page.contains("generated = false") && page.contains("max_line_length = 123"));
}

#[actix_web::test]
async fn one_that_failed_is_changed_on_the_form_that_it_came_from() {
    let app = TestApp::with_shipped_plugins();
    let visitor = app.visitor().await;
    let folder = tempfile::tempdir().unwrap();
    let path = write_rows(folder.path());
    let body = json!({
        "name": "Chats <1>", "path": path, "format": "messages", "exact_duplicates": false, "columns": { "text": "body" },
        "near_duplicates_threshold": 0.5, "hold_out_share": 0.25, "hold_out_seed": 9, "plugins": [
            { "name": "secrets", "only": "train", "on_error": "keep" },
            { "name": "curator-rules", "config": { "max_line_length": 123, "generated": false } },
        ],
    });
    let answer = app.json(Method::POST, "/api/v1/curations", body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(ended(&app, &id).await["status"], "failed");
    let page = app.get(&format!("/datasets/curations/{id}")).await.body;
    let link = format!("/datasets/curate?from={id}");
    // The same settings would fail again.
    let main = format!("<a class=\"button primary\" href=\"{link}\">Change and try again</a>");
    assert!(page.contains(&main), "{page}");
    assert!(
        page.contains("<button class=\"button\">Resume</button>"),
        "{page}"
    );
    let form = app.get(&link).await;
    assert_eq!(form.status, 200, "{}", form.body);
    for part in [
        path.as_str(),
        "<option selected>messages</option>",
        "value=\"Chats &lt;1&gt;\"",
        "text = &quot;body&quot;",
        "name=\"threshold\" value=\"0.5\"",
        "name=\"hold_out_share\" value=\"0.25\"",
        "name=\"hold_out_seed\" value=\"9\"",
        "name=\"use.secrets\" value=\"true\" checked",
        "name=\"order.curator-rules\" value=\"2\"",
        "name=\"only.secrets\" value=\"true\" checked",
        "<option value=\"keep\" selected>",
        "value=\"123\"",
        "<option selected>false</option>",
        // Why it is worth changing.
        "does not fit the format messages",
    ] {
        assert!(form.body.contains(part), "{part}: {}", form.body);
    }
    for part in [
        "name=\"exact_duplicates\" value=\"true\" checked",
        "name=\"use.normalise\" value=\"true\" checked",
    ] {
        assert!(!form.body.contains(part), "{part}");
    }
    // With another format it comes to something.
    let fields = [
        ("path", path.as_str()),
        ("name", "Chats"),
        ("format", "text"),
        ("use.secrets", "true"),
        ("hold_out_share", "0.25"),
        ("hold_out_seed", "9"),
    ];
    let answer = app.post_form(&visitor, "/datasets/curate", &fields).await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let done = answer.header("location").rsplit('/').next().unwrap();
    assert_eq!(ended(&app, done).await["status"], "done");
    let page = app.get(&format!("/datasets/curations/{done}")).await.body;
    assert!(page.contains("seed = 9") && page.contains("Curate again"));
    // What is held out is what the run is evaluated on.
    let form = app.get(&format!("/runs/new?curation={done}")).await.body;
    assert!(
        form.contains("/data.jsonl\"") && form.contains("/held-out.jsonl\""),
        "{form}"
    );
    let nowhere = "/datasets/curate?from=01890000-0000-7000-8000-000000000000";
    assert_eq!(app.get(nowhere).await.status, 404);
}

#[actix_web::test]
async fn rows_of_another_format_than_the_one_that_is_set_are_told_or_refused() {
    let app = TestApp::with_shipped_plugins();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let pair = json!({ "prompt": "def area(", "completion": "width, height):" }).to_string();
    let message = json!({ "role": "assistant", "content": "def area(width, height):" });
    let messages = json!({ "messages": [message] }).to_string();
    let curated = async |rows: &[&str]| {
        std::fs::write(&path, rows.join("\n")).unwrap();
        let body = json!({
            "name": "Chats", "path": path, "format": "messages", "plugins": [{ "name": "secrets" }],
        });
        let answer = app.json(Method::POST, "/api/v1/curations", body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        ended(&app, &id).await
    };
    let refused = curated(&[&pair, &pair]).await;
    assert_eq!(refused["status"], "failed", "{refused}");
    let why = refused["error"].as_str().unwrap();
    for part in [
        "line 1",
        "format messages",
        "lacks messages",
        "prompt, completion",
        "`auto`",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let told = curated(&[&messages, &pair, r#"{"id": 3}"#]).await;
    assert_eq!(
        (&told["status"], &told["kept"]),
        (&json!("done"), &json!(2))
    );
    let id = told["id"].as_str().unwrap();
    let report = app
        .get(&format!("/api/v1/curations/{id}/report"))
        .await
        .json();
    assert_eq!(
        (&report["misfits"]["rows"], &report["misfits"]["first"]),
        (&json!(2), &json!(2))
    );
    let page = app.get(&format!("/datasets/curations/{id}")).await.body;
    for part in [
        "2 of 3 rows do not fit",
        "The first is row 2 (",
        "1 holds no text and was dropped",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}
