//! Several datasets that are learned from together.

use std::{collections::BTreeMap, fs, path::Path};

use domain::{DataConfig, DataFormat, MixedData};
use serde_json::json;
use tempfile::TempDir;

use super::{all, learned, load, model};
use crate::data::{Sample, Stream, load_pairs};

/// A file of ten rows with other letters in each.
fn rows(folder: &Path, name: &str, row: impl Fn(char) -> serde_json::Value) -> String {
    let path = folder.join(name);
    let rows = ('a'..='j').map(|letter| row(letter).to_string() + "\n");
    fs::write(&path, rows.collect::<String>()).unwrap();
    path.display().to_string()
}

fn mixed(folder: &TempDir) -> DataConfig {
    let path = rows(
        folder.path(),
        "pairs.jsonl",
        |letter| json!({"prompt": format!("say {letter}"), "completion": format!(" {letter}")}),
    );
    let other = rows(
        folder.path(),
        "docs.jsonl",
        |letter| json!({"body": format!("def {letter}(): return 1")}),
    );
    let docs = MixedData {
        path: Some(other),
        format: DataFormat::Text,
        columns: BTreeMap::from([("text".into(), "body".into())]),
        ..MixedData::default()
    };
    DataConfig {
        path: Some(path),
        mix: BTreeMap::from([("docs".into(), docs)]),
        ..DataConfig::default()
    }
}

#[test]
fn datasets_of_different_shapes_are_learned_from_together() {
    let folder = tempfile::tempdir().unwrap();
    let data = load(&mixed(&folder), model(), 7).unwrap();
    assert_eq!(data.train.len(), 20);
    assert_eq!(learned(&data.train[0]), " a<|endoftext|>");
    assert_eq!(all(&data.train[10]), "def a(): return 1<|endoftext|>");
    let report = &data.report;
    assert_eq!((report.rows, report.train_samples), (20, 20));
    let counted: usize = report.lengths.iter().map(|bin| bin.rows).sum();
    assert_eq!(counted, 20);
    assert_eq!(report.notes, ["data.mix.docs: 10 to train on, 0 held out"]);
}

#[test]
fn each_dataset_has_its_number_of_samples_and_its_held_out_share() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = mixed(&folder);
    config.eval_split = 0.2;
    config.num_samples = Some(4);
    config.mix.get_mut("docs").unwrap().num_samples = Some(20);
    let data = load(&config, model(), 7).unwrap();
    let is_document = |sample: &&crate::data::Sample| all(sample).starts_with("def");
    assert_eq!((data.train.len(), data.eval.len()), (24, 4));
    assert_eq!(data.train.iter().filter(is_document).count(), 20);
    assert_eq!(data.eval.iter().filter(is_document).count(), 2);
    for held_out in &data.eval {
        assert!(!data.train.contains(held_out), "{:?}", all(held_out));
    }
    assert_eq!(load(&config, model(), 7).unwrap().train, data.train);

    // A file to evaluate on is all that is held out.
    config.eval_path = config.path.clone();
    let data = load(&config, model(), 7).unwrap();
    assert_eq!((data.train.len(), data.eval.len()), (24, 10));
    assert_eq!(data.eval.iter().filter(is_document).count(), 0);
}

#[test]
fn pairs_are_mixed_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        rows(
            folder.path(),
            name,
            |letter| json!({"prompt": "say", "chosen": format!(" {letter}"), "rejected": " no"}),
        )
    };
    let further = MixedData {
        path: Some(file("b.jsonl")),
        num_samples: Some(3),
        ..MixedData::default()
    };
    let config = DataConfig {
        path: Some(file("a.jsonl")),
        mix: BTreeMap::from([("b".into(), further)]),
        ..DataConfig::default()
    };
    let mut said = Vec::new();
    let (train, _) = load_pairs(&config, model(), 7, &mut |line| said.push(line)).unwrap();
    assert_eq!(train.len(), 13);
    assert_eq!(said, ["data.mix.b: 3 to train on, 0 held out"]);
}

#[test]
fn a_description_of_llama_factory_says_how_many_samples_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    rows(
        folder.path(),
        "a.jsonl",
        |letter| json!({"instruction": "say", "output": letter.to_string()}),
    );
    let described = json!({"a": {"file_name": "a.jsonl", "num_samples": 4}});
    fs::write(
        folder.path().join("dataset_info.json"),
        described.to_string(),
    )
    .unwrap();
    let mut config = DataConfig {
        path: Some(folder.path().display().to_string()),
        dataset: Some("a".into()),
        ..DataConfig::default()
    };
    assert_eq!(load(&config, model(), 7).unwrap().train.len(), 4);
    config.num_samples = Some(6);
    assert_eq!(load(&config, model(), 7).unwrap().train.len(), 6);
    config.streaming = true;
    config.num_samples = None;
    let refused = crate::data::Stream::open(&config, model(), 7);
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("data.num_samples"), "{message}");
}

#[test]
fn a_stream_of_several_datasets_gives_each_row_once_and_all_of_them_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = mixed(&folder);
    config.shuffle = false;
    config.shuffle_buffer = 4;
    let held: Vec<Sample> = load(&config, model(), 7).unwrap().train;
    let mut stream = Stream::open(&config, model(), 7).unwrap();
    for _ in 0..2 {
        let mut pass: Vec<Sample> = Vec::new();
        while pass.len() < 20 {
            let (taken, _) = stream.take(3).unwrap();
            pass.extend(taken.into_iter().flatten());
        }
        assert_eq!(pass.len(), 20);
        assert!(held.iter().all(|sample| pass.contains(sample)));
        let is_document = |sample: &&Sample| all(sample).starts_with("def");
        for part in pass.chunks(5) {
            let documents = part.iter().filter(is_document).count();
            assert!((1..5).contains(&documents), "{documents} of five");
        }
    }
    assert!(stream.is_at_end().unwrap());

    // What the stream is a function of tells one mix from another.
    let digest = stream.digest().unwrap();
    config.mix.clear();
    let alone = Stream::open(&config, model(), 7).unwrap();
    assert_ne!(alone.digest().unwrap(), digest);
}

#[test]
fn what_was_held_out_of_a_further_dataset_is_evaluated_on_in_memory_and_in_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = mixed(&folder);
    config.eval_path = config.path.clone();
    let docs = config.mix.get_mut("docs").unwrap();
    docs.eval_path = docs.path.clone();
    let eval = load(&config, model(), 7).unwrap().eval;
    assert_eq!(eval.len(), 20);
    let stream = Stream::open(&config, model(), 7).unwrap();
    assert_eq!(stream.held_out().unwrap(), eval);
}

#[test]
fn a_number_of_samples_of_a_further_dataset_is_refused_in_a_stream_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    rows(
        folder.path(),
        "a.jsonl",
        |letter| json!({"instruction": "say", "output": letter.to_string()}),
    );
    let described = json!({"a": {"file_name": "a.jsonl", "num_samples": 4}});
    let info = folder.path().join("dataset_info.json");
    fs::write(info, described.to_string()).unwrap();
    let mut config = mixed(&folder);
    config.mix.get_mut("docs").unwrap().path = Some(folder.path().display().to_string());
    config.mix.get_mut("docs").unwrap().format = DataFormat::Auto;
    config.mix.get_mut("docs").unwrap().columns.clear();
    let message = Stream::open(&config, model(), 7).err().unwrap().to_string();
    assert!(message.contains("data.mix.docs.num_samples"), "{message}");
}
