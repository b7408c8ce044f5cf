use std::{fs, path::Path};

use tempfile::TempDir;

use super::{
    BpeTraining, Extension, NewRows, Piece, Tokenizer, TokenizerModel, TokenizerTraining, extend,
    train_bpe, train_tokenizer,
};

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
fn tokens_that_only_the_older_file_names_are_found_there() {
    let dir = trained(&small());
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let eos = || {
        Tokenizer::load(dir.path())
            .unwrap()
            .special_tokens()
            .eos
            .clone()
    };
    write(
        "special_tokens_map.json",
        r#"{"eos_token": {"content": "<|im_end|>"}}"#,
    );
    write("tokenizer_config.json", "{}");
    assert_eq!(eos().as_deref(), Some("<|im_end|>"));
    write("tokenizer_config.json", r#"{"eos_token": "<|endoftext|>"}"#);
    assert_eq!(eos().as_deref(), Some("<|endoftext|>"));
    // Where the newer file describes all of its tokens, the older one is not asked.
    write("tokenizer_config.json", r#"{"added_tokens_decoder": {}}"#);
    assert_eq!(eos(), None);
    fs::remove_file(dir.path().join("tokenizer_config.json")).unwrap();
    assert_eq!(eos().as_deref(), Some("<|im_end|>"));
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

/// A tokenizer of each kind, trained on the files of the shipped sample.
fn of_kind(model: TokenizerModel, dir: &Path) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/data/held-out.jsonl");
    let documents: Vec<String> = fs::read_to_string(sample)
        .unwrap()
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            format!(
                "{}{}",
                row["prompt"].as_str().unwrap(),
                row["completion"].as_str().unwrap()
            )
        })
        .collect();
    let training = TokenizerTraining {
        model,
        vocab_size: 500,
        special_tokens: vec!["<|endoftext|>".into(), "<|im_end|>".into()],
        ..Default::default()
    };
    let heard = std::sync::atomic::AtomicU64::new(0);
    let made = train_tokenizer(&documents, &training, dir, &|bytes| {
        heard.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(heard.into_inner(), made.bytes);
    assert!(made.vocab_size <= 500, "{made:?}");
}

const KINDS: [(TokenizerModel, &str); 4] = [
    (TokenizerModel::Bpe, "bpe"),
    (TokenizerModel::WordPiece, "wordpiece"),
    (TokenizerModel::Unigram, "unigram"),
    (TokenizerModel::SentencePiece, "sentencepiece"),
];

#[test]
fn every_kind_trains_to_the_same_file_each_time_and_splits_as_pythons_tokenizers_does() {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/tokenizers/ids.json");
    let fixture: serde_json::Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    for (model, name) in KINDS {
        let (dir, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        of_kind(model, dir.path());
        of_kind(model, again.path());
        let file = |dir: &TempDir| fs::read(dir.path().join("tokenizer.json")).unwrap();
        assert!(
            file(&dir) == file(&again),
            "{name} differs from one training to the next"
        );
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        assert_eq!(tokenizer.eos_ids(), [0], "{name}");
        assert_eq!(tokenizer.is_byte_level(), name == "bpe");
        let cases = fixture[name].as_array().unwrap();
        assert!(cases.len() > 5);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let ids = tokenizer.encode(text, true).unwrap();
            assert_eq!(serde_json::json!(ids), case["ids"], "{name}: {text:?}");
            assert_eq!(
                tokenizer.decode(&ids, false).unwrap(),
                case["decoded"],
                "{name}: {text:?}"
            );
            if ["bpe", "sentencepiece"].contains(&name) {
                assert_eq!(case["decoded"], case["text"]);
            }
        }
    }
}

/// A model of four numbers a token, tied or not.
fn tiny_model(dir: &Path, tied: bool, vocab: usize) {
    use safetensors::{Dtype, tensor::TensorView};
    train_bpe(&text(), &small(), dir).unwrap();
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": vocab, "hidden_size": 4, "tie_word_embeddings": tied,
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    fs::write(dir.join("generation_config.json"), r#"{"eos_token_id": 0}"#).unwrap();
    fs::write(dir.join("README.md"), "about").unwrap();
    let floats: Vec<u8> = (0..vocab * 4)
        .flat_map(|i| (i as f32 * 0.37 - 3.0).to_le_bytes())
        .collect();
    let halves: Vec<u8> = (0..vocab * 4)
        .flat_map(|i| half::bf16::from_f32(1.0 + (i % 8) as f32).to_le_bytes())
        .collect();
    let norm = [1u8; 16];
    let mut tensors = vec![
        (
            "model.embed_tokens.weight",
            TensorView::new(Dtype::F32, vec![vocab, 4], &floats).unwrap(),
        ),
        (
            "model.norm.weight",
            TensorView::new(Dtype::F32, vec![4], &norm).unwrap(),
        ),
    ];
    if !tied {
        tensors.push((
            "lm_head.weight",
            TensorView::new(Dtype::BF16, vec![vocab, 4], &halves).unwrap(),
        ));
    }
    let bytes = safetensors::serialize(tensors, None).unwrap();
    fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

/// A tensor's bytes and shape.
fn tensor(dir: &Path, name: &str) -> (Vec<u8>, Vec<usize>) {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    (view.data().to_vec(), view.shape().to_vec())
}

#[test]
fn new_tokens_get_rows_and_the_old_ones_keep_their_bits() {
    for tied in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (model, output) = (folder.path().join("model"), folder.path().join("more"));
        fs::create_dir(&model).unwrap();
        tiny_model(&model, tied, 300);
        let extension = Extension {
            tokens: vec!["first +".into()],
            special_tokens: vec!["<|tool|>".into()],
            pad_to_multiple_of: 8,
            ..Default::default()
        };
        let made = extend(&model, &extension, &output).unwrap();
        assert_eq!(
            made.added,
            [(300, "first +".to_owned()), (301, "<|tool|>".to_owned())]
        );
        assert_eq!((made.old_vocab_size, made.vocab_size), (300, 304));
        let config: serde_json::Value =
            serde_json::from_slice(&fs::read(output.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["vocab_size"], 304);
        for copied in [
            "README.md",
            "generation_config.json",
            "special_tokens_map.json",
        ] {
            assert!(output.join(copied).is_file(), "{copied}");
        }
        let name = "model.embed_tokens.weight";
        let ((old, _), (new, shape)) = (tensor(&model, name), tensor(&output, name));
        assert_eq!(shape, [304, 4]);
        assert!(new.starts_with(&old), "the old rows keep their bits");
        let value = |at: usize| f32::from_le_bytes(new[at * 4..at * 4 + 4].try_into().unwrap());
        for column in 0..4 {
            let mean = (0..300)
                .map(|row| f64::from(value(row * 4 + column)))
                .sum::<f64>()
                / 300.0;
            for row in 300..304 {
                assert!((f64::from(value(row * 4 + column)) - mean).abs() < 1e-4);
            }
        }
        assert_eq!(
            tensor(&model, "model.norm.weight"),
            tensor(&output, "model.norm.weight")
        );
        if !tied {
            let ((old, _), (new, shape)) = (
                tensor(&model, "lm_head.weight"),
                tensor(&output, "lm_head.weight"),
            );
            assert_eq!(shape, [304, 4]);
            assert!(new.starts_with(&old));
            // Columns hold 1, 2, 3, 4 and 5, 6, 7, 8 in turn.
            let mean = |at: f32| half::bf16::from_f32(at).to_le_bytes();
            assert_eq!(
                new[2400..2408],
                [mean(3.0), mean(4.0), mean(5.0), mean(6.0)].concat()
            );
        }
        let tokenizer = Tokenizer::load(&output).unwrap();
        let before = Tokenizer::load(&model).unwrap();
        assert_eq!(
            tokenizer.encode("a<|tool|>", true).unwrap().last(),
            Some(&301)
        );
        assert!(tokenizer.is_special(301) && !tokenizer.is_special(300));
        assert_eq!(tokenizer.decode(&[300, 301], true).unwrap(), "first +");
        let text = "def add(x): return x";
        assert_eq!(
            tokenizer.encode(text, true).unwrap(),
            before.encode(text, true).unwrap()
        );
    }
}

#[test]
fn new_tokens_take_the_rows_that_a_padded_embedding_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let (model, output) = (folder.path().join("model"), folder.path().join("more"));
    fs::create_dir(&model).unwrap();
    tiny_model(&model, true, 320);
    let extension = Extension {
        special_tokens: vec!["<|tool|>".into()],
        rows: NewRows::Normal(7),
        ..Default::default()
    };
    let made = extend(&model, &extension, &output).unwrap();
    assert_eq!((made.added[0].0, made.vocab_size), (300, 320));
    let name = "model.embed_tokens.weight";
    let ((old, _), (new, _)) = (tensor(&model, name), tensor(&output, name));
    let row = |data: &[u8], row: usize| data[row * 16..row * 16 + 16].to_vec();
    for other in (0..320).filter(|other| *other != 300) {
        assert_eq!(row(&old, other), row(&new, other));
    }
    assert_ne!(row(&old, 300), row(&new, 300));
    let again = folder.path().join("again");
    extend(&model, &extension, &again).unwrap();
    assert_eq!(tensor(&again, name).0, new, "the seed decides");
}

#[test]
fn what_cannot_be_extended_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    tiny_model(&model, true, 300);
    let refused = |tokens: &[&str], output: &str| {
        let extension = Extension {
            tokens: tokens.iter().map(|token| (*token).to_owned()).collect(),
            ..Default::default()
        };
        extend(&model, &extension, &folder.path().join(output))
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&[], "out").contains("at least one"));
    assert!(refused(&[""], "out").contains("is empty"));
    assert!(refused(&["x y", "x y"], "out").contains("given twice"));
    assert!(refused(&["<|im_end|>"], "out").contains("in the vocabulary already"));
    assert!(refused(&["new"], "model").contains("exists already"));
    fs::write(model.join("config.json"), r#"{"vocab_size": 299}"#).unwrap();
    assert!(refused(&["new"], "out").contains("[300, 4] where config.json has 299"));
    assert!(!folder.path().join("out").exists());
    fs::write(model.join("tokenizer.json"), "{").unwrap();
    assert!(refused(&["new"], "out").contains("tokenizer.json: is no tokenizer"));
}

#[test]
#[ignore = "needs a folder to leave the tokenizers in, for tests/peers/tokenizers_load.py"]
fn tokenizers_of_every_kind_are_left_for_python() {
    let folder = std::env::temp_dir().join("codetune-tokenizers");
    for (model, name) in KINDS {
        of_kind(model, &folder.join(name));
    }
}

#[test]
fn a_damaged_tokenizer_is_an_error_and_never_a_panic() {
    let whole = fs::read(trained(&small()).path().join("tokenizer.json")).unwrap();
    let mut state = 1u64;
    for round in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..=round % 4 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            match round % 3 {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = (state >> 20) as u8,
                _ => {
                    bytes.drain(at..(at + 7).min(bytes.len()));
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tokenizer.json"), bytes).unwrap();
        // Some changes leave a tokenizer that works: then it must split and join without a panic too.
        match Tokenizer::load(dir.path()) {
            Ok(tokenizer) => {
                if let Ok(ids) = tokenizer.encode("def add(x):\n    return x é 😀", true) {
                    let _ = tokenizer.decode(&ids, true);
                }
            }
            Err(error) => assert!(error.to_string().contains("tokenizer"), "{error}"),
        }
    }
}
