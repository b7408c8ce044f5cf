//! Consent, settings, secrets, audit and verdicts, from API and pages, with a plugin that uses all that it is lent.

use actix_web::http::Method;
use codetune::plugin_history;
use codetune::plugin_settings::Settings;
use serde_json::{Value, json};

use crate::harness::{TestApp, root};

const SECRET: &str = "sk-a-value-that-nobody-may-see";

/// A studio with the plugin `connected`, which nobody has said anything about.
fn studio() -> TestApp {
    let app = TestApp::new();
    let place = app.state.config.paths.plugins.join("connected");
    std::fs::create_dir_all(&place).unwrap();
    let source = root().join("tests/plugins/connected");
    for file in ["connected.wasm", "plugin.toml"] {
        std::fs::copy(source.join(file), place.join(file)).unwrap();
    }
    app.state.plugin_host.reload().unwrap();
    app
}

async fn digest(app: &TestApp) -> String {
    let plugin = app.get("/api/v1/plugins/connected").await.json();
    plugin["digest"].as_str().unwrap().to_owned()
}

async fn grant(app: &TestApp, mut grants: Value) -> crate::harness::Answer {
    grants["digest"] = json!(digest(app).await);
    app.json(Method::PUT, "/api/v1/plugins/connected/grants", grants)
        .await
}

async fn run(app: &TestApp, task: Value) -> Value {
    let answer = app
        .json(
            Method::POST,
            "/api/v1/plugins/connected/run",
            json!({ "input": task }),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn generate() -> Value {
    json!({ "do": "generate", "prompt": "def add(a, b):", "tokens": 8, "times": 3, "chat": false })
}

#[actix_web::test]
async fn a_plugin_writes_with_the_granted_model_and_no_longer_than_its_budget() {
    let app = studio();
    let refused = app
        .json(
            Method::POST,
            "/api/v1/plugins/connected/run",
            json!({ "input": generate() }),
        )
        .await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let too_much = grant(
        &app,
        json!({ "capabilities": ["log", "generate"], "tokens": 1000 }),
    )
    .await;
    assert_eq!(too_much.status, 422, "{}", too_much.body);
    assert_eq!(too_much.json()["error"]["field"], "tokens");
    let granted = json!({ "capabilities": ["log", "generate"], "tokens": 12, "model": "sample" });
    let answer = grant(&app, granted).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["health"]["state"], "ready");
    let answers = run(&app, generate()).await["output"]["answers"].clone();
    let new_tokens = |index: usize| answers[index]["new_tokens"].as_u64().unwrap_or_default();
    assert!(answers[0]["text"].is_string(), "{answers}");
    assert!(
        new_tokens(0) > 0 && new_tokens(0) + new_tokens(1) + new_tokens(2) <= 12,
        "{answers}"
    );
    let uses = app.get("/api/v1/plugins/connected/uses").await.json();
    let used = uses
        .as_array()
        .unwrap()
        .iter()
        .find(|used| used["times"].as_u64() > Some(0));
    let used = used.unwrap_or_else(|| panic!("{uses}"));
    assert_eq!(used["capability"], "generate");
    assert!(used["tokens"].as_u64().unwrap() > 0, "{used}");
    let page = app.get("/plugins/connected").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("What it used"), "{}", page.body);
}

#[actix_web::test]
async fn without_a_model_a_plugin_is_told_what_to_do() {
    let app = studio();
    grant(
        &app,
        json!({ "capabilities": ["log", "generate"], "tokens": 12 }),
    )
    .await;
    let answers = run(&app, generate()).await["output"]["answers"].clone();
    let message = answers[0]["failed"]
        .as_str()
        .unwrap_or_else(|| panic!("{answers}"));
    assert!(message.contains("no model is loaded"), "{message}");
}

#[actix_web::test]
async fn a_secret_goes_in_and_never_comes_out() {
    let app = studio();
    let set = app
        .json(
            Method::PUT,
            "/api/v1/secrets/KEY",
            json!({ "value": SECRET }),
        )
        .await;
    assert_eq!(
        (set.status.as_u16(), set.json()),
        (200, json!({ "names": ["KEY"] }))
    );
    let wrong = app
        .json(
            Method::PUT,
            "/api/v1/secrets/a%20b",
            json!({ "value": SECRET }),
        )
        .await;
    assert_eq!(wrong.status, 422, "{}", wrong.body);
    grant(
        &app,
        json!({ "capabilities": ["log", "secrets"], "secrets": ["KEY"] }),
    )
    .await;
    for say_in in ["log", "error", "panic", "answer"] {
        let execution = run(
            &app,
            json!({ "do": "secret", "name": "KEY", "say_in": say_in }),
        )
        .await;
        assert!(
            execution.to_string().contains("[secret KEY]"),
            "{execution}"
        );
        assert!(!execution.to_string().contains(SECRET), "{execution}");
    }
    for path in [
        "/plugins/connected",
        "/api/v1/plugins/connected",
        "/api/v1/plugins/connected/uses",
        "/api/v1/plugins/connected/executions",
        "/api/v1/secrets",
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(!answer.body.contains(SECRET), "{path}");
    }
    let gone = app
        .json(Method::DELETE, "/api/v1/secrets/KEY", json!({}))
        .await;
    assert_eq!(gone.json(), json!({ "names": [] }));
}

#[actix_web::test]
async fn consent_is_given_on_the_page_for_what_is_ticked() {
    let app = studio();
    let visitor = app.visitor().await;
    let page = app.get("/plugins/connected").await.body;
    for text in [
        "What it may use",
        "name=\"value.KEY\"",
        "name=\"folder.corpus\"",
        "name=\"hosts\"",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let digest = digest(&app).await;
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().display().to_string();
    let fields = [
        ("digest", digest.as_str()),
        ("capability", "log"),
        ("capability", "http"),
        ("capability", "folders"),
        ("capability", "secrets"),
        ("hosts", "https://api.example.com\r\nhttp://127.0.0.1:9\r\n"),
        ("addresses", "10.0.0.7"),
        ("folder.corpus", corpus.as_str()),
        ("secret", "KEY"),
        ("value.KEY", SECRET),
    ];
    let answer = app
        .post_form(&visitor, "/plugins/connected/grant", &fields)
        .await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let plugin = app.get("/api/v1/plugins/connected").await.json();
    assert_eq!(
        plugin["granted"],
        json!(["log", "http", "folders", "secrets"])
    );
    let grants = &plugin["grants"];
    assert_eq!(
        grants["hosts"],
        json!(["https://api.example.com", "http://127.0.0.1:9"])
    );
    assert_eq!(
        (&grants["addresses"], &grants["folders"]["corpus"]),
        (&json!(["10.0.0.7"]), &json!(corpus))
    );
    assert_eq!(app.state.secrets.value("KEY").as_deref(), Some(SECRET));
    let page = app.get("/plugins/connected").await.body;
    assert!(
        page.contains("https://api.example.com") && !page.contains(SECRET),
        "{page}"
    );
    let mut stale = fields;
    stale[0].1 = "another";
    let answer = app
        .post_form(&visitor, "/plugins/connected/grant", &stale)
        .await;
    assert_eq!(answer.status, 409);
}

#[actix_web::test]
async fn a_host_that_settings_name_is_proposed_and_granted_without_being_typed() {
    let app = TestApp::with_shipped_plugins();
    let visitor = app.visitor().await;
    let page = app.get("/plugins/ask-endpoint").await.body;
    for text in [
        "name=\"host\" value=\"http://127.0.0.1:8080\" checked",
        "from its setting Address",
        "name=\"hosts\"",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    // Another address in the settings is another host, before and after a consent.
    let config = json!({ "config": { "url": "https://api.example.com/v1" } });
    let answer = app
        .json(Method::PUT, "/api/v1/plugins/ask-endpoint/config", config)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let page = app.get("/plugins/ask-endpoint").await.body;
    assert!(
        page.contains("value=\"https://api.example.com\" checked")
            && !page.contains(":8080\" checked"),
        "{page}"
    );
    let plugin = app.get("/api/v1/plugins/ask-endpoint").await.json();
    let fields = [
        ("digest", plugin["digest"].as_str().unwrap()),
        ("capability", "config"),
        ("capability", "http"),
        ("host", "https://api.example.com"),
        ("hosts", ""),
    ];
    let answer = app
        .post_form(&visitor, "/plugins/ask-endpoint/grant", &fields)
        .await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let plugin = app.get("/api/v1/plugins/ask-endpoint").await.json();
    assert_eq!(
        plugin["grants"]["hosts"],
        json!(["https://api.example.com"])
    );
    let page = app.get("/plugins/ask-endpoint").await.body;
    assert_eq!(page.matches("https://api.example.com\" checked").count(), 1);
    assert!(
        !page.contains("https://api.example.com</textarea>"),
        "{page}"
    );
}

#[actix_web::test]
async fn each_suggestion_of_a_shipped_analyzer_is_accepted_or_rejected_on_the_page() {
    let app = TestApp::with_shipped_plugins();
    let visitor = app.visitor().await;
    for (plugin, code, parts) in [
        (
            "style",
            "x = 1  \nif x == None:\n    pass",
            // Nothing instead of the white space; the break at the end as source has it.
            vec![
                "1:6",
                "nothing",
                "100 %",
                "is None",
                "80 %",
                "&quot;\\n&quot;",
            ],
        ),
        (
            "security",
            "import yaml\nyaml.load(text)\nyaml.load(more)\n",
            vec!["2:1", "yaml.safe_load", "70 %"],
        ),
    ] {
        let fields = [("in.code", code), ("in.language", "python")];
        let page = app
            .post_form(&visitor, &format!("/plugins/{plugin}/run"), &fields)
            .await;
        assert_eq!(page.status, 200, "{}", page.body);
        for part in parts {
            assert!(page.body.contains(part), "{plugin}: {part}: {}", page.body);
        }
        let executions = format!("/api/v1/plugins/{plugin}/executions");
        let call = app.get(&executions).await.json()[0].clone();
        let findings = call["output"]["diagnostics"].as_array().unwrap();
        let pointers = findings.iter().enumerate();
        let pointers: Vec<String> = pointers
            .filter(|(_, finding)| finding["suggestion"].is_object())
            .map(|(index, _)| format!("/diagnostics/{index}/suggestion"))
            .collect();
        assert!(pointers.len() >= 2, "{call}");
        assert_eq!(
            page.body.matches("value=\"accepted\"").count(),
            pointers.len()
        );
        let id = call["id"].as_str().unwrap();
        for (pointer, verdict) in pointers.iter().zip(["accepted", "rejected"]) {
            assert!(page.body.contains(&format!("value=\"{pointer}\"")));
            let fields = [
                ("execution", id),
                ("pointer", pointer.as_str()),
                ("verdict", verdict),
            ];
            let path = format!("/plugins/{plugin}/suggestions");
            let judged = app.post_form(&visitor, &path, &fields).await;
            assert_eq!(judged.status, 200, "{}", judged.body);
            assert!(judged.body.contains(verdict), "{}", judged.body);
        }
        let kept = app
            .get(&format!("{executions}/{id}/suggestions"))
            .await
            .json();
        assert_eq!(kept.as_array().unwrap().len(), 2, "{kept}");
    }
}

#[actix_web::test]
async fn a_refused_consent_is_shown_again_with_what_was_filled_in() {
    let app = studio();
    let visitor = app.visitor().await;
    let digest = digest(&app).await;
    let fields = [
        ("digest", digest.as_str()),
        ("capability", "http"),
        ("hosts", "https://api.example.com"),
        ("addresses", "the printer"),
        ("tokens", "7"),
        ("value.KEY", SECRET),
    ];
    let answer = app
        .post_form(&visitor, "/plugins/connected/grant", &fields)
        .await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    for text in [
        "must be IP addresses, not",
        "value=\"http\" checked",
        "https://api.example.com</textarea>",
        "value=\"the printer\"",
    ] {
        assert!(answer.body.contains(text), "{text}: {}", answer.body);
    }
    assert!(!answer.body.contains("value=\"log\" checked"));
    assert!(!answer.body.contains(SECRET));
    let plugin = app.get("/api/v1/plugins/connected").await.json();
    assert_eq!(plugin["granted"], json!([]));
}

#[actix_web::test]
async fn what_another_process_decides_reaches_the_server() {
    let app = studio();
    let mut settings = Settings::default();
    settings
        .apply(&app.state.store, &app.state.plugin_host)
        .unwrap();
    let grants = domain::Grants::from(&[domain::Capability::Log]);
    let digest = digest(&app).await;
    let store = &app.state.store;
    store
        .set_plugin_grants("connected", &digest, &grants)
        .unwrap();
    settings.apply(store, &app.state.plugin_host).unwrap();
    let state = async || {
        let plugin = app.get("/api/v1/plugins/connected").await.json();
        plugin["health"]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state().await, "ready");
    store.set_plugin_enabled("connected", false).unwrap();
    settings.apply(store, &app.state.plugin_host).unwrap();
    assert_eq!(state().await, "disabled");
}

#[actix_web::test]
async fn what_was_not_granted_is_asked_for_once_and_then_told() {
    let app = studio();
    let page = app.get("/plugins/connected").await.body;
    assert!(page.contains("This version asks for"), "{page}");
    // Without its log it is not called: that is still to be said.
    grant(&app, json!({ "capabilities": ["generate"] })).await;
    let page = app.get("/plugins/connected").await.body;
    assert!(page.contains("This version asks for"), "{page}");
    grant(&app, json!({ "capabilities": ["log", "generate"] })).await;
    let page = app.get("/plugins/connected").await.body;
    assert!(
        page.contains("It asks for http, folders, secrets too, which you did not grant."),
        "{page}"
    );
    assert!(!page.contains("This version asks for"), "{page}");
}

#[actix_web::test]
async fn a_component_that_was_changed_while_the_studio_was_down_waits_and_its_page_says_what_answers()
 {
    let app = studio();
    grant(&app, json!({ "capabilities": ["log"] })).await;
    let first = digest(&app).await;
    let app = app.restarted(|config| {
        // An empty section of no name: the same component with another digest.
        let component = config.paths.plugins.join("connected/connected.wasm");
        let mut bytes = std::fs::read(&component).unwrap();
        bytes.extend([0, 1, 0]);
        std::fs::write(&component, bytes).unwrap();
    });
    let plugin = app.get("/api/v1/plugins/connected").await.json();
    assert_eq!(plugin["digest"], first);
    assert_ne!(plugin["pending"]["digest"], first);
    run(&app, json!({ "do": "secret", "name": "KEY", "say_in": "" })).await;
    let page = app.get("/plugins/connected").await.body;
    assert!(
        page.contains("the one before it answers until then"),
        "{page}"
    );
    assert!(
        page.contains("value=\"log\" checked") && !page.contains("value=\"http\" checked"),
        "what was refused the version before is not ticked for this one: {page}"
    );

    let app = app.restarted(|config| {
        std::fs::remove_dir_all(config.paths.plugin_cache()).unwrap();
    });
    let plugin = app.get("/api/v1/plugins/connected").await.json();
    assert_eq!(plugin["health"]["state"], "needs_consent");
    assert_eq!(plugin["pending"]["digest"], plugin["digest"]);
    for path in ["/plugins/connected", "/plugins"] {
        let page = app.get(path).await.body;
        assert!(
            page.contains("agree, or put the earlier file back"),
            "{page}"
        );
    }
    let input = json!({ "input": { "do": "secret", "name": "KEY", "say_in": "" } });
    let refused = app
        .json(Method::POST, "/api/v1/plugins/connected/run", input)
        .await;
    assert_eq!(refused.json()["error"]["code"], "plugin_not_granted");
}

#[actix_web::test]
async fn the_server_keeps_as_many_calls_and_uses_as_the_settings_say() {
    let app = TestApp::with(&[("CODETUNE_HISTORY_ROWS", "2")]);
    let store = &app.state.store;
    let execution = domain::Execution {
        plugin: "stats".to_owned(),
        digest: "abc".to_owned(),
        input_digest: "def".to_owned(),
        duration_us: 1,
        fuel: 1,
        peak_memory_bytes: 1,
        log: String::new(),
        outcome: domain::ExecutionOutcome::Ok { output: json!({}) },
    };
    for _ in 0..600 {
        store.record_execution(&execution, None).unwrap();
    }
    assert_eq!(plugin_history::prune(&app.state).await.unwrap(), 598);
    assert_eq!(store.list_executions(&Default::default()).unwrap().len(), 2);
}

#[actix_web::test]
async fn a_suggestion_is_accepted_or_rejected_and_the_word_is_kept_beside_the_call() {
    let app = studio();
    grant(&app, json!({ "capabilities": ["log"] })).await;
    let secret = json!({ "do": "secret", "name": "KEY", "say_in": "" });
    let id = run(&app, secret).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/plugins/connected/executions/{id}/suggestions");
    let say = async |pointer: &str, verdict: &str| {
        let body = json!({ "pointer": pointer, "verdict": verdict });
        app.json(Method::PUT, &path, body).await
    };
    assert_eq!(say("/has", "accepted").await.status, 200);
    assert_eq!(say("/has", "rejected").await.json()["verdict"], "rejected");
    assert_eq!(say("/nowhere", "accepted").await.status, 422);
    let other = format!("/api/v1/plugins/other/executions/{id}/suggestions");
    assert_eq!(app.get(&other).await.status, 404);
    let kept = app.get(&path).await.json();
    assert_eq!(kept.as_array().unwrap().len(), 1);
    assert_eq!(
        (&kept[0]["pointer"], &kept[0]["verdict"]),
        (&json!("/has"), &json!("rejected"))
    );
    let visitor = app.visitor().await;
    let fields = [
        ("execution", id.as_str()),
        ("pointer", "/length"),
        ("verdict", "accepted"),
    ];
    let judged = app
        .post_form(&visitor, "/plugins/connected/suggestions", &fields)
        .await;
    assert_eq!(judged.status, 200, "{}", judged.body);
    assert!(judged.body.contains("accepted"), "{}", judged.body);
}

#[actix_web::test]
async fn settings_are_set_on_the_page_and_taken_back() {
    let app = TestApp::with_shipped_plugins();
    let visitor = app.visitor().await;
    let path = "/plugins/code-analyzer/config";
    let answer = app
        .post_form(&visitor, path, &[("in.max_complexity", "3")])
        .await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    let config = app.get("/api/v1/plugins/code-analyzer/config").await.json();
    assert_eq!(config["max_complexity"], 3);
    let wrong = app
        .json(
            Method::PUT,
            "/api/v1/plugins/code-analyzer/config",
            json!({ "config": { "max_complexity": "many" } }),
        )
        .await;
    assert_eq!(wrong.status, 422, "{}", wrong.body);
    let wrong = app
        .post_form(&visitor, path, &[("in.max_complexity", "many")])
        .await;
    assert_eq!(wrong.status, 422, "{}", wrong.body);
    for text in ["must be a number, not", "value=\"many\""] {
        assert!(wrong.body.contains(text), "{text}: {}", wrong.body);
    }
    let answer = app.post_form(&visitor, path, &[("reset", "true")]).await;
    assert_eq!(answer.status, 303, "{}", answer.body);
    assert_eq!(
        app.get("/api/v1/plugins/code-analyzer/config").await.json(),
        json!({})
    );
}
