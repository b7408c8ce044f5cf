//! Every route against foreign hosts, foreign origins and strangers.

use actix_web::http::Method;
use codetune::routes::TABLE;

use crate::harness::{TestApp, request};

/// The path of the table with something in place of its parts.
fn filled(path: &str) -> String {
    path.replace("{id}", "00000000-0000-7000-8000-000000000000")
        .replace("{name}", "none")
        .replace("{path:.*}", "app.css")
}

fn method(name: &str) -> Method {
    Method::from_bytes(name.to_uppercase().as_bytes()).unwrap()
}

#[actix_web::test]
async fn no_route_answers_under_a_foreign_host_name() {
    let app = TestApp::new();
    for (name, path) in TABLE {
        for host in [
            "evil.example",
            "evil.example:7860",
            "localhost",
            "127.0.0.1:80",
            "localhost:7860.evil.example",
        ] {
            let answer = app
                .send(request(method(name), &filled(path)).insert_header(("host", host)))
                .await;
            assert_eq!(answer.status, 421, "{name} {path} under {host}");
        }
    }
}

#[actix_web::test]
async fn no_route_that_changes_something_answers_to_a_foreign_page() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    for (name, path) in TABLE.iter().filter(|(name, _)| *name != "get") {
        for (header, value) in [
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:7861"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:7860.evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            // Even with a cookie and a token that are right.
            let answer = app
                .send(
                    request(method(name), &filled(path))
                        .insert_header((header, value))
                        .insert_header(("cookie", visitor.cookie.as_str()))
                        .set_form([("csrf", visitor.token.as_str())]),
                )
                .await;
            assert_eq!(answer.status, 403, "{name} {path} with {header}: {value}");
        }
    }
}

#[actix_web::test]
async fn our_own_page_and_a_program_get_past_the_gate() {
    let app = TestApp::new();
    for headers in [
        &[][..],
        &[
            ("origin", "http://127.0.0.1:7860"),
            ("sec-fetch-site", "same-origin"),
        ],
    ] {
        let mut request = request(Method::POST, "/api/v1/runs");
        for header in headers {
            request = request.insert_header(*header);
        }
        let answer = app
            .send(request.set_json(serde_json::json!({ "config": {} })))
            .await;
        assert_eq!(answer.status, 422, "{headers:?}: {}", answer.body);
    }
}

#[actix_web::test]
async fn every_answer_carries_the_safety_headers() {
    let app = TestApp::new();
    for path in [
        "/",
        "/none",
        "/api/v1/runs",
        "/static/app.css",
        "/healthz",
        "/api/v1/none",
    ] {
        let answer = app.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{path}: {policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
    }
    let refused = app
        .send(request(Method::GET, "/").insert_header(("host", "evil.example")))
        .await;
    assert!(
        refused
            .header("content-security-policy")
            .contains("default-src 'none'")
    );
}

#[actix_web::test]
async fn a_body_that_is_too_large_is_refused() {
    let app = TestApp::new();
    let visitor = app.visitor().await;
    let large = "x".repeat(codetune::server::MAX_BODY_BYTES + 1);
    let answer = app
        .post_form(&visitor, "/runs/new", &[("name", &large)])
        .await;
    assert_eq!(answer.status, 413);
    let answer = app
        .json(
            Method::POST,
            "/api/v1/tokenize",
            serde_json::json!({ "model": "m", "text": large }),
        )
        .await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["error"]["code"], "too_large");
}

#[actix_web::test]
async fn with_a_password_every_route_but_the_open_ones_asks_for_it() {
    let app = TestApp::with(&[("CODETUNE_PASSWORD", "correct horse")]);
    for (name, path) in TABLE {
        let answer = app.send(request(method(name), &filled(path))).await;
        let open = ["/login", "/healthz", "/readyz"].contains(path) || path.starts_with("/static/");
        if open {
            assert!(
                ![401, 303].contains(&answer.status.as_u16()),
                "{name} {path}"
            );
        } else if path.starts_with("/api/") || *path == "/metrics" {
            assert_eq!(answer.status, 401, "{name} {path}");
        } else {
            assert_eq!(answer.status, 303, "{name} {path}");
            assert!(
                answer.header("location").starts_with("/login?next="),
                "{name} {path}"
            );
        }
    }
}

#[actix_web::test]
async fn who_is_signed_out_comes_back_to_a_page_and_no_part_of_one_becomes_the_login() {
    let app = TestApp::with(&[("CODETUNE_PASSWORD", "correct horse")]);
    let next = async |method: Method, path: &str| {
        let answer = app.send(request(method, path)).await;
        answer.header("location").to_owned()
    };
    assert_eq!(
        next(Method::GET, "/runs?page=2").await,
        "/login?next=/runs%3Fpage%3D2"
    );
    assert_eq!(next(Method::POST, "/runs/sample").await, "/login?next=/");
    let part = request(Method::GET, "/exports").insert_header(("hx-request", "true"));
    let answer = app.send(part).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("hx-refresh"), "true");
    assert!(answer.body.contains("signed out"), "{}", answer.body);
    assert!(!answer.body.contains("<html"), "{}", answer.body);
}

#[actix_web::test]
async fn a_password_opens_a_session_and_a_bearer_token_the_api() {
    let app = TestApp::with(&[("CODETUNE_PASSWORD", "correct horse")]);
    let bearer = |token: &str| {
        request(Method::GET, "/api/v1/runs")
            .insert_header(("authorization", format!("Bearer {token}")))
    };
    assert_eq!(app.send(bearer("correct horse")).await.status, 200);
    assert_eq!(app.send(bearer("wrong")).await.status, 401);
    assert_eq!(app.send(bearer("")).await.status, 401);

    let page = app.get("/login?next=/runs").await;
    let cookie = page
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let token = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let token = token.split('"').next().unwrap();
    let enter = |password: &'static str| {
        request(Method::POST, "/login")
            .insert_header(("cookie", cookie.as_str()))
            .set_form([("csrf", token), ("password", password), ("next", "/runs")])
    };
    let refused = app.send(enter("wrong")).await;
    assert_eq!(refused.status, 403);
    for part in [
        "That is not the password",
        "name=\"password\"",
        "name=\"next\" value=\"/runs\"",
    ] {
        assert!(refused.body.contains(part), "{part}: {}", refused.body);
    }
    let entered = app.send(enter("correct horse")).await;
    assert_eq!(entered.status, 303);
    assert_eq!(entered.header("location"), "/runs");
    let session = entered.header("set-cookie");
    assert!(
        session.contains("HttpOnly") && session.contains("SameSite=Strict"),
        "{session}"
    );
    let session = session.split(';').next().unwrap();
    let answer = app
        .send(request(Method::GET, "/runs").insert_header(("cookie", session)))
        .await;
    assert_eq!(answer.status, 200);
    for _ in 0..10 {
        app.send(enter("wrong")).await;
    }
    assert_eq!(app.send(enter("correct horse")).await.status, 429);
}
