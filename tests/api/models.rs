//! Talking to the sample model that ships with the studio.

use actix_web::http::Method;
use serde_json::{Value, json};

use domain::RunId;
use store::{AdapterKind, NewAdapter, NewRun};
use tempfile::TempDir;

use crate::harness::{Answer, TestApp, Visitor, root, run_config};

async fn generate(app: &TestApp, more: Value) -> Answer {
    let mut body = json!({ "model": "sample", "prompt": "# Task: Count the even votes.\n", "max_new_tokens": 8 });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    app.json(Method::POST, "/api/v1/generate", body).await
}

#[actix_web::test]
async fn the_sample_model_writes_the_same_text_twice_at_temperature_0() {
    let app = TestApp::new();
    let models = app.get("/api/v1/models").await.json();
    assert_eq!(models["models"][0]["id"], "sample");
    assert!(
        !models.to_string().contains("host/sample"),
        "an id, no path"
    );
    let first = generate(&app, json!({})).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let (first, second) = (first.json(), generate(&app, json!({})).await.json());
    assert_eq!(first["text"], second["text"]);
    assert_eq!(first["new_tokens"], 8);
}

#[actix_web::test]
async fn what_cannot_be_generated_is_refused_by_field() {
    let app = TestApp::new();
    for (more, field) in [
        (json!({ "max_new_tokens": 0 }), "max_new_tokens"),
        (json!({ "max_new_tokens": 100_000 }), "max_new_tokens"),
        (json!({ "temperature": -1 }), "temperature"),
        (json!({ "top_p": 0 }), "top_p"),
        (json!({ "top_k": 0 }), "top_k"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "stop": [""] }), "stop"),
    ] {
        let answer = generate(&app, more.clone()).await;
        assert_eq!(answer.status, 422, "{more}: {}", answer.body);
        assert_eq!(answer.json()["error"]["field"], field, "{more}");
    }
    for model in ["none", "../../etc", "/etc", ""] {
        assert_eq!(
            generate(&app, json!({ "model": model })).await.status,
            404,
            "{model}"
        );
    }
    assert_eq!(
        generate(&app, json!({ "adapter": "none" })).await.status,
        404
    );
}

#[actix_web::test]
async fn the_page_answers_with_a_fragment_and_shows_text_as_text() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let prompt = "<script>alert(1)</script>";
    let fields = [
        ("model", "sample"),
        ("prompt", prompt),
        ("max_new_tokens", "4"),
    ];
    let answer = app.post_form(&visitor, "/try", &fields).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body.contains(prompt) && answer.body.contains("&lt;script&gt;"));
    let fields = [
        ("model", "sample"),
        ("prompt", "x"),
        ("temperature", "warm"),
    ];
    let answer = app.post_form(&visitor, "/try", &fields).await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("temperature"), "{}", answer.body);
}

#[actix_web::test]
async fn the_page_streams_the_answer_that_it_would_give_whole() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let prompt = "# Task: Count the even votes.\n";
    let fields = [
        ("model", "sample"),
        ("prompt", prompt),
        ("max_new_tokens", "12"),
    ];
    let answer = app.post_form(&visitor, "/try/stream", &fields).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let events: Vec<(&str, Value)> = answer
        .body
        .split_terminator("\n\n")
        .map(|message| {
            let (name, data) = message.split_once("\ndata: ").unwrap();
            let name = name.strip_prefix("event: ").unwrap();
            (name, serde_json::from_str(data).unwrap())
        })
        .collect();
    let (last, pieces) = events.split_last().unwrap();
    assert!(pieces.len() > 3, "piece by piece: {events:?}");
    let text: String = pieces
        .iter()
        .map(|(name, data)| {
            assert_eq!((*name, &data["side"]), ("text", &json!("base")));
            data["text"].as_str().unwrap()
        })
        .collect();
    assert_eq!(last.0, "done");
    assert_eq!(last.1["text"], json!(text));
    let body = json!({ "model": "sample", "prompt": prompt, "max_new_tokens": 12 });
    let whole = app.json(Method::POST, "/api/v1/generate", body).await;
    assert_eq!(whole.json()["text"], json!(text));

    let wrong = [("model", "sample"), ("prompt", "x"), ("top_p", "2")];
    let answer = app.post_form(&visitor, "/try/stream", &wrong).await;
    assert_eq!(answer.status, 422);
    let forged = Visitor {
        token: "none".into(),
        ..visitor
    };
    let answer = app.post_form(&forged, "/try/stream", &fields).await;
    assert_eq!(answer.status, 403, "{}", answer.body);
}

#[actix_web::test]
async fn a_text_is_split_into_tokens_that_join_to_the_text() {
    let app = TestApp::new();
    let text = "def add(a, b):\n    return a + b\n";
    let body = json!({ "model": "sample", "text": text });
    let answer = app.json(Method::POST, "/api/v1/tokenize", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let joined: String = answer.json()["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["text"].as_str().unwrap())
        .collect();
    assert_eq!(joined, text);
}

/// An adapter of a base with more tokens than the model, and a tokenizer of its own: a word for each. Its model has none.
fn adapter_with_a_tokenizer() -> (TempDir, String) {
    let goldens = root().join("tests/fixtures/goldens");
    let folder = tempfile::tempdir().unwrap();
    for (from, names) in [
        (
            "resized-tokens/adapter_init",
            ["adapter_config.json", "adapter_model.safetensors"],
        ),
        (
            "preference/tokenizer",
            ["tokenizer.json", "tokenizer_config.json"],
        ),
    ] {
        for name in names {
            std::fs::copy(goldens.join(from).join(name), folder.path().join(name)).unwrap();
        }
    }
    let model = goldens.join("resized-tokens/model");
    (folder, model.display().to_string())
}

#[actix_web::test]
async fn a_text_is_split_by_the_tokenizer_that_an_adapter_brought() {
    let app = TestApp::new();
    let (folder, model) = adapter_with_a_tokenizer();
    let adapter = NewAdapter {
        run_id: None,
        name: "With words".into(),
        kind: AdapterKind::Adapter,
        path: folder.path().to_owned(),
        base_model: Some(model),
    };
    let adapter = app.state.store.record_adapter(&adapter).unwrap().id;
    let known = app.get("/api/v1/models").await.json();
    let model = known["adapters"][0]["model"].as_str().unwrap();
    let split = async |model: &str, adapter: Option<&str>| {
        let body = json!({ "model": model, "adapter": adapter, "text": "t5 t301" });
        app.json(Method::POST, "/api/v1/tokenize", body).await
    };
    let answer = split(model, Some(&adapter.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let ids: Vec<Value> = answer.json()["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["id"].clone())
        .collect();
    assert_eq!(ids, [5, 301]);
    assert_ne!(split(model, None).await.status, 200);
    let other = split("sample", Some(&adapter.to_string())).await;
    assert_eq!(other.status, 422, "{}", other.body);
    assert_eq!(other.json()["error"]["field"], "adapter");

    let choice = format!("{model}/{adapter}");
    let page = app.get(&format!("/tokenizers?model={choice}")).await.body;
    assert!(
        page.contains(&format!("<option value=\"{choice}\" selected>With words")),
        "{page}"
    );
    let visitor = app.visitor().await;
    let fields = [("model", choice.as_str()), ("text", "t5 t301")];
    let answer = app.post_form(&visitor, "/tokenizers", &fields).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("title=\"301\""), "{}", answer.body);
}

#[actix_web::test]
async fn a_dataset_is_shown_in_the_tokens_of_the_run_that_uses_it() {
    let app = TestApp::new();
    let (folder, model) = adapter_with_a_tokenizer();
    let data = folder.path().join("rows.jsonl");
    // The last word is one that the adapter's base has, and the model has not.
    std::fs::write(&data, "{\"text\": \"t5 t9 t99\"}\n").unwrap();
    let mut config = run_config();
    config.model.path = Some(model);
    config.data.path = Some(data.display().to_string());
    config.lora.init_adapter = Some(folder.path().display().to_string());
    let run = NewRun {
        id: RunId::new(),
        name: "words".into(),
        config,
    };
    app.state.store.create_run(&run).unwrap();
    let list = app.get("/datasets").await.body;
    let mut pages = Vec::new();
    for link in list.split("href=\"") {
        let link = link.split(['"', '#']).next().unwrap();
        if link.starts_with("/datasets?id=") {
            pages.push(app.get(link).await.body);
        }
    }
    let page = pages.iter().find(|page| page.contains("rows.jsonl</h2>"));
    let page = page.unwrap_or_else(|| panic!("{pages:?}"));
    assert!(page.contains("the run that uses it"), "{page}");
    assert!(page.contains("title=\"99\">t99"), "{page}");
}
