//! A folder of Axolotl's (`tests/fixtures/data/axolotl`, whose config.yml says what Axolotl is told of each file).

use std::path::{Path, PathBuf};

use domain::{DataConfig, DataFormat, TrainOn};

use super::{Data, all, chats::TEMPLATE, learned, load, model};
use crate::{Error, data::load_pairs};

fn config(file: &str) -> DataConfig {
    let folder: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/data/axolotl");
    DataConfig {
        path: Some(folder.join(file).display().to_string()),
        chat_template: Some(TEMPLATE.into()),
        train_on: TrainOn::Assistant,
        ..DataConfig::default()
    }
}

fn read(file: &str, change: impl FnOnce(&mut DataConfig)) -> Result<Data, Error> {
    let mut config = config(file);
    change(&mut config);
    load(&config, model(), 7)
}

/// Columns under other names: ours and theirs.
fn named(config: &mut DataConfig, names: &[(&str, &str)]) {
    for (ours, theirs) in names {
        config.columns.insert((*ours).into(), (*theirs).into());
    }
}

#[test]
fn chats_are_the_same_under_every_name_that_axolotl_gives_them() {
    let chat = read("chat.jsonl", |_| {}).unwrap();
    assert_eq!(chat.report.format, DataFormat::Messages);
    let first = &chat.train[0];
    assert_eq!(
        all(first),
        "<|im_start|>system\nAnswer in code.<|im_end|>\n<|im_start|>user\nAdd two numbers.<|im_end|>\n\
         <|im_start|>assistant\ndef add(first, second):\n    return first + second<|im_end|>\n"
    );
    assert_eq!(
        learned(first),
        "def add(first, second):\n    return first + second<|im_end|>"
    );
    let sharegpt = read("sharegpt.jsonl", |_| {}).unwrap();
    assert_eq!(sharegpt.report.format, DataFormat::Sharegpt);
    assert_eq!(sharegpt.train[0], *first);
    let renamed = read("renamed.jsonl", |config| {
        named(config, &[("messages", "dialogue")]);
    });
    assert_eq!(renamed.unwrap().train[0], *first);
    let properties = read("properties.jsonl", |config| {
        config.format = DataFormat::Sharegpt;
        named(
            config,
            &[
                ("conversations", "thread"),
                ("role_tag", "speaker"),
                ("content_tag", "said"),
                ("user_tag", "client"),
                ("assistant_tag", "agent"),
            ],
        );
    });
    assert_eq!(properties.unwrap().train[0], *first);
}

#[test]
fn turns_are_learned_as_their_marks_say_and_their_roles_have_axolotls_other_names() {
    let chat = read("chat.jsonl", |_| {}).unwrap();
    assert_eq!(learned(&chat.train[1]), "add(1, 2)<|im_end|>");
    assert!(all(&chat.train[2]).starts_with("<|im_start|>user\nAnd now?<|im_end|>"));
    assert_eq!(learned(&chat.train[2]), "add(3, 4)<|im_end|>");
}

#[test]
fn instructions_texts_and_segments_are_read_as_their_types_say() {
    let alpaca = read("alpaca.jsonl", |_| {}).unwrap();
    assert_eq!(alpaca.report.format, DataFormat::Alpaca);
    assert_eq!(learned(&alpaca.train[0]), "add(1, 2)<|endoftext|>");
    assert!(all(&alpaca.train[0]).contains("### Input:\n1 and 2\n"));
    assert!(!all(&alpaca.train[1]).contains("### Input:"));
    let completion = read("completion.jsonl", |_| {}).unwrap();
    assert_eq!(
        learned(&completion.train[0]),
        "def add(first, second):\n    return first + second\n<|endoftext|>"
    );
    // The example of Axolotl's documentation: what is not marked gives no loss, and nothing is put around it.
    let segments = read("segments.jsonl", |_| {}).unwrap();
    assert_eq!(
        all(&segments.train[0]),
        "<|endoftext|>Hello\nhi there!. goodbye farewell<|endoftext|>"
    );
    assert_eq!(
        learned(&segments.train[0]),
        "<|endoftext|>Hello\nhi there!. farewell<|endoftext|>"
    );
}

#[test]
fn pairs_of_turns_after_messages_are_preferences() {
    let (pairs, _) = load_pairs(&config("preference/chat.jsonl"), model(), 7, &mut |_| {}).unwrap();
    let (chosen, rejected) = (&pairs[0].chosen, &pairs[0].rejected);
    assert!(all(chosen).starts_with("<|im_start|>user\nAdd two numbers.<|im_end|>"));
    assert!(learned(chosen).starts_with("add(1, 2)<|im_end|>"));
    assert!(learned(rejected).starts_with("add(1)<|im_end|>"));
}

#[test]
fn what_cannot_be_learned_is_refused_by_name() {
    for (file, expected) in [
        (
            "kto.jsonl",
            "line 1: field label: marks completions as wanted or not (KTO)",
        ),
        (
            "stepwise.jsonl",
            "its columns (prompt, completions, labels) tell no format",
        ),
        (
            "image.jsonl",
            "part 1 is of type \"image\"; only text can be learned from",
        ),
        ("detail.jsonl", "train_detail is not supported"),
    ] {
        let error = read(&format!("refused/{file}"), |_| {})
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected) && error.contains(file), "{error}");
    }
}
