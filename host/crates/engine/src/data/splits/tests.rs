use serde::Deserialize;
use std::collections::BTreeMap;

use super::{Refusal, Wanted, choose, without_slices};

/// A layout, and what the library `datasets` takes of it (`tests/fixtures/splits/make_splits.py`).
#[derive(Deserialize)]
struct Case {
    files: Vec<String>,
    card: Option<String>,
    subsets: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    default: Option<String>,
}

fn cases() -> Vec<Case> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/fixtures/splits/splits.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn wanted<'a>(subset: Option<&'a str>, split: Option<&'a str>) -> Wanted<'a> {
    Wanted { subset, split }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_subset_and_split_is_the_files_that_the_library_datasets_takes() {
    let cases = cases();
    assert!(cases.len() >= 12);
    for case in cases {
        let ask = |wanted| choose(&case.files, case.card.as_deref(), wanted);
        for (subset, splits) in &case.subsets {
            for (split, files) in splits {
                let found = ask(wanted(Some(subset), Some(split)));
                let found = found.unwrap().unwrap().names();
                assert_eq!(&found, files, "{subset} {split} of {:?}", case.files);
            }
            let other = ask(wanted(Some(subset), Some("nowhere"))).unwrap_err();
            let Refusal::Split(message) = other else {
                panic!("{other:?}");
            };
            for split in splits.keys() {
                assert!(message.contains(split), "{message}");
            }
        }
        let usual = ask(wanted(None, Some("nowhere"))).unwrap_err();
        match &case.default {
            Some(_) => assert!(matches!(usual, Refusal::Split(_)), "{usual:?}"),
            None => {
                let Refusal::Subset(message) = usual else {
                    panic!("{usual:?}");
                };
                let every = case.subsets.keys().all(|name| message.contains(name));
                assert!(every, "{message}");
            }
        }
    }
}

#[test]
fn without_a_word_it_is_train_of_the_default_subset_or_the_folders_own_rule() {
    let card = "---\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: a.jsonl\n  - split: test\n    \
                path: b.jsonl\n---\n";
    let files = names(&["a.jsonl", "b.jsonl", "c.jsonl"]);
    let chosen = choose(&files, Some(card), Wanted::default());
    let chosen = chosen.unwrap().unwrap();
    assert_eq!(chosen.names(), ["a.jsonl"]);
    assert_eq!(
        chosen.said(None),
        "split train of the subset a; beside it there are test"
    );
    assert_eq!(
        chosen.said(Some("test[:50%]")),
        "split train of the subset a; test[:50%] is held out"
    );
    for card in [None, Some("# Words"), Some("---\nlicense: mit\n---\n")] {
        assert_eq!(choose(&files, card, Wanted::default()), Ok(None));
    }
    // Only one: there is nothing to choose.
    let only_test = card.replace("split: train", "split: gen");
    let refused = choose(&files, Some(&only_test), Wanted::default()).unwrap_err();
    assert_eq!(
        refused,
        Refusal::Split("is needed: there are gen, test".into())
    );
}

#[test]
fn several_splits_are_read_one_behind_the_other_and_their_files_are_fetched_once() {
    let files = names(&["test.jsonl", "train.jsonl", "valid.jsonl"]);
    let chosen = |split| choose(&files, None, wanted(None, Some(split)));
    let both = chosen("validation + train").unwrap().unwrap();
    assert_eq!(both.names(), ["valid.jsonl", "train.jsonl"]);
    let parts = chosen("train[:10%]+test+train[-10%:]").unwrap().unwrap();
    assert_eq!(parts.parts.len(), 3);
    assert_eq!(parts.names(), ["train.jsonl", "test.jsonl"]);
    for (split, files_of) in [
        ("train", "train"),
        ("train[:10%]", "train"),
        ("train[:10%]+test+train[-10%:]", "train+test"),
    ] {
        assert_eq!(without_slices(split), files_of);
    }
    let part = chosen("train[:10").unwrap_err();
    assert!(matches!(part, Refusal::Split(message) if message.contains("train[:10%]")));
}

#[test]
fn a_subset_that_is_not_there_is_refused_with_those_that_are() {
    let files = names(&["a.jsonl"]);
    let none = choose(&files, None, wanted(Some("main"), None)).unwrap_err();
    assert!(matches!(none, Refusal::Subset(message) if message.contains("declares no subsets")));
    let card = "---\nconfigs:\n- config_name: one\n- config_name: two\n---\n";
    let other = choose(&files, Some(card), wanted(Some("main"), None)).unwrap_err();
    assert!(matches!(other, Refusal::Subset(message) if message.contains("one, two")));
}

#[test]
fn a_card_that_cannot_be_followed_is_refused_with_its_place() {
    let files = names(&["a.csv"]);
    for (configs, told) in [
        ("configs: {a: [", "YAML"),
        ("configs: train", "YAML"),
        ("configs:\n- data_files: a.csv", "config_name"),
        (
            "configs:\n- config_name: a\n- config_name: a",
            "a is there twice",
        ),
        (
            "configs:\n- config_name: a\n  data_files: ../b.csv",
            "leads out",
        ),
        (
            "configs:\n- config_name: a\n  data_files: hf://b/c.csv",
            "leads out",
        ),
        ("configs:\n- config_name: a\n  data_dir: /etc", "leads out"),
        (
            "configs:\n- config_name: a\n  data_files:\n  - path: a.csv",
            "no name",
        ),
        (
            "configs:\n- config_name: a\n  data_files:\n  - split: train",
            "no path",
        ),
        (
            "configs:\n- config_name: a\n  sep: \"|\"",
            "sep cannot be done",
        ),
        (
            "configs:\n- config_name: a\n  default: true\n- config_name: default",
            "are the default",
        ),
        (
            "configs:\n- config_name: a\n  data_files: \"[z-a].csv\"",
            "data_files",
        ),
    ] {
        let card = format!("---\n{configs}\n---\n");
        let refused = choose(&files, Some(&card), Wanted::default()).unwrap_err();
        let (field, message) = refused.at("data.path");
        assert_eq!(field, "data.path", "{configs}: {message}");
        assert!(message.contains(told), "{configs}: {message}");
    }
    // One that declares no subsets is nobody's business.
    let card = "---\ntitle: {{ page }}\n---\n";
    assert_eq!(choose(&files, Some(card), Wanted::default()), Ok(None));
}

#[test]
fn aliases_that_would_fill_the_memory_are_refused() {
    let mut card = "---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        card += &format!("a{level}: &a{level} [{before}]\n");
    }
    card += "configs:\n- config_name: a\n  data_files: *a11\n---\n";
    let refused = choose(&names(&["a.csv"]), Some(&card), Wanted::default()).unwrap_err();
    assert!(matches!(refused, Refusal::Card(_)), "{refused:?}");
}
