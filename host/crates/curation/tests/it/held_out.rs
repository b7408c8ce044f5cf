//! Rows that are held out, and steps that are for the others alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use curation::{
    Curator, InputRow, Options, Outcome, Pipeline, Report, Standing, curate, standing, summary,
};
use serde_json::Value;

use crate::fake::Fake;
use crate::{lines, options, output, row};

/// Rows that a step drops, rewrites and keeps.
fn mixed(count: usize) -> Vec<InputRow> {
    let text = |n: usize| match n % 5 {
        1 => format!("drop {n}"),
        2 | 3 => format!("rewrite {n}"),
        _ => format!("plain {n}"),
    };
    (0..count).map(|n| row(n, &text(n))).collect()
}

fn pipeline(seed: u64) -> Pipeline {
    let text = format!(
        "hold_out = {{ share = 0.25, seed = {seed} }}\n\
         [[plugins]]\nname = 'nonsense'\nonly = 'train'\n[[plugins]]\nname = 'clean'\n"
    );
    Pipeline::parse(&text).unwrap()
}

fn run(seed: u64, curators: [&Fake; 2], count: usize, options: &Options<'_>) -> Report {
    let stop = AtomicBool::new(false);
    let rows = mixed(count).into_iter().map(Ok);
    let curators = curators.map(|curator| curator as &dyn Curator);
    match curate(&pipeline(seed), &curators, rows, options, &stop, |_| {}).unwrap() {
        Outcome::Finished(report) => report,
        stopped @ Outcome::Stopped { .. } => panic!("{stopped:?}"),
    }
}

fn texts(path: &Path) -> Vec<(u64, String)> {
    let rows = lines(path).into_iter();
    rows.map(|row| {
        (
            row["id"].as_u64().unwrap(),
            row["text"].as_str().unwrap().to_owned(),
        )
    })
    .collect()
}

#[test]
fn what_is_held_out_goes_past_steps_for_training_and_through_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (nonsense, clean) = (Fake::new("nonsense"), Fake::new("clean"));
    let report = run(1, [&nonsense, &clean], 1000, &options(folder.path()));
    let ways = lines(&folder.path().join("provenance.jsonl"));
    // Rows are numbered from 1, their ids here from 0.
    let id_of = |way: &Value| way["row"].as_u64().unwrap() - 1;
    let held_out: BTreeSet<u64> = ways
        .iter()
        .filter(|way| way["held_out"] == true)
        .map(id_of)
        .collect();
    assert_eq!(held_out.len(), 250);
    assert_eq!(nonsense.asked.load(Ordering::Relaxed), 750);
    for way in &ways {
        let is_held_out = held_out.contains(&id_of(way));
        assert_eq!(way["steps"][0]["plugin"], "nonsense");
        assert_eq!(
            way["steps"][0]["decision"] == "passed by",
            is_held_out,
            "{way}"
        );
        // What one step drops the next does not see.
        let is_seen = is_held_out || way["steps"][0]["decision"] != "drop";
        assert_eq!(way["steps"][1]["plugin"] == "clean", is_seen, "{way}");
    }
    let (data, apart) = (
        texts(&folder.path().join("data.jsonl")),
        texts(&folder.path().join("held-out.jsonl")),
    );
    assert_eq!(
        (data.len() as u64, apart.len() as u64),
        (report.kept, report.held_out)
    );
    assert_eq!(report.kept + report.held_out + report.dropped, 1000);
    assert!(data.iter().all(|(id, _)| !held_out.contains(id)));
    assert!(apart.iter().all(|(id, _)| held_out.contains(id)));
    // A row is found again in its file by its number there.
    for way in ways.iter().filter(|way| way["output_row"].is_u64()) {
        let file = if way["held_out"] == true {
            &apart
        } else {
            &data
        };
        let found = &file[way["output_row"].as_u64().unwrap() as usize - 1];
        assert_eq!(id_of(way), found.0);
    }
    let steps = &report.steps;
    assert_eq!(
        (steps[0].seen, steps[1].seen),
        (750, 1000 - steps[0].dropped)
    );
    let found = summary(folder.path()).unwrap();
    assert_eq!((found.kept, found.held_out), (report.kept, report.held_out));
}

#[test]
fn one_seed_holds_out_the_same_rows_for_any_number_of_threads_and_another_others() {
    let made = |seed, threads| {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            threads,
            ..options(folder.path())
        };
        run(
            seed,
            [&Fake::new("nonsense"), &Fake::new("clean")],
            20_000,
            &options,
        );
        output(folder.path())
    };
    let first = made(1, 1);
    assert_eq!(first.len(), 5);
    assert!(made(1, 7) == first);
    assert!(made(2, 1) != first);
}

#[test]
fn a_stop_changes_nothing_of_what_is_held_out() {
    let (nonsense, clean) = (Fake::new("nonsense"), Fake::new("clean"));
    let whole = tempfile::tempdir().unwrap();
    run(1, [&nonsense, &clean], 20_000, &options(whole.path()));
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let stopped = curate(
        &pipeline(1),
        &[&nonsense, &clean],
        mixed(20_000).into_iter().map(Ok),
        &options(folder.path()),
        &stop,
        |_| stop.store(true, Ordering::Relaxed),
    );
    assert!(matches!(stopped, Ok(Outcome::Stopped { rows: 1.. })));
    run(1, [&nonsense, &clean], 20_000, &options(folder.path()));
    assert!(output(folder.path()) == output(whole.path()));
}

#[test]
fn a_folder_whose_held_out_rows_were_changed_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (nonsense, clean) = (Fake::new("nonsense"), Fake::new("clean"));
    run(1, [&nonsense, &clean], 100, &options(&out));
    let stands = |seed| {
        let rows = mixed(100).into_iter().map(Ok);
        standing(&out, &pipeline(seed), &[&nonsense, &clean], rows, "test").unwrap()
    };
    assert_eq!((stands(1), stands(2)), (Standing::Done, Standing::Other));
    let path = out.join("held-out.jsonl");
    let rows: Vec<Value> = lines(&path);
    fs::write(&path, rows[0].to_string()).unwrap();
    assert_eq!(stands(1), Standing::Other);
}

/// A split to evaluate on, and rows of another that partly say the same.
fn with_a_split() -> Vec<InputRow> {
    let apart = [
        "drop a",
        "rewrite b",
        "trap c",
        "like 1",
        "plain d",
        "plain d",
    ];
    let trained = ["plain d", "like 1!", "plain e", "drop f", "rewrite g"];
    let all = apart.iter().chain(&trained).enumerate();
    all.map(|(number, text)| InputRow {
        is_apart: number < apart.len(),
        ..row(number, text)
    })
    .collect()
}

#[test]
fn a_split_to_evaluate_on_stays_as_it_is_and_what_repeats_it_is_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    let report = crate::run(&[&fake], with_a_split(), &options(folder.path())).unwrap();
    let texts_of = |name: &str| -> Vec<String> {
        let texts = texts(&folder.path().join(name)).into_iter();
        texts.map(|(_, text)| text).collect()
    };
    assert_eq!(
        texts_of("held-out.jsonl"),
        [
            "drop a",
            "rewrite b",
            "trap c",
            "like 1",
            "plain d",
            "plain d"
        ]
    );
    let rewritten = texts_of("data.jsonl");
    assert_eq!((rewritten.len(), rewritten[0].as_str()), (2, "plain e"));
    assert_ne!(rewritten[1], "rewrite g");
    assert_eq!((report.kept, report.held_out, report.dropped), (2, 6, 3));
    assert_eq!((report.exact_duplicates, report.near_duplicates), (1, 1));
    // Steps are counted by what they did to others.
    let step = &report.steps[0];
    assert_eq!((step.dropped, step.rewritten, step.failed), (1, 1, 0));
}

#[test]
fn which_rows_are_evaluated_on_decides_whether_a_folder_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let fake = Fake::new("fake");
    crate::run(&[&fake], with_a_split(), &options(&out)).unwrap();
    let stands = |rows: Vec<InputRow>| {
        let rows = rows.into_iter().map(Ok);
        standing(&out, &crate::pipeline(&["fake"]), &[&fake], rows, "test").unwrap()
    };
    assert_eq!(stands(with_a_split()), Standing::Done);
    let mut fewer = with_a_split();
    fewer[5].is_apart = false;
    assert_eq!(stands(fewer), Standing::Other);
}
