//! Exports from the studio: asked for by ids, made in a process of their own, handed out whole and by file.

use std::io::Read;
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::test;
use codetune::server;
use serde_json::{Value, json};
use store::{AdapterKind, NewAdapter};

use crate::harness::{Answer, TestApp, request, root};

/// A studio that knows a golden adapter; the adapter's id.
fn studio() -> (TestApp, String) {
    let app = TestApp::new();
    let golden = root().join("tests/fixtures/goldens/llama-tied");
    let adapter = NewAdapter {
        run_id: None,
        name: "My adapter".into(),
        kind: AdapterKind::Adapter,
        path: golden.join("adapter_trained"),
        base_model: Some(golden.join("model").display().to_string()),
    };
    let id = app.state.store.record_adapter(&adapter).unwrap().id;
    (app, id.to_string())
}

async fn ended(app: &TestApp, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let export = app.get(&format!("/api/v1/exports/{id}")).await.json();
        if !["waiting", "running"].contains(&export["status"].as_str().unwrap()) {
            return export;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{export}");
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn begin(app: &TestApp, body: Value) -> Answer {
    app.json(Method::POST, "/api/v1/exports", body).await
}

#[actix_web::test]
async fn a_refused_form_is_shown_again_with_what_was_chosen() {
    let (app, adapter) = studio();
    let visitor = app.visitor().await;
    let source = format!("adapter:{adapter}");
    let fields = [
        ("source", source.as_str()),
        ("format", "gguf-lora"),
        ("dtype", "q4_k"),
    ];
    let answer = app.post_form(&visitor, "/exports", &fields).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    let place = "href=\"/adapters\" aria-current=\"page\"";
    assert!(answer.body.contains(place), "{}", answer.body);
    assert!(answer.body.contains("q4_k is for the format gguf"));
    for chosen in [source.as_str(), "gguf-lora", "q4_k"] {
        let option = format!("value=\"{chosen}\" selected");
        assert!(answer.body.contains(&option), "{option}: {}", answer.body);
    }
}

#[actix_web::test]
async fn every_format_is_made_and_can_be_downloaded_whole_and_by_file() {
    let (app, adapter) = studio();
    for (format, dtype, expected) in [
        ("peft", None, "adapter_model.safetensors"),
        ("safetensors", Some("f16"), "model.safetensors"),
        ("gguf", Some("q8_0"), "model.gguf"),
        ("gguf-lora", None, "adapter.gguf"),
    ] {
        let body = json!({ "adapter": adapter, "format": format, "dtype": dtype });
        let answer = begin(&app, body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let export = ended(&app, &id).await;
        assert_eq!(export["status"], "done", "{export}");
        assert!(
            export["checked"]
                .as_str()
                .unwrap()
                .starts_with("Read again"),
            "{export}"
        );
        let names: Vec<&str> = export["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["name"].as_str().unwrap())
            .collect();
        assert!(
            names.contains(&expected) && names.contains(&"README.md"),
            "{names:?}"
        );
        assert_eq!(names.contains(&"Modelfile"), format.starts_with("gguf"));

        let archive = app
            .get_bytes(&format!("/api/v1/exports/{id}/archive"))
            .await;
        assert_eq!(
            archive.header("content-length"),
            archive.bytes.len().to_string()
        );
        let title = format!("my-adapter-{format}");
        assert!(
            archive.header("content-disposition").contains(&title),
            "{}",
            archive.header("content-disposition")
        );
        let mut seen = 0;
        for entry in tar::Archive::new(&archive.bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let (top, name) = path.split_once('/').unwrap();
            assert!(top.starts_with(&title) && names.contains(&name), "{path}");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let file = app
                .get_bytes(&format!("/api/v1/exports/{id}/files/{name}"))
                .await;
            assert_eq!(file.bytes, bytes, "{path}");
            seen += 1;
        }
        assert_eq!(seen, names.len());

        for wrong in ["..%2fexport.json", "export.json", "%2e%2e"] {
            let answer = app
                .get(&format!("/api/v1/exports/{id}/files/{wrong}"))
                .await;
            assert_eq!(answer.status, 404, "{wrong}: {}", answer.body);
        }
        let answer = app
            .json(Method::DELETE, &format!("/api/v1/exports/{id}"), json!({}))
            .await;
        assert_eq!(answer.status, 204);
        let folder = app.state.config.paths.exports().join(&id);
        assert!(!folder.exists());
        let answer = app.get(&format!("/api/v1/exports/{id}/archive")).await;
        assert_eq!(answer.status, 404);
    }
}

#[actix_web::test]
async fn a_download_that_has_begun_is_whole_though_the_export_is_deleted_meanwhile() {
    let app = TestApp::new();
    // Larger than what the server sends ahead.
    let answer = begin(&app, json!({ "model": "sample", "format": "safetensors" })).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let export = ended(&app, &id).await;
    assert_eq!(export["status"], "done", "{export}");
    let files = export["files"].as_array().unwrap().len();

    let path = format!("/api/v1/exports/{id}/archive");
    let service = test::init_service(server::app(app.state.clone())).await;
    let response = test::call_service(&service, request(Method::GET, &path).to_request()).await;
    assert_eq!(response.status(), 200);
    app.state.exports.delete(id.parse().unwrap()).unwrap();
    assert!(!app.state.config.paths.exports().join(&id).exists());
    let bytes = test::read_body(response).await;
    let entries = tar::Archive::new(&bytes[..]).entries().unwrap().count();
    assert_eq!(entries, files);
    assert_eq!(app.get(&path).await.status, 404);
}

#[actix_web::test]
async fn an_archive_of_files_that_are_gone_is_refused_before_it_begins() {
    let (app, adapter) = studio();
    let answer = begin(&app, json!({ "adapter": adapter, "format": "peft" })).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let export = ended(&app, &id).await;
    assert_eq!(export["status"], "done", "{export}");
    let (_, folder) = app.state.exports.folder(id.parse().unwrap()).unwrap();
    std::fs::remove_file(folder.join("adapter_model.safetensors")).unwrap();
    let answer = app.get(&format!("/api/v1/exports/{id}/archive")).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(
        answer.body.contains("adapter_model.safetensors"),
        "{}",
        answer.body
    );
}

#[actix_web::test]
async fn what_cannot_be_exported_is_refused_at_its_field_and_a_failure_says_why() {
    let (app, adapter) = studio();
    for (body, field) in [
        (json!({ "adapter": adapter, "format": "zip" }), "format"),
        (json!({ "model": "sample", "format": "peft" }), "format"),
        (json!({ "format": "gguf" }), "adapter"),
        (
            json!({ "adapter": adapter, "model": "sample", "format": "gguf" }),
            "adapter",
        ),
        (
            json!({ "adapter": adapter, "format": "peft", "dtype": "f16" }),
            "dtype",
        ),
        (
            json!({ "adapter": adapter, "format": "safetensors", "dtype": "q8_0" }),
            "dtype",
        ),
        (
            json!({ "adapter": adapter, "format": "gguf", "dtype": "f8" }),
            "dtype",
        ),
    ] {
        let answer = begin(&app, body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
        let fields = &answer.json()["error"]["fields"];
        assert!(
            fields
                .as_array()
                .unwrap()
                .iter()
                .any(|fault| fault["field"] == field),
            "{body}: {fields}"
        );
    }
    for body in [
        json!({ "adapter": "../../etc", "format": "gguf" }),
        json!({ "model": "/etc", "format": "gguf" }),
    ] {
        assert_eq!(begin(&app, body).await.status, 404);
    }

    let broken = root().join("tests/fixtures/goldens/llama-dora/adapter_trained");
    let golden = root().join("tests/fixtures/goldens/llama-dora/model");
    let broken = NewAdapter {
        run_id: None,
        name: "With DoRA".into(),
        kind: AdapterKind::Adapter,
        path: broken,
        base_model: Some(golden.display().to_string()),
    };
    let id = app.state.store.record_adapter(&broken).unwrap().id;
    let answer = begin(&app, json!({ "adapter": id, "format": "gguf-lora" })).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let export = ended(&app, &id).await;
    assert_eq!(export["status"], "failed", "{export}");
    let why = export["error"].as_str().unwrap();
    assert!(why.contains("GGUF LoRA has no place for"), "{why}");
    let answer = app.get(&format!("/api/v1/exports/{id}/archive")).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    let page = app.get("/adapters").await.body;
    assert!(page.contains("GGUF LoRA has no place for"), "{page}");
}

#[actix_web::test]
async fn the_adapters_page_begins_an_export_and_offers_its_files() {
    let (app, adapter) = studio();
    let visitor = app.visitor().await;
    let source = format!("adapter:{adapter}");
    let page = app.get(&format!("/adapters?export={source}")).await.body;
    assert!(
        page.contains(&format!("value=\"{source}\" selected")),
        "{page}"
    );
    let answer = app
        .post_form(
            &visitor,
            "/exports",
            &[("source", &source), ("format", "peft"), ("dtype", "")],
        )
        .await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let exports = app.state.exports.list();
    assert_eq!(exports.len(), 1);
    let id = exports[0].id.to_string();
    ended(&app, &id).await;
    let fragment = app.get("/exports").await.body;
    for part in [
        format!("/api/v1/exports/{id}/archive"),
        format!("/api/v1/exports/{id}/files/adapter_config.json"),
    ] {
        assert!(fragment.contains(&part), "{fragment}");
    }
    assert!(
        !fragment.contains("hx-trigger"),
        "nothing is left to wait for"
    );
    let path = format!("/exports/{id}/delete");
    assert_eq!(app.post_form(&visitor, &path, &[]).await.status, 303);
    assert!(app.state.exports.list().is_empty());
}
