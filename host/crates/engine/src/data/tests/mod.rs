//! Formats, masks, splits and refusals, on a tokenizer that is trained here.

mod axolotl;
mod chats;
mod code;
mod llama_factory;
mod mix;
mod pairs;
mod stream;
mod subsets;

use std::{fs, path::Path, sync::OnceLock};

use domain::{DataConfig, DataFormat, TrainOn};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Data, IGNORED, Sample, inspect, load, preview, windows};
use crate::{
    Error,
    tokenizer::{BpeTraining, Tokenizer, train_bpe},
};

const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A model folder without weights: a small tokenizer with chat tokens.
fn model() -> &'static Path {
    static MODEL: OnceLock<TempDir> = OnceLock::new();
    MODEL
        .get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let text = "def add(first, second):\n    return first + second\n\n".repeat(4)
                + "Below is an instruction. ### Response: the user asks, the assistant answers\n";
            let training = BpeTraining {
                vocab_size: 330,
                special_tokens: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
                    .map(str::to_owned)
                    .to_vec(),
                ..BpeTraining::default()
            };
            train_bpe(&[text], &training, dir.path()).unwrap();
            fs::write(dir.path().join("chat_template.jinja"), CHATML).unwrap();
            dir
        })
        .path()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(model()).unwrap()
}

/// Loads `text` as a file of that name.
fn loaded(name: &str, text: &str, change: impl FnOnce(&mut DataConfig)) -> Result<Data, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let mut config = DataConfig {
        path: Some(path.display().to_string()),
        ..DataConfig::default()
    };
    change(&mut config);
    load(&config, model(), 7)
}

fn refusal(text: &str, change: impl FnOnce(&mut DataConfig)) -> String {
    loaded("rows.jsonl", text, change)
        .expect_err("must be refused")
        .to_string()
}

fn learned(sample: &Sample) -> String {
    let ids: Vec<u32> = sample
        .input_ids
        .iter()
        .zip(&sample.labels)
        .filter(|(_, label)| **label != IGNORED)
        .map(|(id, _)| *id)
        .collect();
    tokenizer().decode(&ids, false).unwrap()
}

fn all(sample: &Sample) -> String {
    tokenizer().decode(&sample.input_ids, false).unwrap()
}

#[test]
fn a_completion_is_learned_with_its_end_and_the_prompt_is_not() {
    let data = loaded(
        "rows.jsonl",
        r#"{"prompt": "def add(a, b):\n", "completion": "    return a + b\n"}"#,
        |_| {},
    )
    .unwrap();
    assert_eq!(data.report.format, DataFormat::Completion);
    let sample = &data.train[0];
    assert_eq!(
        all(sample),
        "def add(a, b):\n    return a + b\n<|endoftext|>"
    );
    assert_eq!(learned(sample), "    return a + b\n<|endoftext|>");
    for (id, label) in sample.input_ids.iter().zip(&sample.labels) {
        assert!(*label == IGNORED || *label == i64::from(*id));
    }
}

#[test]
fn a_token_never_reaches_over_the_edge_between_prompt_and_completion() {
    let data = loaded(
        "rows.jsonl",
        r#"{"prompt": "def add(fir", "completion": "st, second):"}"#,
        |_| {},
    )
    .unwrap();
    assert_eq!(learned(&data.train[0]), "st, second):<|endoftext|>");
    let prompt = tokenizer().encode("def add(fir", true).unwrap();
    assert_eq!(data.train[0].input_ids[..prompt.len()], prompt);
}

#[test]
fn train_on_all_learns_the_prompt_too() {
    let row = r#"{"prompt": "def ", "completion": "add"}"#;
    let data = loaded("rows.jsonl", row, |config| config.train_on = TrainOn::All).unwrap();
    assert_eq!(learned(&data.train[0]), "def add<|endoftext|>");
}

#[test]
fn text_is_learned_whole_and_ends_once() {
    let rows = "{\"text\": \"return first\"}\n\n{\"text\": \"return first<|endoftext|>\"}\n";
    let data = loaded("rows.jsonl", rows, |_| {}).unwrap();
    assert_eq!(data.report.format, DataFormat::Text);
    for sample in &data.train {
        assert_eq!(learned(sample), "return first<|endoftext|>");
    }
    assert_eq!(data.report.duplicates, 1);
}

#[test]
fn a_text_file_is_one_document_and_a_folder_is_read_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("b")).unwrap();
    fs::write(folder.path().join("b/second.py"), "second").unwrap();
    fs::write(folder.path().join("a.py"), "first").unwrap();
    fs::write(folder.path().join("image.png"), [0, 159]).unwrap();
    let config = DataConfig {
        path: Some(folder.path().display().to_string()),
        ..DataConfig::default()
    };
    let data = load(&config, model(), 0).unwrap();
    let texts: Vec<String> = data.train.iter().map(all).collect();
    assert_eq!(texts, ["first<|endoftext|>", "second<|endoftext|>"]);
}

#[test]
fn alpaca_has_the_prompt_of_stanford_with_and_without_an_input() {
    let rows = concat!(
        r#"[{"instruction": "Add.", "input": "1 and 2", "output": "3"},"#,
        "\n",
        r#"{"instruction": "Say hi.", "input": "", "output": "hi"}]"#
    );
    let data = loaded("rows.json", rows, |_| {}).unwrap();
    assert_eq!(data.report.format, DataFormat::Alpaca);
    assert_eq!(
        all(&data.train[0]),
        "Below is an instruction that describes a task, paired with an input that provides further context. \
         Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n\
         1 and 2\n\n### Response:\n3<|endoftext|>"
    );
    assert_eq!(learned(&data.train[0]), "3<|endoftext|>");
    assert!(all(&data.train[1]).contains("### Instruction:\nSay hi.\n\n### Response:\nhi"));
}

const TALK: &str = r#"{"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one?"}, {"role": "assistant", "content": "first"}, {"role": "user", "content": "two?"}, {"role": "assistant", "content": "second"}]}"#;

#[test]
fn of_a_conversation_the_last_turn_every_turn_or_everything_is_learned() {
    let with = |train_on| {
        loaded("rows.jsonl", TALK, |config| config.train_on = train_on)
            .unwrap()
            .train
            .remove(0)
    };
    let text = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\none?<|im_end|>\n<|im_start|>assistant\n\
                first<|im_end|>\n<|im_start|>user\ntwo?<|im_end|>\n<|im_start|>assistant\nsecond<|im_end|>\n";
    assert_eq!(all(&with(TrainOn::All)), text);
    assert_eq!(learned(&with(TrainOn::All)), text);
    assert_eq!(learned(&with(TrainOn::Completion)), "second<|im_end|>");
    assert_eq!(
        learned(&with(TrainOn::Assistant)),
        "first<|im_end|>second<|im_end|>"
    );
}

#[test]
fn a_template_that_marks_generation_is_taken_at_its_word() {
    let template = "{%- for message in messages -%}\n{%- if message.role == 'assistant' -%}\nA: {% generation %}{{ message.content }}<|im_end|>{% endgeneration %}\n{%- else -%}\nU: {{ message.content }}\n{%- endif -%}\n{%- endfor -%}";
    let data = loaded("rows.jsonl", TALK, |config| {
        config.chat_template = Some(template.into());
        config.train_on = TrainOn::Assistant;
    })
    .unwrap();
    assert_eq!(
        all(&data.train[0]),
        "U: be briefU: one?A: first<|im_end|>U: two?A: second<|im_end|>"
    );
    assert_eq!(learned(&data.train[0]), "first<|im_end|>second<|im_end|>");
}

#[test]
fn turns_are_found_where_a_template_writes_earlier_ones_differently() {
    // As Qwen3 does: only the last turn keeps what precedes the mark.
    let template = "{% for m in messages %}[{{ m.role }}]{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('|')[-1] }}{% endif %}<|im_end|>{% endfor %}";
    let rows = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "plain"}, {"role": "user", "content": "why"}, {"role": "assistant", "content": "think|say"}]}"#;
    let data = loaded("rows.jsonl", rows, |config| {
        config.chat_template = Some(template.into());
        config.train_on = TrainOn::Assistant;
    })
    .unwrap();
    assert_eq!(
        learned(&data.train[0]),
        "plain<|im_end|>think|say<|im_end|>"
    );
}

#[test]
fn a_template_runs_as_in_transformers() {
    let template = "{%- if messages[0]['role'] == 'system' %}\n    {{- messages[0]['content'].strip() + '\\n' }}\n{%- endif %}\n{% for message in messages if message['role'] != 'system' %}\n    {% if not loop.first %}, {% endif %}\n{{ message['content'] | trim | upper }}{{ message.get('name', '?') }}\n{% endfor %}\n{{ tools | tojson }}{{ bos_token is defined }}{{ eos_token }}";
    let rows = r#"{"messages": [{"role": "system", "content": " s "}, {"role": "user", "content": "hé"}, {"role": "assistant", "content": "b"}], "tools": [{"name": "<f>", "n": 1.5}]}"#;
    let data = loaded("rows.jsonl", rows, |config| {
        config.chat_template = Some(template.into());
        config.train_on = TrainOn::All;
    })
    .unwrap();
    // The expected text was written by jinja2 with trim_blocks and lstrip_blocks, as Transformers sets it up.
    assert_eq!(
        all(&data.train[0]),
        "s\nHÉ?\n, B?\n[{\"name\": \"<f>\", \"n\": 1.5}]False<|endoftext|>"
    );
}

#[test]
fn a_template_that_refuses_loops_or_floods_is_an_error_of_its_row() {
    for (template, expected) in [
        (
            "{{ raise_exception('roles must alternate') }}",
            "roles must alternate",
        ),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a %}{% endfor %}{% endfor %}",
            "more steps",
        ),
        ("{{ messages | nosuchfilter }}", "chat template"),
    ] {
        let message = refusal(TALK, |config| config.chat_template = Some(template.into()));
        assert!(message.contains(expected), "{message}");
    }
    let flood = "{% set text = 'x' * 500000 %}{% for i in range(50) %}{{ text }}{% endfor %}";
    let message = refusal(TALK, |config| config.chat_template = Some(flood.into()));
    assert!(message.contains("than a template may"), "{message}");
    let message = refusal(TALK, |config| {
        config.chat_template = Some("{% if %}".into());
    });
    assert!(message.contains("line 1"), "{message}");
}

#[test]
fn tokens_are_taken_as_they_are_and_cut() {
    let row = r#"{"input_ids": [5, 6, 7, 8, 9, 10, 11, 12, 13, 14], "labels": [-100, -100, 7, 8, 9, 10, 11, 12, 13, 14]}"#;
    let data = loaded("rows.jsonl", row, |config| config.max_seq_length = 8).unwrap();
    assert_eq!(data.report.format, DataFormat::Tokenized);
    assert_eq!(
        data.train[0],
        Sample {
            input_ids: vec![5, 6, 7, 8, 9, 10, 11, 12],
            labels: vec![IGNORED, IGNORED, 7, 8, 9, 10, 11, 12],
        }
    );
    assert_eq!(
        (data.report.truncated, data.report.truncated_tokens),
        (1, 2)
    );
    assert_eq!(data.report.supervised_tokens, 6);
}

#[test]
fn padding_of_tokenized_rows_is_neither_learned_nor_attended_to() {
    let bare = r#"{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}"#;
    let expected = loaded("rows.jsonl", bare, |_| {}).unwrap().train;
    // Behind the tokens and before them, with labels of its own, and with an id that no model has.
    for padded in [
        r#"{"input_ids": [5, 6, 7, 0, 0], "labels": [-100, 6, 7, -100, -100], "attention_mask": [1, 1, 1, 0, 0]}"#,
        r#"{"input_ids": [0, 0, 5, 6, 7], "labels": [0, 0, -100, 6, 7], "attention_mask": [0, 0, 1, 1, 1]}"#,
        r#"{"input_ids": [5, 6, 7, -1], "labels": [-100, 6, 7, -1], "attention_mask": [1, 1, 1, 0]}"#,
        r#"{"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "attention_mask": null}"#,
    ] {
        let data = loaded("rows.jsonl", padded, |_| {}).unwrap();
        assert_eq!(data.train, expected, "{padded}");
    }
    let nothing = r#"{"input_ids": [0], "labels": [0], "attention_mask": [0]}"#;
    assert!(loaded("rows.jsonl", nothing, |_| {}).is_err());
}

#[test]
fn tokens_need_no_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), r#"{"vocab_size": 8}"#).unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, r#"{"input_ids": [1, 7], "labels": [1, 7]}"#).unwrap();
    let config = DataConfig {
        path: Some(path.display().to_string()),
        ..DataConfig::default()
    };
    assert_eq!(load(&config, folder.path(), 0).unwrap().train.len(), 1);
    fs::write(&path, r#"{"input_ids": [1, 8], "labels": [1, 7]}"#).unwrap();
    let message = load(&config, folder.path(), 0).unwrap_err().to_string();
    assert!(
        message
            .contains("line 1: field input_ids: value 2 is 8, beyond the model's vocabulary of 8"),
        "{message}"
    );
}

#[test]
fn other_names_of_columns_are_mapped_and_decide_the_format() {
    let row = r#"{"question": "def ", "answer": "add"}"#;
    let data = loaded("rows.jsonl", row, |config| {
        config.columns.insert("prompt".into(), "question".into());
        config.columns.insert("completion".into(), "answer".into());
    })
    .unwrap();
    assert_eq!(data.report.format, DataFormat::Completion);
    assert_eq!(learned(&data.train[0]), "add<|endoftext|>");
}

#[test]
fn bad_rows_are_refused_with_file_line_and_field() {
    for (text, expected) in [
        (
            "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}",
            "rows.jsonl: line 2: field completion: is missing; the row has the columns prompt",
        ),
        (
            "{\"prompt\": 3, \"completion\": \"b\"}",
            "line 1: field prompt: must be text, not a number",
        ),
        (
            "{\"prompt\": null, \"completion\": \"b\"}",
            "line 1: field prompt: is null",
        ),
        (
            "{\"text\": \"a\"}\n\nnot json\n",
            "line 3: is not valid JSON at column",
        ),
        ("\"text\"", "line 1: must be a JSON object"),
        ("[{\"text\": \"a\"}, 3]", "element 2: must be a JSON object"),
        ("[{\"text\": \"a\"},\n}", "line 2: is not valid JSON"),
        ("", "holds no rows: the dataset is empty"),
        ("\n \n", "holds no rows"),
        (
            "{\"question\": \"a\"}",
            "its columns (question) tell no format; set data.format",
        ),
        (
            "{\"conversations\": []}",
            "field conversations: must hold at least one turn",
        ),
        (
            "{\"conversations\": [{\"from\": \"cat\", \"value\": \"a\"}]}",
            "turn 1: \"cat\" is no role",
        ),
        (
            "{\"segments\": [{\"text\": \"a\"}]}",
            "segment 1 must have label (true or false) and text",
        ),
        (
            "{\"input_ids\": [1, 2], \"labels\": [1]}",
            "line 1: field labels: holds 1 values and input_ids 2",
        ),
        (
            "{\"input_ids\": [1, 2.5], \"labels\": [1, 2]}",
            "field input_ids: value 2 must be a whole number, not 2.5",
        ),
        (
            "{\"input_ids\": [1], \"labels\": null}",
            "field labels: is null",
        ),
        (
            "{\"input_ids\": [1, -3], \"labels\": [1, 1]}",
            "line 1: field input_ids: value 2 is -3",
        ),
        (
            "{\"input_ids\": [1, 2], \"labels\": [1, -7]}",
            "line 1: field labels: value 2 is -7",
        ),
        (
            "{\"input_ids\": [1, 2], \"labels\": [1, 2], \"attention_mask\": [1]}",
            "line 1: field attention_mask: holds 1 values and input_ids 2",
        ),
        (
            "{\"input_ids\": [1, 2, 3], \"labels\": [1, 2, 3], \"attention_mask\": [1, 0, 1]}",
            "line 1: field attention_mask: value 2 is 0 between tokens",
        ),
        (
            "{\"input_ids\": [1, 2], \"labels\": [1, 2], \"attention_mask\": [1, 2]}",
            "line 1: field attention_mask: value 2 is 2, and only 0 and 1",
        ),
        (
            "{\"messages\": []}",
            "field messages: must hold at least one message",
        ),
        (
            "{\"messages\": \"hi\"}",
            "field messages: must be a list, not text",
        ),
        (
            "{\"messages\": [{\"content\": \"a\"}]}",
            "field messages: message 1 has no role",
        ),
        (
            "{\"messages\": [{\"role\": \"user\", \"content\": [1]}]}",
            "message 1: part 1 must be {\"type\": \"text\", \"text\"}, not a number",
        ),
        (
            "{\"messages\": [{\"role\": \"user\", \"content\": []}]}",
            "content of message 1 must be text, not a list",
        ),
        (
            "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": \"x\"}]}]}",
            "part 1 is of type \"image_url\"; only text can be learned from",
        ),
    ] {
        let message = refusal(text, |_| {});
        assert!(message.contains(expected), "{expected:?} in {message:?}");
        assert!(message.contains("rows.jsonl"), "{message:?} names its file");
    }
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let config = |path: &Path| DataConfig {
        path: Some(path.display().to_string()),
        ..DataConfig::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |path: &Path| load(&config(path), model(), 0).unwrap_err().to_string();
    assert!(refused(&at("none.jsonl")).contains("none.jsonl: does not exist"));
    assert!(refused(folder.path()).contains("holds no data"));
    fs::write(at("rows.csv"), "a,b").unwrap();
    assert!(refused(&at("rows.csv")).contains("rows.csv: holds no rows"));
    fs::write(at("rows.jsonl"), b"{\"text\": \"a\"}\n\xff").unwrap();
    assert!(refused(&at("rows.jsonl")).contains("line 2: is no UTF-8"));
    fs::write(at("rows.jsonl"), "\u{feff}{\"text\": \"a\"}").unwrap();
    let message = load(&config(&at("rows.jsonl")), folder.path(), 0)
        .unwrap_err()
        .to_string();
    assert!(message.contains("holds no tokenizer.json"), "{message}");
}

#[test]
fn nothing_to_learn_is_an_error_of_its_own() {
    let error = loaded(
        "rows.jsonl",
        r#"{"prompt": "def add(first, second):", "completion": ""}"#,
        |_| {},
    )
    .unwrap_err();
    assert_eq!(error.code(), "no_supervised_token");
    assert!(error.to_string().contains("codetune mask"), "{error}");
    let long = format!(
        r#"{{"prompt": "{}", "completion": "add"}}"#,
        "q ".repeat(50)
    );
    let error = loaded("rows.jsonl", &long, |config| config.max_seq_length = 8).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("1 cut at data.max_seq_length = 8"),
        "{error}"
    );
}

#[test]
fn rows_without_a_label_are_dropped_and_counted() {
    let rows = concat!(
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n",
        "{\"prompt\": \"a\", \"completion\": \"\"}\n",
        "{\"prompt\": \"\", \"completion\": \"\"}\n"
    );
    let data = loaded("rows.jsonl", rows, |_| {}).unwrap();
    assert_eq!(data.train.len(), 1);
    assert_eq!(data.report.dropped_unsupervised, 1);
    assert_eq!(data.report.dropped_empty, 1);
    assert!(data.report.summary().contains("1 dropped for being empty"));
}

#[test]
fn a_mapped_column_that_the_format_does_not_have_is_refused_by_name() {
    let message = refusal("{\"text\": \"a\"}", |config| {
        config.columns.insert("prompt".into(), "question".into());
    });
    assert!(message.contains("data.columns.prompt"), "{message}");
}

fn numbered_rows(count: usize) -> String {
    (0..count)
        .map(|index| format!("{{\"text\": \"row {index}\"}}\n"))
        .collect()
}

#[test]
fn the_same_seed_holds_out_the_same_rows_and_another_seed_others() {
    let rows = numbered_rows(100);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, rows).unwrap();
    let config = DataConfig {
        path: Some(path.display().to_string()),
        eval_split: 0.2,
        ..DataConfig::default()
    };
    let held_out = |seed| load(&config, model(), seed).unwrap().eval;
    assert_eq!(held_out(1), held_out(1));
    assert_ne!(held_out(1), held_out(2));
    assert_eq!(held_out(1).len(), 20);
}

#[test]
fn a_file_of_its_own_can_be_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("eval.jsonl");
    fs::write(&path, "{\"text\": \"held\"}").unwrap();
    let data = loaded("rows.jsonl", &numbered_rows(3), |config| {
        config.eval_path = Some(path.display().to_string());
    })
    .unwrap();
    assert_eq!((data.train.len(), data.eval.len()), (3, 1));
    assert_eq!(all(&data.eval[0]), "held<|endoftext|>");
    assert_eq!(data.report.rows, 4);
}

#[test]
fn a_preview_shows_each_token_and_whether_it_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, r#"{"prompt": "def é", "completion": " add"}"#).unwrap();
    let config = DataConfig {
        path: Some(path.display().to_string()),
        ..DataConfig::default()
    };
    let rows = preview(&config, model(), 5, 0).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].place.as_deref(), Some("line 1"));
    let data = load(&config, model(), 0).unwrap();
    let trained: Vec<bool> = data.train[0].labels.iter().map(|l| *l != IGNORED).collect();
    let shown: Vec<bool> = rows[0].tokens.iter().map(|token| token.trained).collect();
    assert_eq!(shown, trained);
    assert_eq!(rows[0].trained, data.report.supervised_tokens);
}

#[test]
fn an_inspection_tells_format_columns_and_lengths() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(
        &path,
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": null, \"id\": 1}\n",
    )
    .unwrap();
    let found = inspect(&path, &DataConfig::default(), None, 0).unwrap();
    assert_eq!(found.format, Some(DataFormat::Completion));
    assert_eq!(found.columns["completion"], 1);
    assert_eq!((found.rows, found.characters), (2, 3));
    fs::write(&path, "{\"chosen\": \"a\", \"rejected\": \"b\"}").unwrap();
    let found = inspect(&path, &DataConfig::default(), None, 0).unwrap();
    assert_eq!(found.format, Some(DataFormat::Preference));
    assert_eq!(found.problem, None);
    fs::write(&path, numbered_rows(20)).unwrap();
    let tokens = model().into();
    let found = inspect(&path, &DataConfig::default(), Some(tokens), 0).unwrap();
    let tokens = found.tokens.unwrap();
    assert_eq!(tokens.lengths.iter().map(|bin| bin.rows).sum::<usize>(), 20);
}

#[test]
fn windows_hold_every_token_once_after_the_first() {
    let tokenizer = tokenizer();
    let documents: Vec<String> = (0..9).map(|n| "return first\n".repeat(n)).collect();
    let count: usize = documents
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| tokenizer.encode(text, false).unwrap().len() + 1)
        .sum();
    for join in [true, false] {
        let cut = windows(&documents, &tokenizer, 16, join).unwrap();
        let supervised: usize = cut.iter().map(Sample::supervised_tokens).sum();
        assert_eq!(supervised, count);
        assert!(cut.iter().all(|sample| sample.input_ids.len() <= 16));
        assert!(
            cut.iter()
                .all(|sample| Some(sample.input_ids[0]) == tokenizer.eos_id())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exactly_the_completion_is_learned_whatever_the_texts(
        prompt in "[ -~\n\té→]{1,30}",
        completion in "[ -~\n\té→]{1,30}",
    ) {
        let row = serde_json::json!({"prompt": prompt, "completion": completion}).to_string();
        let data = loaded("rows.jsonl", &row, |_| {}).unwrap();
        let sample = &data.train[0];
        prop_assert_eq!(all(sample), format!("{prompt}{completion}<|endoftext|>"));
        prop_assert_eq!(learned(sample), format!("{completion}<|endoftext|>"));
        prop_assert_eq!(sample.input_ids.len(), sample.labels.len());
    }

    #[test]
    fn a_split_loses_nothing_and_keeps_duplicates_on_one_side(
        keys in proptest::collection::vec(0u32..12, 2..60),
        share in 0.01f64..0.5,
        seed in any::<u64>(),
    ) {
        let samples: Vec<Sample> = keys
            .iter()
            .map(|key| Sample { input_ids: vec![*key, 1], labels: vec![1, 1] })
            .collect();
        let (train, eval) = super::split::split(samples.clone(), share, seed);
        prop_assert_eq!(train.len() + eval.len(), samples.len());
        prop_assert!(!train.is_empty());
        prop_assert!(eval.iter().all(|sample| !train.contains(sample)));
        let distinct = keys.iter().collect::<std::collections::HashSet<_>>().len();
        prop_assert!(distinct == 1 || !eval.is_empty());
    }

    #[test]
    fn text_survives_the_tokenizer(text in "\\PC{0,60}") {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode(&text, false).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}
