//! In a real browser: scripts run under the policy, the curve is drawn, nothing foreign runs.

use std::time::Duration;

use domain::{RunId, RunStatus};
use store::NewRun;

use crate::harness::browser::Browser;
use crate::harness::served::Server;
use crate::harness::{run_config, started, step};

/// A finished run with a falling curve.
fn put_run(server: &Server, name: &str, scale: f64) -> RunId {
    let store = server.store();
    let id = RunId::new();
    store
        .create_run(&NewRun {
            id,
            name: name.to_owned(),
            config: run_config(),
        })
        .unwrap();
    let claim = store
        .claim_run("test", Duration::from_secs(60))
        .unwrap()
        .unwrap();
    let mut events = vec![started(60)];
    events.extend((1..=60).map(|n| step(n, 1.0 + scale / n as f64)));
    store.append_events(&claim, &events).unwrap();
    store
        .finish_run(&claim, RunStatus::Completed, None)
        .unwrap();
    id
}

#[test]
#[ignore = "needs Chromium"]
fn the_run_page_draws_its_curves_and_nothing_is_refused() {
    let server = Server::start(&["--no-worker"]);
    let id = put_run(&server, "<img src=x onerror=document.title='broken'>", 2.0);
    let mut browser = Browser::start();
    for size in [(1440, 1000), (390, 844)] {
        let page = browser.load(
            &format!("{}/runs/{id}", server.url),
            size,
            "document.querySelectorAll('canvas').length >= 4",
        );
        assert_eq!(page.complaints, Vec::<String>::new());
        assert!(
            !page.dom.contains("<title>broken"),
            "a name ran as a script"
        );
    }
}

#[test]
#[ignore = "needs Chromium"]
fn two_runs_are_drawn_over_each_other() {
    let server = Server::start(&["--no-worker"]);
    let (a, b) = (put_run(&server, "one", 2.0), put_run(&server, "two", 3.0));
    let page = Browser::start().load(
        &format!("{}/compare?runs={a},{b}", server.url),
        (1440, 1000),
        // The steps' own and one for each run.
        "document.querySelector('canvas') && document.querySelectorAll('.u-series').length >= 3",
    );
    assert_eq!(page.complaints, Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium"]
fn every_page_loads_without_a_complaint() {
    let server = Server::start(&["--no-worker"]);
    put_run(&server, "one", 2.0);
    let mut browser = Browser::start();
    for path in [
        "/",
        "/runs",
        "/runs/new",
        "/datasets",
        "/adapters",
        "/try",
        "/plugins",
        "/tokenizers",
        "/docs/run-toml",
        "/settings",
    ] {
        let page = browser.load(
            &format!("{}{path}", server.url),
            (390, 844),
            "document.documentElement.classList.contains('js')",
        );
        assert_eq!(page.complaints, Vec::<String>::new(), "{path}");
    }
}

#[test]
#[ignore = "needs Chromium"]
fn what_was_typed_is_still_there_when_one_goes_back_from_an_error() {
    let server = Server::start(&["--no-worker"]);
    let mut browser = Browser::start();
    let form = "document.querySelector('#run-form')";
    browser.load(
        &format!("{}/runs/new", server.url),
        (1440, 1000),
        &format!("{form} && document.documentElement.classList.contains('js')"),
    );
    // Without its token a form is refused by a page of its own.
    let refused = browser.go(
        &format!(
            "{form}.elements.name.value = 'mine'; {form}.elements['data.packing'].checked = true; \
             {form}.elements['model.repo'].value = 'me/model'; {form}.elements.csrf.value = ''; {form}.requestSubmit()"
        ),
        "document.querySelector('[data-back]')",
    );
    assert!(refused.dom.contains("<h1>Refused</h1>"), "{}", refused.dom);
    browser.go(
        "document.querySelector('[data-back]').click()",
        &format!(
            "{form}?.elements.name.value === 'mine' && {form}.elements['data.packing'].checked \
             && {form}.elements['model.repo'].value === 'me/model' && {form}.elements['model.repo'].checkVisibility() \
             && {form}.elements.csrf.value !== ''"
        ),
    );
    // A page that was left in peace has nothing to bring back.
    browser.load(
        &format!("{}/runs/new", server.url),
        (1440, 1000),
        &format!("{form}?.elements.name.value === ''"),
    );
}

#[test]
#[ignore = "needs Chromium"]
fn a_chart_fills_its_place_after_its_window_was_narrow() {
    let server = Server::start(&["--no-worker"]);
    let id = put_run(&server, "one", 2.0);
    let mut browser = Browser::start();
    let fills = "(() => {
        const box = document.querySelector('.chart.tall');
        const legend = box.querySelector('.u-legend')?.offsetHeight ?? 0;
        const drawn = box.querySelector('.u-wrap')?.offsetHeight;
        return Boolean(drawn) && Math.abs(drawn + legend - box.clientHeight) <= 1;
    })()";
    browser.load(&format!("{}/runs/{id}", server.url), (390, 844), fills);
    for width in [700, 1440, 1000, 390, 1440] {
        browser.resize((width, 900), fills);
    }
}
