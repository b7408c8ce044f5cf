//! Subsets and splits of a folder on the disk.

use std::{fs, path::Path};

use domain::{DataConfig, DataFormat, MixedData};
use tempfile::TempDir;

use super::model;
use crate::data::{import, inspect, load, rows};

const CARD: &str = "---\nlicense: mit\nconfigs:\n- config_name: words\n  data_files:\n  - split: train\n    path: words/a.csv\n  \
    - split: test\n    path: words/b.csv\n- config_name: code\n  data_files: code/*.jsonl\n---\n# Words\n";

/// A folder as a dataset of the hub lies there.
fn dataset() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("README.md", CARD),
        ("words/a.csv", "text\none\ntwo\n"),
        ("words/b.csv", "text\nthree\n"),
        ("code/x.jsonl", "{\"text\": \"code\"}\n"),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn config(path: &Path, subset: Option<&str>, split: Option<&str>) -> DataConfig {
    DataConfig {
        path: Some(path.display().to_string()),
        subset: subset.map(str::to_owned),
        split: split.map(str::to_owned),
        ..DataConfig::default()
    }
}

fn texts(config: &DataConfig) -> Vec<String> {
    let rows = rows(config).unwrap();
    rows.map(|row| row.unwrap().0["text"].as_str().unwrap().to_owned())
        .collect()
}

fn refusal(config: &DataConfig) -> String {
    load(config, model(), 0).unwrap_err().to_string()
}

#[test]
fn a_folder_is_read_by_the_subset_and_the_split_that_are_named() {
    let folder = dataset();
    let read = |subset, split| texts(&config(folder.path(), Some(subset), split));
    assert_eq!(read("words", None), ["one", "two"]);
    assert_eq!(read("words", Some("test")), ["three"]);
    assert_eq!(read("words", Some("test+train")), ["three", "one", "two"]);
    assert_eq!(read("code", None), ["code"]);
    let found = inspect(
        folder.path(),
        &config(folder.path(), Some("words"), None),
        None,
        0,
    );
    let notes = found.unwrap().notes;
    assert_eq!(
        notes,
        ["split train of the subset words; beside it there are test"]
    );
    let out = folder.path().join("out.jsonl");
    let written = import(&config(folder.path(), Some("words"), Some("test")), &out).unwrap();
    assert_eq!((written.rows, written.files), (1, 1));
}

#[test]
fn what_is_not_there_or_has_to_be_named_is_refused_under_its_setting() {
    let folder = dataset();
    let path = folder.path();
    for (config, told) in [
        (config(path, None, None), "data.subset: "),
        (
            config(path, None, None),
            "is needed: README.md has words, code",
        ),
        (
            config(path, Some("prose"), None),
            "\"prose\" is not there; README.md has words, code",
        ),
        (config(path, Some("words"), Some("dev")), "data.split: "),
        (
            config(path, Some("words"), Some("dev")),
            "\"dev\" is not there; there are train, test",
        ),
        (
            config(&path.join("words/a.csv"), None, Some("test")),
            "is one file, whose only split is train",
        ),
        (
            config(&path.join("words/a.csv"), Some("words"), None),
            "data.subset: ",
        ),
    ] {
        let message = refusal(&config);
        assert!(message.contains(told), "{told}: {message}");
    }
    let mut tree = config(path, None, Some("train"));
    tree.format = DataFormat::SourceTree;
    let message = refusal(&tree);
    assert!(message.contains("source code has no splits"), "{message}");
    // As `load_dataset("csv", data_files=…, split="train")`.
    assert_eq!(
        texts(&config(&path.join("words/a.csv"), None, Some("train"))),
        ["one", "two"]
    );
}

#[test]
fn a_table_beside_its_description_is_read_and_not_the_description() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("README.md"), "# About\n").unwrap();
    fs::write(folder.path().join("rows.csv"), "text\none\n").unwrap();
    assert_eq!(texts(&config(folder.path(), None, None)), ["one"]);
    assert_eq!(texts(&config(folder.path(), None, Some("train"))), ["one"]);
}

#[test]
fn each_dataset_of_a_mix_has_a_subset_and_a_split_of_its_own_and_held_out_data_none() {
    let folder = dataset();
    let held_out = folder.path().join("held-out.jsonl");
    fs::write(&held_out, "{\"text\": \"held out\"}\n").unwrap();
    let mut all = config(folder.path(), Some("words"), Some("test"));
    all.eval_path = Some(held_out.display().to_string());
    let more = MixedData {
        path: all.path.clone(),
        subset: Some("words".into()),
        ..MixedData::default()
    };
    all.mix.insert("more".into(), more);
    let data = load(&all, model(), 0).unwrap();
    assert_eq!((data.train.len(), data.eval.len()), (3, 1));
}

#[test]
fn a_split_of_the_same_subset_is_held_out() {
    let folder = dataset();
    let mut held_out = config(folder.path(), Some("words"), None);
    held_out.test_split = Some("test".into());
    let data = load(&held_out, model(), 0).unwrap();
    assert_eq!((data.train.len(), data.eval.len()), (2, 1));
    held_out.test_split = Some("dev".into());
    let message = refusal(&held_out);
    assert!(message.contains("\"dev\" is not there"), "{message}");
}

#[test]
fn a_description_of_llama_factory_may_name_subset_and_split_of_a_folder() {
    let folder = dataset();
    let info = |split: &str| {
        format!(
            "{{\"words\": {{\"file_name\": \".\", \"subset\": \"words\", \"split\": \"{split}\", \"columns\": \
             {{\"prompt\": \"text\"}}}}}}"
        )
    };
    let file = folder.path().join("dataset_info.json");
    fs::write(&file, info("test")).unwrap();
    let mut described = config(folder.path(), None, None);
    described.dataset = Some("words".into());
    assert_eq!(texts(&described), ["three"]);
    // What a run says goes before it.
    described.split = Some("train".into());
    assert_eq!(texts(&described), ["one", "two"]);
}

/// A split in parts, and which rows the library `datasets` takes (`tests/fixtures/splits/make_splits.py`).
#[derive(serde::Deserialize)]
struct Slice {
    train: usize,
    test: usize,
    split: String,
    rows: Option<Vec<[usize; 2]>>,
}

#[test]
fn parts_of_splits_are_the_rows_that_the_library_datasets_takes() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/fixtures/splits/slices.json"
    );
    let cases: Vec<Slice> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() > 200);
    let folder = tempfile::tempdir().unwrap();
    for case in cases {
        let data = folder.path().join(format!("{}-{}", case.train, case.test));
        fs::create_dir_all(&data).unwrap();
        let all = case.train + case.test;
        for (name, numbers) in [("train", 0..case.train), ("test", case.train..all)] {
            let rows = numbers.map(|number| format!("{{\"text\": \"{number}\"}}\n"));
            fs::write(data.join(format!("{name}.jsonl")), rows.collect::<String>()).unwrap();
        }
        let config = config(&data, None, Some(&case.split));
        let found: Result<Vec<usize>, String> = match rows(&config) {
            Ok(rows) => Ok(rows
                .map(|row| row.unwrap().0["text"].as_str().unwrap().parse().unwrap())
                .collect()),
            Err(error) => Err(error.to_string()),
        };
        let told = format!("{} of {} and {}", case.split, case.train, case.test);
        match (case.rows, found) {
            (Some(runs), Ok(found)) => {
                let expected: Vec<usize> = runs.iter().flat_map(|[from, to]| *from..*to).collect();
                assert_eq!(found, expected, "{told}");
            }
            // The library refuses a part without rows when it reads it, and a run does when it learns from it.
            (None, Ok(found)) => assert!(found.is_empty(), "{told}: {found:?}"),
            (None, Err(message)) => assert!(message.contains("data.split"), "{message}"),
            (Some(_), Err(message)) => panic!("{told}: {message}"),
        }
    }
}

#[test]
fn one_part_of_a_split_is_trained_on_and_another_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    let rows = (0..20).map(|row| format!("{{\"text\": \"row {row}\"}}\n"));
    fs::write(&file, rows.collect::<String>()).unwrap();
    for path in [folder.path(), &file] {
        let mut parted = config(path, None, Some("train[:90%]"));
        parted.test_split = Some("train[-10%:]".into());
        let data = load(&parted, model(), 0).unwrap();
        assert_eq!((data.train.len(), data.eval.len()), (18, 2));
        for held_out in &data.eval {
            assert!(!data.train.contains(held_out));
        }
        parted.test_split = Some("train[-15%:]".into());
        let message = refusal(&parted);
        assert!(
            message.contains("data.test_split: = train[-15%:] would be trained on"),
            "{message}"
        );
    }
}

#[test]
fn what_is_held_out_is_not_said_to_be_left_out_and_never_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["train", "test", "valid", "more"] {
        let path = folder.path().join(format!("{name}.jsonl"));
        fs::write(path, format!("{{\"text\": \"{name}\"}}\n")).unwrap();
    }
    let mut held_out = config(folder.path(), None, None);
    held_out.test_split = Some("test".into());
    let data = load(&held_out, model(), 0).unwrap();
    assert_eq!((data.train.len(), data.eval.len()), (1, 1));
    assert_eq!(
        data.report.notes,
        ["split train; test is held out; beside it there are validation"]
    );
    // Without a file of train, what is in no split might be what is held out.
    fs::remove_file(folder.path().join("train.jsonl")).unwrap();
    let message = refusal(&held_out);
    assert!(
        message.contains("\"train\" is not there; there are"),
        "{message}"
    );
}
