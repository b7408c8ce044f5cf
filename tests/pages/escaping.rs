//! Whatever people or plugins write is shown as text.

use domain::{RunEvent, RunStatus};

use crate::harness::{TestApp, started};

const ATTACKS: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "{{ layout.csrf }}",
    "javascript:alert(1)",
];

/// The attack is there as text and nowhere as markup.
fn is_text(page: &str, attack: &str, place: &str) {
    if attack.contains('<') {
        assert!(!page.contains(attack), "{place}: {attack}");
    }
    for tag in ["<script>alert", "<img src=x", "<svg onload"] {
        assert!(!page.contains(tag), "{place}: {attack}");
    }
}

#[actix_web::test]
async fn names_and_logs_of_runs_stay_text() {
    let app = TestApp::new();
    for attack in ATTACKS {
        let events = [
            started(1),
            RunEvent::Log {
                message: (*attack).to_owned(),
            },
            RunEvent::Error {
                code: (*attack).to_owned(),
                message: (*attack).to_owned(),
            },
        ];
        let id = app.ended_run(attack, &events, RunStatus::Failed);
        for path in [
            "/".to_owned(),
            "/runs".to_owned(),
            format!("/runs/{id}"),
            format!("/compare?runs={id}"),
            format!("/runs/new?from={id}"),
        ] {
            let page = app.get(&path).await;
            assert_eq!(page.status, 200, "{path}");
            is_text(&page.body, attack, &path);
        }
    }
}

#[actix_web::test]
async fn what_stands_in_the_address_stays_text() {
    let app = TestApp::new();
    for attack in ATTACKS {
        let encoded: String = attack.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for path in [
            format!("/runs?search={encoded}"),
            format!("/runs?sort={encoded}"),
            format!("/{encoded}"),
            format!("/plugins/{encoded}"),
            format!("/docs/{encoded}"),
            format!("/compare?runs={encoded}"),
            format!("/login?next={encoded}"),
            format!("/try?model={encoded}"),
            format!("/tokenizers?model={encoded}"),
        ] {
            is_text(&app.get(&path).await.body, attack, &path);
        }
    }
}

#[actix_web::test]
async fn what_a_form_sends_comes_back_as_text() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    for attack in ATTACKS {
        let answer = app
            .post_form(
                &visitor,
                "/runs/new",
                &[
                    ("name", attack),
                    ("model.path", attack),
                    ("train.learning_rate", attack),
                ],
            )
            .await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        is_text(&answer.body, attack, "the form");
    }
}

#[actix_web::test]
async fn no_page_has_anything_inline() {
    let app = TestApp::new();
    for path in [
        "/",
        "/runs",
        "/runs/new",
        "/plugins",
        "/docs/run-toml",
        "/settings",
        "/try",
        "/login",
    ] {
        let page = app.get(path).await.body;
        assert!(!page.contains("style=\""), "{path}");
        assert!(!page.contains("<style"), "{path}");
        assert!(!page.contains(" onclick="), "{path}");
        for script in page.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/static/"), "{path}: {script}");
        }
    }
}
