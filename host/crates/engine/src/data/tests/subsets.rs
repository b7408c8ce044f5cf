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
