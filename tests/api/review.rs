//! The shipped plugin `review` in a running studio: with the model that it is granted, and with one that is told what to
//! write, since a small model finds nothing.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix_web::http::Method;
use domain::{CapabilityUse, Grants};
use plugin_host::{GenerateRequest, Generated, Prompt, Services};
use serde_json::{Value, json};

use crate::harness::{TestApp, root};

const CODE: &str = "def share(total, count):\n    return total / 0\n";
const PATH: &str = "/api/v1/plugins/review";

/// A studio with the plugin and nothing granted.
fn studio() -> TestApp {
    let app = TestApp::new();
    let place = app.state.config.paths.plugins.join("review");
    std::fs::create_dir_all(&place).unwrap();
    for file in ["review.wasm", "plugin.toml"] {
        std::fs::copy(root().join("plugins/review").join(file), place.join(file)).unwrap();
    }
    app.state.plugin_host.reload().unwrap();
    app
}

async fn put(app: &TestApp, path: &str, body: Value) -> Value {
    let answer = app.json(Method::PUT, &format!("{PATH}/{path}"), body).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

async fn grant(app: &TestApp, tokens: u32, model: Option<&str>) {
    let plugin = app.get(PATH).await.json();
    let mut grants = json!({
        "digest": plugin["digest"], "capabilities": ["config", "generate"], "tokens": tokens,
    });
    if let Some(model) = model {
        grants["model"] = json!(model);
    }
    let plugin = put(app, "grants", grants).await;
    assert_eq!(plugin["health"]["state"], "ready");
}

/// One review, as the history has it.
async fn review(app: &TestApp) -> Value {
    let input = json!({ "code": CODE, "language": "python" });
    let body = json!({ "input": input });
    let answer = app.json(Method::POST, &format!("{PATH}/run"), body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[actix_web::test]
async fn a_review_is_written_by_the_granted_model_within_its_tokens() {
    let app = studio();
    let refused = app
        .json(
            Method::POST,
            &format!("{PATH}/run"),
            json!({ "input": { "code": CODE } }),
        )
        .await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    grant(&app, 24, Some("sample")).await;
    put(&app, "config", json!({ "config": { "chat": false } })).await;
    let execution = review(&app).await;
    assert_eq!(execution["outcome"], "ok", "{execution}");
    let output = &execution["output"];
    let new_tokens = output["new_tokens"].as_u64().unwrap();
    assert!((1..=24).contains(&new_tokens), "{output}");
    assert!(
        output["text"].is_string() && output["finish_reason"].is_string(),
        "{output}"
    );
    // Whatever a small model says of it, what is shown as a finding is one line's.
    for finding in output["findings"].as_array().unwrap() {
        assert!(
            (1..=2).contains(&finding["line"].as_u64().unwrap()),
            "{finding}"
        );
        assert!(
            !finding["message"].as_str().unwrap().is_empty(),
            "{finding}"
        );
    }
    // The same model writes the same review.
    assert_eq!(review(&app).await["output"], *output);
    let uses = app.get(&format!("{PATH}/uses")).await.json();
    let used = &uses[0];
    assert_eq!(used["capability"], "generate", "{uses}");
    // The tokens that were read count too.
    assert!(used["tokens"].as_u64() > Some(new_tokens), "{uses}");
    let history = app.get(&format!("{PATH}/executions")).await.json();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
}

/// Writes what it is told to, and remembers what it was asked.
#[derive(Default)]
struct Told(Mutex<Vec<GenerateRequest>>);

impl Services for Told {
    fn generate(
        &self,
        _grants: &Grants,
        request: &GenerateRequest,
        _until: Instant,
    ) -> Result<Generated, String> {
        self.0.lock().unwrap().push(request.clone());
        Ok(Generated {
            text: "2: divides by zero, not by count\nFIX: return total / count\n\
                   1: says not what it divides\nFIX: def share_of(total, count):\n1: no types\n9: is nowhere\n"
                .to_owned(),
            model: "told".to_owned(),
            prompt_tokens: 40,
            new_tokens: 30,
            finish_reason: "stop".to_owned(),
        })
    }

    fn secret(&self, _name: &str) -> Option<String> {
        None
    }

    fn used(&self, _plugin: &str, _digest: &str, _uses: &[CapabilityUse]) {}
}

#[actix_web::test]
async fn remarks_come_with_lines_and_suggestions_that_are_accepted_or_rejected() {
    let app = studio();
    let told = Arc::new(Told::default());
    app.state.plugin_host.lend(told.clone());
    grant(&app, 64, None).await;
    let execution = review(&app).await;
    assert_eq!(
        execution["output"],
        json!({
            "findings": [
                {
                    "line": 2, "message": "divides by zero, not by count",
                    "suggestion": { "line": 2, "replacement": "    return total / count" },
                },
                {
                    "line": 1, "message": "says not what it divides",
                    "suggestion": { "line": 1, "replacement": "def share_of(total, count):" },
                },
                { "line": 1, "message": "no types" },
            ],
            "text": execution["output"]["text"], "finish_reason": "stop", "new_tokens": 30,
        })
    );
    let asked = told.0.lock().unwrap().remove(0);
    assert_eq!((asked.max_new_tokens, asked.temperature), (64, 0.0));
    let Prompt::Chat(messages) = asked.prompt else {
        panic!("a model with a template is asked through it: {asked:?}")
    };
    assert_eq!(messages.len(), 1);
    let (role, question) = &messages[0];
    assert_eq!(role, "user");
    assert!(
        question.contains("python") && question.contains("2:     return total / 0"),
        "{question}"
    );

    let id = execution["id"].as_str().unwrap();
    let suggestions = format!("executions/{id}/suggestions");
    for (pointer, verdict) in [
        ("/findings/0/suggestion", "rejected"),
        ("/findings/0/suggestion", "accepted"),
        ("/findings/1/suggestion", "rejected"),
    ] {
        let judged = put(
            &app,
            &suggestions,
            json!({ "pointer": pointer, "verdict": verdict }),
        )
        .await;
        assert_eq!(judged["verdict"], verdict);
    }
    let none = json!({ "pointer": "/findings/2/suggestion", "verdict": "accepted" });
    let path = format!("{PATH}/{suggestions}");
    let refused = app.json(Method::PUT, &path, none).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    let kept = app.get(&path).await.json();
    let kept: Vec<(&str, &str)> = kept
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["pointer"].as_str().unwrap(),
                one["verdict"].as_str().unwrap(),
            )
        })
        .collect();
    // The last word counts.
    assert_eq!(
        kept,
        [
            ("/findings/0/suggestion", "accepted"),
            ("/findings/1/suggestion", "rejected")
        ]
    );

    // On the page each suggestion stands beside what it is about, with both words to say.
    let visitor = app.visitor().await;
    let fields = [("in.code", CODE), ("in.language", "python")];
    let page = app
        .post_form(&visitor, "/plugins/review/run", &fields)
        .await;
    assert_eq!(page.status, 200, "{}", page.body);
    for text in [
        "divides by zero, not by count",
        "return total / count",
        "def share_of(total, count):",
    ] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    assert_eq!(
        page.body.matches("value=\"accepted\"").count(),
        2,
        "{}",
        page.body
    );
}
