//! A folder of LLaMA-Factory's, held to what LLaMA-Factory itself reads from it
//! (`tests/fixtures/data/llama-factory/make_expected.py`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use domain::{DataConfig, DataFormat};
use serde_json::{Value, json};

use super::{Data, all, chats::TEMPLATE, learned, load, model};
use crate::data::load_pairs;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/data/llama-factory")
}

fn config(dataset: &str) -> DataConfig {
    DataConfig {
        path: Some(folder().display().to_string()),
        dataset: Some(dataset.into()),
        chat_template: Some(TEMPLATE.into()),
        ..DataConfig::default()
    }
}

fn ours(dataset: &str) -> Data {
    load(&config(dataset), model(), 7).unwrap()
}

fn expected(dataset: &str) -> Vec<Value> {
    let text = fs::read(folder().join("expected.json")).unwrap();
    let all: Value = serde_json::from_slice(&text).unwrap();
    all[dataset].as_array().unwrap().clone()
}

/// A turn of theirs as a message of Transformers'.
fn message(turn: &Value) -> Value {
    match turn["role"].as_str().unwrap() {
        "observation" => json!({"role": "tool", "content": turn["content"]}),
        "function" => {
            let calls: Value = serde_json::from_str(turn["content"].as_str().unwrap()).unwrap();
            let calls = match calls {
                Value::Array(calls) => calls,
                one => vec![one],
            };
            let calls: Vec<Value> = calls
                .into_iter()
                .map(|call| json!({"type": "function", "function": call}))
                .collect();
            json!({"role": "assistant", "content": "", "tool_calls": calls})
        }
        _ => turn.clone(),
    }
}

/// What stands before the answer, as messages.
fn before(row: &Value) -> Vec<Value> {
    let system = row["system"].as_str().unwrap();
    // Written into every OpenAI conversation by LLaMA-Factory 0.9.5, for one family of models.
    let system = system
        .strip_suffix("detailed thinking off")
        .unwrap_or(system)
        .trim_end();
    let mut messages = Vec::new();
    if !system.is_empty() {
        messages.push(json!({"role": "system", "content": system}));
    }
    messages.extend(row["prompt"].as_array().unwrap().iter().map(message));
    messages
}

/// Theirs as a file of the given format.
fn theirs(format: DataFormat, rows: &[Value]) -> (tempfile::TempDir, DataConfig) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    let config = DataConfig {
        path: Some(path.display().to_string()),
        format,
        chat_template: Some(TEMPLATE.into()),
        ..DataConfig::default()
    };
    (folder, config)
}

#[test]
fn conversations_and_instructions_are_written_as_llama_factory_writes_them() {
    for dataset in ["chat", "tagged", "openai", "plain", "renamed"] {
        let rows: Vec<Value> = expected(dataset)
            .iter()
            .map(|row| {
                let mut messages = before(row);
                messages.push(message(&row["response"][0]));
                json!({"messages": messages, "tools": row["tools"]})
            })
            .collect();
        let (_folder, config) = theirs(DataFormat::Messages, &rows);
        let theirs = load(&config, model(), 7).unwrap();
        assert_eq!(ours(dataset).train, theirs.train, "{dataset}");
    }
}

#[test]
fn a_model_without_a_chat_template_is_given_instructions_in_stanfords_prompt() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(model().join(name), folder.path().join(name)).unwrap();
    }
    for dataset in ["plain", "renamed"] {
        let config = DataConfig {
            chat_template: None,
            ..config(dataset)
        };
        let (ours, rows) = (load(&config, folder.path(), 7).unwrap(), expected(dataset));
        let told = ours.report.notes.concat();
        assert!(told.contains("the model has no chat template"), "{told}");
        assert_eq!(ours.train.len(), rows.len());
        for (sample, row) in ours.train.iter().zip(&rows) {
            let answer = row["response"][0]["content"].as_str().unwrap();
            assert_eq!(learned(sample), format!("{answer}<|endoftext|>"));
            let text = all(sample);
            assert!(text.contains(row["system"].as_str().unwrap()), "{text}");
            let mut rest = text.as_str();
            for turn in row["prompt"].as_array().unwrap() {
                // Instruction and input have headings of their own here, as in Stanford's prompt.
                for line in turn["content"].as_str().unwrap().lines() {
                    let at = rest
                        .find(line)
                        .unwrap_or_else(|| panic!("{line:?} in {text:?}"));
                    rest = &rest[at + line.len()..];
                }
            }
        }
    }
}

#[test]
fn a_set_of_prompts_alone_is_text_to_learn() {
    let rows = expected("pretrain");
    for (sample, row) in ours("pretrain").train.iter().zip(&rows) {
        let text = row["prompt"][0]["content"].as_str().unwrap();
        assert_eq!(learned(sample), format!("{text}<|endoftext|>"));
    }
}

#[test]
fn rankings_are_the_pairs_that_llama_factory_makes() {
    for dataset in ["ranked", "ranked-chat"] {
        let rows: Vec<Value> = expected(dataset)
            .iter()
            .map(|row| {
                let answers = row["response"].as_array().unwrap();
                json!({"prompt": before(row), "chosen": [answers[0]], "rejected": [answers[1]]})
            })
            .collect();
        let (_folder, theirs) = theirs(DataFormat::Preference, &rows);
        let (ours, _) = load_pairs(&config(dataset), model(), 7, &mut |_| {}).unwrap();
        let (theirs, _) = load_pairs(&theirs, model(), 7, &mut |_| {}).unwrap();
        assert_eq!(ours, theirs, "{dataset}");
    }
}

#[test]
fn columns_that_a_description_does_not_name_are_read_as_little_as_by_llama_factory() {
    let folder = tempfile::tempdir().unwrap();
    let rows = json!([{
        "ask": "Add.", "instruction": "Not this.", "input": "nor this", "output": "three",
        "system": "nor that", "history": [["Before?", "first"]],
    }]);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("rows.json"), rows.to_string()).unwrap();
    let info = json!({
        "named": {"file_name": "rows.json", "columns": {"prompt": "ask", "response": "output"}},
        "usual": {"file_name": "rows.json"},
    });
    fs::write(path("dataset_info.json"), info.to_string()).unwrap();
    let config = |dataset: &str| DataConfig {
        path: Some(folder.path().display().to_string()),
        dataset: Some(dataset.into()),
        ..DataConfig::default()
    };
    let text = |config: &DataConfig| all(&load(config, model(), 7).unwrap().train[0]);
    let named = text(&config("named"));
    let turn = |role: &str, text: &str| format!("<|im_start|>{role}\n{text}<|im_end|>\n");
    assert_eq!(named, turn("user", "Add.") + &turn("assistant", "three"));
    let usual = text(&config("usual"));
    assert_eq!(
        usual,
        turn("user", "Not this.\nnor this") + &turn("assistant", "three")
    );
    // A file of one's own is read by its columns' names, but for those that are switched off.
    let own = DataConfig {
        path: Some(path("rows.json").display().to_string()),
        columns: [("system".to_owned(), String::new())].into(),
        ..DataConfig::default()
    };
    assert!(text(&own).contains("first") && !text(&own).contains("nor that"));
    // What is imported needs no description any more, but nothing in it says that a template is to write it.
    let imported = crate::data::import(&config("named"), &path("imported.jsonl")).unwrap();
    assert!(
        imported.notes.concat().contains("chat template"),
        "{imported:?}"
    );
    let imported = DataConfig {
        path: Some(path("imported.jsonl").display().to_string()),
        ..DataConfig::default()
    };
    let imported = text(&imported);
    assert!(
        imported.ends_with(
            "completes the request.\n\n### Instruction:\nAdd.\n\n### Response:\nthree<|endoftext|>"
        ),
        "{imported}"
    );
}
