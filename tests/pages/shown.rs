//! Every page is shown, with nothing in the database and with something.

use domain::{FinishReason, RunEvent, RunStatus};

use crate::harness::{TestApp, run_config, started, step};

const PAGES: &[&str] = &[
    "/",
    "/runs",
    "/runs/new",
    "/runs/new?preset=lora",
    "/runs/new?preset=small",
    "/runs/new?preset=full",
    "/compare",
    "/datasets",
    "/datasets/curate",
    "/adapters",
    "/try",
    "/plugins",
    "/tokenizers",
    "/docs/getting-started",
    "/docs/run-toml",
    "/docs/plugins",
    "/docs/command-line",
    "/docs/safety",
    "/settings",
    "/login",
];

async fn all_answer(app: &TestApp, pages: &[&str]) {
    for path in pages {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(answer.body.contains("<title>"), "{path}");
        assert!(answer.body.trim_end().ends_with("</html>"), "{path}");
    }
}

#[actix_web::test]
async fn every_page_is_shown_when_there_is_nothing_yet() {
    all_answer(&TestApp::new(), PAGES).await;
}

#[actix_web::test]
async fn every_page_is_shown_when_there_are_runs_in_every_state() {
    let app = TestApp::new();
    let events = [
        RunEvent::Log {
            message: "reads the data".into(),
        },
        started(3),
        step(1, 2.5),
        step(2, 2.0),
        RunEvent::Eval {
            step: 2,
            eval_loss: 2.1,
            scores: serde_json::Map::new(),
        },
        RunEvent::Checkpoint {
            step: 2,
            path: "checkpoint-2".into(),
        },
        RunEvent::Error {
            code: "x".into(),
            message: "an error".into(),
        },
        RunEvent::Finished {
            reason: FinishReason::Completed,
            steps: 3,
            adapter: None,
            model: None,
        },
    ];
    let done = app.ended_run("done", &events, RunStatus::Completed);
    let failed = app.ended_run("failed", &events[..3], RunStatus::Failed);
    let empty = app.ended_run("empty", &[], RunStatus::Interrupted);
    let waiting = app.run("waiting");
    let compare = format!("/compare?runs={done},{failed}");
    let mut pages = PAGES.to_vec();
    let own: Vec<String> = [done, failed, empty, waiting]
        .iter()
        .map(|id| format!("/runs/{id}"))
        .chain([
            compare,
            format!("/compare?runs={done}&runs={waiting}"),
            format!("/runs/new?from={done}"),
            "/runs?status=failed&search=fail&sort=loss&page=1".to_owned(),
            "/runs?status=none-such".to_owned(),
        ])
        .collect();
    pages.extend(own.iter().map(String::as_str));
    all_answer(&app, &pages).await;
    let page = app.get(&format!("/runs/{done}")).await.body;
    for text in [
        "reads the data",
        "Checkpoint of step 2 saved",
        "Evaluation after step 2",
        "models/a",
        "2.1",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(
        !page.contains(">Stop and save<"),
        "a run that has ended cannot be stopped"
    );
    let page = app.get(&format!("/runs/{waiting}")).await.body;
    assert!(page.contains(">Take off the queue<"));
}

#[actix_web::test]
async fn the_list_of_runs_is_ordered_over_its_pages_and_each_page_keeps_the_search() {
    let app = TestApp::new();
    for number in 0..51 {
        app.run(&format!("a&b {number:02}"));
    }
    let list = async |query: &str| app.get(&format!("/runs?{query}")).await.body;
    let oldest = list("sort=oldest").await;
    assert!(
        oldest.contains(">a&amp;b 00<"),
        "the oldest of all is on the first page"
    );
    assert!(!oldest.contains(">a&amp;b 50<"));
    let found = list("search=a%26b").await;
    let next = "/runs?status=&amp;search=a%26b&amp;sort=&amp;page=2";
    assert!(found.contains(next), "{found}");
    let last = list("search=a%26b&page=2").await;
    assert!(last.contains(">a&amp;b 00<") && !last.contains(">a&amp;b 01<"));
    let beyond = list("page=9").await;
    assert!(
        beyond.contains(">a&amp;b 00<"),
        "beyond the end is the last page"
    );
}

#[actix_web::test]
async fn what_is_not_there_is_a_page_that_says_so() {
    let app = TestApp::new();
    for path in [
        "/none",
        "/runs/00000000-0000-7000-8000-000000000000",
        "/runs/not-an-id",
        "/runs/..%2f..%2fetc%2fpasswd",
        "/plugins/none",
        "/docs/none",
        "/docs/..%2f..%2fREADME",
        "/static/none.css",
        "/static/../templates/base.html",
        "/static/..%2ftemplates%2fbase.html",
        "/compare?runs=1",
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        assert!(
            answer.body.contains("<h1>Not here</h1>"),
            "{path}: {}",
            answer.body
        );
        assert!(!answer.body.contains("root:"), "{path}");
    }
}

#[actix_web::test]
async fn a_file_with_its_digest_may_be_kept_for_good() {
    let app = TestApp::new();
    let page = app.get("/").await.body;
    let at = page
        .find("/static/app.css?v=")
        .expect("the style sheet with its digest");
    let path = page[at..].split('"').next().unwrap();
    let answer = app.get(path).await;
    assert_eq!(answer.header("content-type"), "text/css; charset=utf-8");
    assert!(answer.header("cache-control").contains("immutable"));
    assert!(
        app.get("/static/app.css")
            .await
            .header("cache-control")
            .contains("no-cache")
    );
}

#[actix_web::test]
async fn curves_and_settings_can_be_downloaded() {
    let app = TestApp::new();
    let id = app.ended_run(
        "r",
        &[started(2), step(1, 2.5), step(2, 2.25)],
        RunStatus::Completed,
    );
    let csv = app.get(&format!("/runs/{id}/metrics.csv")).await;
    assert!(csv.header("content-disposition").starts_with("attachment"));
    assert!(csv.body.contains("2,0.2,\"loss\",2.25"), "{}", csv.body);
    let toml = app.get(&format!("/runs/{id}/config.toml")).await.body;
    assert!(domain::RunConfig::from_toml(&toml, &[]).is_ok(), "{toml}");
}

#[actix_web::test]
async fn secrets_are_not_on_the_settings_page() {
    let app = TestApp::with(&[("HF_TOKEN", "canary-token"), ("DATABASE_URL", "")]);
    let page = app.get("/settings").await.body;
    assert!(!page.contains("canary"));
    assert!(page.contains("set (hidden)"));
}

#[actix_web::test]
async fn a_run_over_pairs_has_charts_and_tables_for_its_rewards_and_others_have_none() {
    let app = TestApp::new();
    let plain = app.run("plain");
    let mut config = run_config();
    config.train.method = domain::Method::Dpo;
    let id = domain::RunId::new();
    let new = store::NewRun {
        id,
        name: "pairs".into(),
        config,
    };
    app.state.store.create_run(&new).unwrap();
    let mut first = step(1, 0.7);
    let rewards = [
        ("rewards/chosen", 0.25),
        ("rewards/rejected", -0.5),
        ("rewards/margins", 0.75),
        ("rewards/accuracies", 1.0),
    ];
    if let RunEvent::Step { metrics, .. } = &mut first {
        metrics.extend(rewards.map(|(name, value)| (name.to_owned(), value)));
    }
    let lease = std::time::Duration::from_secs(60);
    loop {
        let claim = app.state.store.claim_run("test", lease).unwrap().unwrap();
        if claim.run.id == id {
            let events = [started(1), first];
            app.state.store.append_events(&claim, &events).unwrap();
            break;
        }
    }
    let page = app.get(&format!("/runs/{id}")).await.body;
    for name in [
        "rewards/chosen,rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
    ] {
        for place in ["data-chart", "data-table"] {
            let attribute = format!("{place}=\"{name}\"");
            assert!(page.contains(&attribute), "{attribute}");
        }
    }
    let page = app.get(&format!("/runs/{plain}")).await.body;
    assert!(!page.contains("rewards/"));
    let curves = app.get(&format!("/api/v1/runs/{id}/metrics")).await.json();
    for (name, value) in rewards {
        assert_eq!(curves["series"][name]["values"][0], value, "{name}");
    }
}

#[actix_web::test]
async fn a_run_on_a_gpu_shows_its_figures_and_one_on_the_cpu_has_no_place_for_them() {
    let app = TestApp::new();
    let id = app.run("measured");
    let plain = app.run("plain");
    let lease = std::time::Duration::from_secs(60);
    let claim = app.state.store.claim_run("test", lease).unwrap().unwrap();
    assert_eq!(claim.run.id, id);
    let figures = [
        ("model_flops_utilization", 0.41),
        ("device_memory_peak_gb", 21.5),
        ("device_temperature", 61.0),
        ("device_power", 412.5),
        ("device_utilization", 98.0),
    ];
    let mut first = step(1, 0.7);
    if let RunEvent::Step { metrics, .. } = &mut first {
        metrics.extend(figures.map(|(name, value)| (name.to_owned(), value)));
    }
    let events = [started(1), first];
    app.state.store.append_events(&claim, &events).unwrap();
    let page = app.get(&format!("/runs/{id}")).await.body;
    let curves = app.get(&format!("/api/v1/runs/{id}/metrics")).await.json();
    for (name, value) in figures {
        assert!(page.contains(&format!("data-chart=\"{name}")), "{name}");
        assert_eq!(curves["series"][name]["values"][0], value, "{name}");
    }
    let page = app.get(&format!("/runs/{plain}")).await.body;
    assert!(!page.contains("device_power"));
}

#[cfg(unix)]
#[actix_web::test]
async fn a_run_on_a_gpu_shows_the_machines_gpus_while_it_trains() {
    use std::os::unix::fs::PermissionsExt;

    let app = TestApp::beside_a_gpu_build(|program| {
        let card = r#"{"gpus":[{"index":0,"name":"A card","compute_capability":"9.0","memory_total":85899345920,"memory_free":42949672960,"temperature":41,"power":70.5,"utilization":0}],"missing":null}"#;
        std::fs::write(program, format!("#!/bin/sh\nprintf '%s' '{card}'\n")).unwrap();
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    });
    let id = app.run("on a card");
    let lease = std::time::Duration::from_secs(60);
    let claim = app.state.store.claim_run("test", lease).unwrap().unwrap();
    let page = app.get(&format!("/runs/{id}")).await.body;
    assert!(!page.contains("gpus-title"), "{page}");
    let message = "trains on cuda:0 (A card)".to_owned();
    let events = [started(1), RunEvent::Log { message }];
    app.state.store.append_events(&claim, &events).unwrap();
    let page = app.get(&format!("/runs/{id}")).await.body;
    for told in [
        "cuda:0",
        "A card",
        "41 °C",
        "70.5 W",
        "0 %",
        "data-chart=\"device_power",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
}

#[actix_web::test]
async fn an_ended_run_with_steps_is_not_said_to_have_none() {
    let app = TestApp::new();
    let with = app.ended_run("r", &[started(1), step(1, 2.5)], RunStatus::Completed);
    let without = app.ended_run("r", &[], RunStatus::Failed);
    let says = "It ended before its first step";
    // The same settings would fail again.
    let change = format!("<a class=\"button primary\" href=\"/runs/new?from={without}\">");
    let page = app.get(&format!("/runs/{without}")).await.body;
    assert!(page.contains(&change), "{page}");
    assert!(!app.get(&format!("/runs/{with}")).await.body.contains(says));
    assert!(
        app.get(&format!("/runs/{without}"))
            .await
            .body
            .contains(says)
    );
}

#[actix_web::test]
async fn a_page_of_the_documentation_lists_its_sections() {
    let app = TestApp::new();
    let page = app.get("/docs/plugins").await.body;
    let link = "<li><a href=\"#suggestions\">Suggestions</a></li>";
    assert!(page.contains(link), "{page}");
    assert!(page.contains("<h2 id=\"suggestions\">"), "{page}");
}
