//! How fast the store takes a run's steps and draws its curves:
//! `cargo run --release -p store --features testing --example measure [STEPS]`; with `TEST_DATABASE_URL` on
//! PostgreSQL too.

use std::time::{Duration, Instant};

use domain::{RunConfig, RunEvent, RunId};
use store::NewRun;
use store::testing::TestDatabase;

fn main() {
    let steps: u64 = std::env::args()
        .nth(1)
        .map_or(1_000_000, |text| text.parse().expect("a number of steps"));
    measure("sqlite", &TestDatabase::sqlite(), steps);
    if std::env::var_os("TEST_DATABASE_URL").is_some() {
        measure("postgres", &TestDatabase::postgres(), steps);
    }
}

fn measure(name: &str, database: &TestDatabase, steps: u64) {
    let store = database.open();
    let id = RunId::new();
    let config = RunConfig::from_toml(
        "[model]\npath = \"m\"\n[data]\npath = \"d\"\n[train]\noutput = \"o\"\n",
        &[],
    )
    .expect("the config is valid");
    let new = NewRun {
        id,
        name: name.to_owned(),
        config,
    };
    store.create_run(&new).expect("a run can be queued");
    let claim = store
        .claim_run("measure", Duration::from_secs(3600))
        .expect("the queue answers")
        .expect("a run waits");
    let events: Vec<RunEvent> = (1..=steps)
        .map(|step| RunEvent::Step {
            step,
            epoch: step as f64 / 1e3,
            loss: if step == steps / 3 {
                1e6
            } else {
                1.0 / step as f64
            },
            learning_rate: 1e-4,
            grad_norm: 0.5,
            supervised_tokens: 512,
            tokens_per_second: 1e3,
            process_rank: None,
            metrics: Default::default(),
        })
        .collect();
    let begun = Instant::now();
    for batch in events.chunks(1000) {
        store
            .append_events(&claim, batch)
            .expect("the batch is written");
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{name}: {steps} steps in {took:.1} s: {:.0} steps/s, {:.0} points/s",
        steps as f64 / took,
        5.0 * steps as f64 / took
    );
    for max_points in [500, 2_000, 10_000] {
        let begun = Instant::now();
        let points = store.metrics(id, "loss", max_points).expect("a curve");
        let highest = points.iter().map(|point| point.value).fold(0.0, f64::max);
        println!(
            "{name}: a curve of {steps} as {} points in {:.1} ms, highest {highest}",
            points.len(),
            begun.elapsed().as_secs_f64() * 1e3
        );
    }
    let begun = Instant::now();
    let beats = 200;
    for _ in 0..beats {
        store
            .heartbeat(&claim, Duration::from_secs(3600))
            .expect("the lease holds");
    }
    println!(
        "{name}: a heartbeat in {:.2} ms",
        begun.elapsed().as_secs_f64() * 1e3 / f64::from(beats)
    );
}
