use std::{fs, path::Path};

use tempfile::TempDir;

use super::{BpeTraining, Piece, Tokenizer, train_bpe};

fn text() -> Vec<String> {
    vec![
        "def add(first, second):\n    return first + second\n".repeat(3),
        "for index in range(10):\n    print(index)\n".repeat(3),
    ]
}

fn trained(training: &BpeTraining) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    train_bpe(&text(), training, dir.path()).unwrap();
    dir
}

fn small() -> BpeTraining {
    BpeTraining {
        vocab_size: 300,
        special_tokens: vec!["<|endoftext|>".into(), "<|im_end|>".into()],
        ..BpeTraining::default()
    }
}

#[test]
fn training_gives_the_wanted_size_and_special_tokens_from_0() {
    let dir = trained(&small());
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 300);
    assert_eq!(tokenizer.eos_ids(), [0]);
    assert_eq!(tokenizer.token_id("<|im_end|>"), Some(1));
    assert!(tokenizer.is_special(1) && !tokenizer.is_special(2));
    assert!(tokenizer.is_byte_level());
    assert_eq!(tokenizer.encode("<|im_end|>", true).unwrap(), [1]);
}

#[test]
fn the_same_text_gives_the_same_tokenizer() {
    let file = |dir: &TempDir| fs::read(dir.path().join("tokenizer.json")).unwrap();
    assert_eq!(file(&trained(&small())), file(&trained(&small())));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |documents: &[String], change: &dyn Fn(&mut BpeTraining)| {
        let mut training = small();
        change(&mut training);
        let dir = tempfile::tempdir().unwrap();
        train_bpe(documents, &training, dir.path())
            .unwrap_err()
            .to_string()
    };
    let message = refused(&text(), &|training| training.vocab_size = 200);
    assert!(message.contains("between 258"), "{message}");
    let message = refused(&text(), &|training| training.special_tokens.clear());
    assert!(message.contains("at least one"), "{message}");
    let message = refused(&text(), &|training| {
        training.special_tokens = vec!["<s>".into(), "<s>".into()];
    });
    assert!(message.contains("given twice"), "{message}");
    let message = refused(&[" \n".into()], &|_| {});
    assert!(message.contains("no text"), "{message}");
}

#[test]
fn an_indented_line_after_a_break_changes_no_token_before_it() {
    let dir = trained(&small());
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    let prompt = tokenizer.encode("def add(x):\n", false).unwrap();
    let whole = tokenizer
        .encode("def add(x):\n    return x\n", false)
        .unwrap();
    assert_eq!(whole[..prompt.len()], prompt);
}

/// Rewrites a tokenizer's files.
fn with(change: impl FnOnce(&mut serde_json::Value), config: &str) -> TempDir {
    let dir = trained(&small());
    let path = dir.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(&path, json.to_string()).unwrap();
    fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    dir
}

#[test]
fn a_bos_of_the_post_processor_is_put_before_every_text_once() {
    let dir = with(
        |json| {
            json["post_processor"] = serde_json::json!({
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"<|im_end|>": {"id": "<|im_end|>", "ids": [1], "tokens": ["<|im_end|>"]}}
            });
        },
        r#"{"eos_token": {"content": "<|endoftext|>"}, "chat_template": [{"name": "default", "template": "T"}]}"#,
    );
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.prefix(), [1]);
    assert_eq!(tokenizer.encode("def", true).unwrap()[0], 1);
    assert!(!tokenizer.encode("def", false).unwrap().contains(&1));
    let (ids, mask) = tokenizer
        .encode_pieces(&[Piece::given("de"), Piece::trained("f add")])
        .unwrap();
    assert_eq!(ids.len(), mask.len());
    assert!(!ids.contains(&1));
    assert_eq!(tokenizer.chat_template(), Some("T"));
    assert_eq!(tokenizer.eos_id(), Some(0));
}

#[test]
fn truncation_that_a_file_carries_is_off() {
    let dir = with(
        |json| {
            json["truncation"] = serde_json::json!({
                "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
            });
        },
        "{}",
    );
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    let text = "def add(first, second): return first";
    let ids = tokenizer.encode(text, true).unwrap();
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
}

#[test]
fn ids_that_end_a_text_come_from_the_model_too() {
    let dir = with(|_| {}, r#"{"eos_token": "<|im_end|>"}"#);
    fs::write(
        dir.path().join("config.json"),
        r#"{"eos_token_id": [0, 1]}"#,
    )
    .unwrap();
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.eos_ids(), [1, 0]);
}

#[test]
fn files_that_are_no_tokenizer_are_refused_by_name() {
    let refused = |dir: &Path| Tokenizer::load(dir).err().unwrap().to_string();
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(empty.path()).contains("holds no tokenizer.json"));
    let damaged = with(|json| *json = serde_json::json!({"model": 3}), "{}");
    assert!(refused(damaged.path()).contains("tokenizer.json: is no tokenizer"));
    let config = with(|_| {}, "{");
    assert!(refused(config.path()).contains("tokenizer_config.json: is not valid JSON"));
    let unknown = with(|_| {}, r#"{"eos_token": "<other>"}"#);
    assert!(refused(unknown.path()).contains("eos_token \"<other>\""));
}
