//! Whole curations, with curators made here and with those that are shipped.

mod fake;
mod held_out;
mod shipped;

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use curation::{
    Curator, Error, InputRow, Options, Outcome, Pipeline, Report, Standing, curate, standing,
    summary,
};
use serde_json::{Value, json};

use fake::Fake;

/// A row of a text.
pub(crate) fn row(number: usize, text: &str) -> InputRow {
    let Value::Object(fields) = json!({ "id": number, "text": text }) else {
        unreachable!("made as an object")
    };
    InputRow {
        fields,
        origin: format!("row {number}"),
        misfit: None,
        is_apart: false,
    }
}

fn rows(texts: impl IntoIterator<Item = String>) -> Vec<InputRow> {
    let texts = texts.into_iter().enumerate();
    texts.map(|(number, text)| row(number, &text)).collect()
}

/// Some of everything: what stays, goes, changes, fails and repeats.
fn mixed(count: usize) -> Vec<InputRow> {
    rows((0..count).map(|n| match n % 11 {
        3 => format!("drop {n}"),
        5 => format!("rewrite {n}"),
        7 => format!("trap {n}"),
        9 => format!("plain {}", n - 9),
        10 => format!("like {}", n % 3),
        _ => format!("plain {n}"),
    }))
}

pub(crate) fn pipeline(plugins: &[&str]) -> Pipeline {
    let tables: Vec<String> = plugins
        .iter()
        .map(|name| format!("[[plugins]]\nname = {name:?}\n"))
        .collect();
    Pipeline::parse(&tables.join("")).unwrap()
}

pub(crate) fn options(out: &Path) -> Options<'_> {
    Options {
        out,
        memory: None,
        threads: 2,
        input: "test",
        total_bytes: None,
    }
}

pub(crate) fn run(
    curators: &[&dyn Curator],
    rows: Vec<InputRow>,
    options: &Options<'_>,
) -> Result<Report, Error> {
    let names: Vec<&str> = curators.iter().map(|curator| curator.name()).collect();
    let rows = rows.into_iter().map(Ok);
    let stop = AtomicBool::new(false);
    match curate(&pipeline(&names), curators, rows, options, &stop, |_| {})? {
        Outcome::Finished(report) => Ok(report),
        stopped @ Outcome::Stopped { .. } => panic!("{stopped:?}"),
    }
}

/// Every file of an output, by name.
pub(crate) fn output(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_row_is_kept_dropped_or_rewritten_and_its_way_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    let texts = [
        "plain a",
        "drop b",
        "rewrite c",
        "trap d",
        "plain a",
        "like 1",
        "like 1!",
    ];
    let report = run(
        &[&fake],
        rows(texts.map(str::to_owned)),
        &options(folder.path()),
    )
    .unwrap();
    assert_eq!(
        (report.rows, report.kept, report.rewritten, report.dropped),
        (7, 3, 1, 4)
    );
    assert_eq!((report.exact_duplicates, report.near_duplicates), (1, 1));
    let step = &report.steps[0];
    assert_eq!(
        (
            step.seen,
            step.kept,
            step.dropped,
            step.rewritten,
            step.failed
        ),
        (6, 3, 1, 1, 1)
    );
    assert_eq!(step.reasons["told-to"].rows, 1);
    assert_eq!(step.reasons["told-to"].examples[0].excerpt, "drop b");
    assert_eq!(step.reasons["failed"].examples[0].message, "trap: told to");
    let data = lines(&folder.path().join("data.jsonl"));
    assert_eq!(
        data,
        [
            json!({"id": 0, "text": "plain a"}),
            json!({"id": 2, "text": "CHANGED c"}),
            json!({"id": 5, "text": "like 1"})
        ]
    );
    let ways = lines(&folder.path().join("provenance.jsonl"));
    assert_eq!(ways.len(), 7);
    let decisions: Vec<&str> = ways
        .iter()
        .map(|way| way["decision"].as_str().unwrap())
        .collect();
    assert_eq!(
        decisions,
        ["keep", "drop", "rewrite", "drop", "drop", "keep", "drop"]
    );
    assert_eq!(ways[1]["by"], "fake");
    assert_eq!(ways[1]["reason"]["code"], "told-to");
    assert_eq!(ways[3]["reason"]["code"], "failed");
    assert_eq!(ways[4]["by"], "exact-duplicates");
    assert_eq!(
        (&ways[0]["row"], &ways[4]["duplicate_of"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(ways[6]["duplicate_of"], 6);
    assert_eq!(ways[2]["output_row"], 2);
    assert_eq!(ways[2]["steps"][0]["fuel"], 9);
    assert_eq!(ways[2]["steps"][0]["digest"], fake.digest()[..16]);
    let about: Value =
        serde_json::from_slice(&fs::read(folder.path().join("curation.json")).unwrap()).unwrap();
    assert_eq!(about["plugins"][0]["digest"], fake.digest());
}

#[test]
fn the_output_is_the_same_bit_for_bit_for_any_number_of_threads() {
    let outputs: Vec<_> = [1, 2, 7]
        .into_iter()
        .map(|threads| {
            let folder = tempfile::tempdir().unwrap();
            let fake = Fake::new("fake");
            let options = Options {
                threads,
                ..options(folder.path())
            };
            run(&[&fake], mixed(20_000), &options).unwrap();
            output(folder.path())
        })
        .collect();
    assert_eq!(outputs[0].len(), 4);
    assert!(outputs.iter().all(|output| *output == outputs[0]));
}

#[test]
fn a_second_run_asks_no_plugin_and_gives_the_same() {
    let memory = tempfile::tempdir().unwrap();
    let again = || {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new("fake");
        let options = Options {
            memory: Some(memory.path()),
            ..options(folder.path())
        };
        crate::run(&[&fake], mixed(5000), &options).unwrap();
        (output(folder.path()), fake.asked.load(Ordering::Relaxed))
    };
    let (first, asked) = again();
    assert!(asked > 3000);
    assert_eq!(again(), (first, 0));
}

#[test]
fn what_a_limit_ended_or_nobody_answered_is_asked_again() {
    let memory = tempfile::tempdir().unwrap();
    let asked = |name: &str, is_alone| {
        let folder = tempfile::tempdir().unwrap();
        let mut fake = Fake::new(name);
        fake.is_alone = is_alone;
        let options = Options {
            memory: Some(memory.path()),
            ..options(folder.path())
        };
        let texts = ["plain 1", "slow 2", "trap 3", "busy 4"];
        crate::run(&[&fake], rows(texts.map(str::to_owned)), &options).unwrap();
        fake.asked.load(Ordering::Relaxed)
    };
    assert_eq!((asked("fake", true), asked("fake", true)), (4, 1));
    assert_eq!((asked("lent", false), asked("lent", false)), (4, 3));
}

#[test]
fn a_stopped_run_goes_on_and_ends_as_if_it_had_not_been_stopped() {
    let whole = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    run(&[&fake], mixed(30_000), &options(whole.path())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let outcome = curate(
        &pipeline(&["fake"]),
        &[&fake],
        mixed(30_000).into_iter().map(Ok),
        &options(folder.path()),
        &stop,
        |progress| stop.store(progress.rows > 10_000, Ordering::Relaxed),
    );
    assert_eq!(outcome.unwrap(), Outcome::Stopped { rows: 16_384 });
    assert!(!folder.path().join("data.jsonl").exists());
    // What a crash wrote after the last state does not count.
    let data = folder.path().join(".curation/data.jsonl");
    let mut bytes = fs::read(&data).unwrap();
    bytes.extend_from_slice(b"{\"half");
    fs::write(&data, bytes).unwrap();
    let asked = fake.asked.load(Ordering::Relaxed);
    run(&[&fake], mixed(30_000), &options(folder.path())).unwrap();
    assert!(fake.asked.load(Ordering::Relaxed) - asked < 15_000);
    assert_eq!(output(folder.path()), output(whole.path()));
}

#[test]
fn a_stopped_run_does_not_go_on_with_another_input_or_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    let stop = AtomicBool::new(false);
    let stop_early = |_: &curation::Progress| stop.store(true, Ordering::Relaxed);
    curate(
        &pipeline(&["fake"]),
        &[&fake],
        mixed(30_000).into_iter().map(Ok),
        &options(folder.path()),
        &stop,
        stop_early,
    )
    .unwrap();
    let mut changed = mixed(30_000);
    changed[17] = row(17, "something else");
    let refusal = |curators: &[&dyn Curator], rows| {
        let error = run(curators, rows, &options(folder.path()));
        error.unwrap_err().to_string()
    };
    assert!(refusal(&[&fake], changed).contains("the input has changed"));
    assert!(refusal(&[&fake], mixed(100)).contains("the input has"));
    let other = Fake::new("other");
    assert!(refusal(&[&other], mixed(30_000)).contains("another curation"));
    run(&[&fake], mixed(30_000), &options(folder.path())).unwrap();
    assert!(refusal(&[&fake], mixed(30_000)).contains("is there already"));
}

#[test]
fn rows_without_a_text_are_misfits_that_go_and_the_others_are_curated() {
    let without = |number: usize, value: Value| {
        let mut row = row(number, "");
        row.fields.insert("text".to_owned(), value);
        row
    };
    let mut missing = row(5, "");
    missing.fields.remove("text");
    // An empty text is a text: it is the plugins' to judge.
    let all = vec![
        row(1, "plain a"),
        without(2, Value::Null),
        without(3, json!(7)),
        without(4, json!([])),
        missing,
        row(6, ""),
        row(7, "drop b"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    let report = run(&[&fake], all.clone(), &options(folder.path())).unwrap();
    assert_eq!((report.rows, report.kept, report.dropped), (7, 2, 5));
    assert_eq!(report.exact_duplicates, 0);
    assert_eq!(fake.asked.load(Ordering::Relaxed), 3);
    let misfits = report.misfits.unwrap();
    assert_eq!(
        (misfits.rows, misfits.without_text, misfits.first),
        (4, 4, 2)
    );
    assert_eq!(misfits.origin, "row 2");
    assert!(misfits.message.contains("(id, text)"), "{misfits:?}");
    let ways = lines(&folder.path().join("provenance.jsonl"));
    assert_eq!(
        (&ways[4]["row"], &ways[4]["origin"]),
        (&json!(5), &json!("row 5"))
    );
    assert_eq!(
        (&ways[4]["decision"], &ways[4]["by"]),
        (&json!("drop"), &json!("no-text"))
    );
    assert!(ways[4]["misfit"].as_str().unwrap().contains("(id)"));
    // The folder is known again.
    let rows = all.into_iter().map(Ok);
    let found = standing(folder.path(), &pipeline(&["fake"]), &[&fake], rows, "test");
    assert_eq!(found.unwrap(), Standing::Done);
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    let rows = [Ok(row(0, "x")), Err("a.jsonl line 2: no JSON".to_owned())];
    let outcome = curate(
        &pipeline(&["fake"]),
        &[&fake],
        rows.into_iter(),
        &options(folder.path()),
        &AtomicBool::new(false),
        |_| {},
    );
    assert_eq!(outcome.unwrap_err().to_string(), "a.jsonl line 2: no JSON");
}

#[test]
fn rows_that_do_not_fit_the_format_are_counted_and_go_through_all_the_same() {
    let misfit = |number| InputRow {
        misfit: Some("does not fit".to_owned()),
        ..row(number, &format!("plain {number}"))
    };
    let all: Vec<InputRow> = (0..20_000)
        .map(|number| match number % 1000 {
            7 => misfit(number),
            _ => row(number, &format!("plain {number}")),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let report = run(&[&Fake::new("fake")], all, &options(folder.path())).unwrap();
    assert_eq!(report.kept, 20_000);
    let misfits = report.misfits.unwrap();
    assert_eq!(
        (misfits.rows, misfits.without_text, misfits.first),
        (20, 0, 8)
    );
    assert_eq!(
        (misfits.origin.as_str(), misfits.message.as_str()),
        ("row 7", "does not fit")
    );
    // Of a dataset without one, the report is as it was before there was such a thing.
    let folder = tempfile::tempdir().unwrap();
    run(&[&Fake::new("fake")], mixed(10), &options(folder.path())).unwrap();
    let text = fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert!(!text.contains("misfits"), "{text}");
}

#[test]
fn a_dataset_of_which_no_row_fits_the_format_is_refused_before_any_plugin_sees_it() {
    let all: Vec<InputRow> = (3..20_000)
        .map(|number| InputRow {
            misfit: Some("does not fit the format messages".to_owned()),
            ..row(number, "plain")
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    let refusal = run(&[&fake], all, &options(folder.path()))
        .unwrap_err()
        .to_string();
    for part in [
        "row 3 does not fit the format messages",
        "first 8192 rows",
        "auto",
        "columns.text",
    ] {
        assert!(refusal.contains(part), "{refusal}");
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn rows_on_which_a_plugin_fails_stay_where_the_pipeline_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    let text = "[[plugins]]\nname = \"fake\"\non_error = \"keep\"";
    let outcome = curate(
        &Pipeline::parse(text).unwrap(),
        &[&fake],
        [Ok(row(0, "trap"))].into_iter(),
        &options(folder.path()),
        &AtomicBool::new(false),
        |_| {},
    );
    let Outcome::Finished(report) = outcome.unwrap() else {
        panic!("nobody stopped it")
    };
    assert_eq!((report.kept, report.steps[0].failed), (1, 1));
}

#[test]
fn rows_whose_texts_stand_in_lists_are_no_more_at_a_time_than_others() {
    let folder = tempfile::tempdir().unwrap();
    let rows = (0..40).map(|number: usize| {
        let text = format!("plain {number} {}", "x".repeat(1 << 20));
        let fields = json!({ "files": [{ "path": "a.py", "text": text }] });
        Ok(InputRow {
            fields: fields.as_object().unwrap().clone(),
            ..row(number, "")
        })
    });
    let mut waves = Vec::new();
    let outcome = curate(
        &pipeline(&["fake"]),
        &[&Fake::new("fake")],
        rows,
        &options(folder.path()),
        &AtomicBool::new(false),
        |progress| waves.push(progress.rows),
    );
    assert!(matches!(outcome.unwrap(), Outcome::Finished(_)));
    assert_eq!(waves, [32, 40]);
}

#[test]
fn progress_says_how_far_it_is_and_how_long_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new("fake");
    let seen = RefCell::new(Vec::new());
    let options = Options {
        total_bytes: Some(1 << 30),
        ..options(folder.path())
    };
    curate(
        &pipeline(&["fake"]),
        &[&fake],
        mixed(20_000).into_iter().map(Ok),
        &options,
        &AtomicBool::new(false),
        |progress| seen.borrow_mut().push(*progress),
    )
    .unwrap();
    let seen = seen.into_inner();
    let rows: Vec<u64> = seen.iter().map(|progress| progress.rows).collect();
    assert_eq!(rows, [8192, 16_384, 20_000]);
    assert!(
        seen.iter()
            .all(|progress| progress.left.unwrap() > progress.elapsed)
    );
}

#[test]
fn a_folder_tells_whether_it_holds_this_curation_or_another() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (one, other) = (Fake::new("one"), Fake::new("other"));
    let stands = |curator: &Fake, rows: Vec<InputRow>| {
        let rows = rows.into_iter().map(Ok);
        let pipeline = pipeline(&[curator.name()]);
        standing(&out, &pipeline, &[curator], rows, "test").unwrap()
    };
    assert_eq!(stands(&one, mixed(50)), Standing::Open);
    let report = run(&[&one], mixed(50), &options(&out)).unwrap();
    assert_eq!(stands(&one, mixed(50)), Standing::Done);
    // Other rows, fewer rows, another plugin, changed data.
    assert_eq!(
        stands(&one, rows((0..50).map(|n| n.to_string()))),
        Standing::Other
    );
    assert_eq!(stands(&one, mixed(49)), Standing::Other);
    assert_eq!(stands(&other, mixed(50)), Standing::Other);
    let found = summary(&out).unwrap();
    assert_eq!((found.rows, found.kept), (50, report.kept));
    assert_eq!(found.steps[0].dropped, report.steps[0].dropped);
    assert_eq!(found.pipeline.len(), 64);
    fs::write(out.join("data.jsonl"), "{}\n").unwrap();
    assert_eq!(stands(&one, mixed(50)), Standing::Other);
}

#[test]
fn the_half_of_a_curation_is_open_to_itself_only() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let one = Fake::new("one");
    let all = mixed(20_000);
    let stop = AtomicBool::new(false);
    let stopped = curate(
        &pipeline(&["one"]),
        &[&one],
        all.clone().into_iter().map(Ok),
        &options(&out),
        &stop,
        |_| stop.store(true, Ordering::Relaxed),
    );
    assert!(matches!(stopped, Ok(Outcome::Stopped { rows: 1.. })));
    let stands = |rows: Vec<InputRow>| {
        standing(
            &out,
            &pipeline(&["one"]),
            &[&one],
            rows.into_iter().map(Ok),
            "test",
        )
        .unwrap()
    };
    let mut changed = all.clone();
    changed[3] = row(3, "another");
    assert_eq!(stands(all), Standing::Open);
    assert_eq!(stands(changed), Standing::Other);
}
