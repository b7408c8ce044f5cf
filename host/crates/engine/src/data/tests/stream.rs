//! Data that is read while training goes on.

use std::{collections::BTreeSet, fs};

use domain::DataConfig;

use super::{model, numbered_rows};
use crate::data::{Sample, Stream, load};

/// All rows of a batch of `epochs` passes, `count` at a time.
fn drawn(config: &DataConfig, seed: u64, count: usize, rows: usize) -> Vec<Vec<Sample>> {
    let mut stream = Stream::open(config, model(), seed).unwrap();
    let mut all = Vec::new();
    while all.len() < rows {
        all.extend(stream.take(count).unwrap().0);
    }
    all
}

#[test]
fn every_pass_gives_each_sample_once_whatever_the_buffer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, numbered_rows(50)).unwrap();
    for (buffer, packing) in [(1, false), (7, false), (1000, false), (20, true)] {
        let config = DataConfig {
            path: Some(path.display().to_string()),
            shuffle_buffer: buffer,
            packing,
            max_seq_length: 32,
            ..DataConfig::default()
        };
        let held = load(&config, model(), 0).unwrap().train;
        let expected: BTreeSet<_> = held.into_iter().map(|sample| sample.input_ids).collect();
        let mut stream = Stream::open(&config, model(), 5).unwrap();
        let mut passes = Vec::new();
        for _ in 0..2 {
            let mut pass: Vec<Sample> = Vec::new();
            while pass.len() < 50 {
                for row in stream.take(3).unwrap().0 {
                    let tokens: usize = row.iter().map(|sample| sample.input_ids.len()).sum();
                    assert!(tokens <= 32 && (packing || row.len() == 1));
                    pass.extend(row);
                }
            }
            assert_eq!(pass.len(), 50);
            let ids: Vec<_> = pass.into_iter().map(|sample| sample.input_ids).collect();
            assert_eq!(ids.iter().cloned().collect::<BTreeSet<_>>(), expected);
            passes.push(ids);
        }
        assert_eq!(
            passes[0] == passes[1],
            buffer == 1,
            "each pass has an order of its own"
        );
        assert_eq!(drawn(&config, 5, 3, 60), drawn(&config, 5, 3, 60));
    }
}

#[test]
fn epochs_are_counted_and_no_step_reaches_into_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, numbered_rows(5)).unwrap();
    let config = DataConfig {
        path: Some(path.display().to_string()),
        shuffle_buffer: 2,
        ..DataConfig::default()
    };
    let mut stream = Stream::open(&config, model(), 0).unwrap();
    let steps: Vec<(usize, f64)> = (0..5)
        .map(|_| {
            let (rows, epoch) = stream.take(3).unwrap();
            (rows.len(), epoch)
        })
        .collect();
    assert_eq!(steps, [(3, 0.0), (2, 0.0), (3, 1.6), (2, 2.0), (3, 2.6)]);
}

#[test]
fn a_bad_row_is_met_when_it_is_read_and_a_set_without_labels_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, numbered_rows(4) + "{\"text\": 3}\n").unwrap();
    let config = DataConfig {
        path: Some(path.display().to_string()),
        shuffle_buffer: 2,
        ..DataConfig::default()
    };
    let mut stream = Stream::open(&config, model(), 0).unwrap();
    assert_eq!(stream.take(4).unwrap().0.len(), 4);
    let message = stream.take(4).unwrap_err().to_string();
    assert!(
        message.contains("line 5: field text: must be text"),
        "{message}"
    );
    fs::write(&path, "{\"prompt\": \"a\", \"completion\": \"\"}\n").unwrap();
    let error = Stream::open(&config, model(), 0).err().unwrap();
    assert_eq!(error.code(), "no_supervised_token");
}
