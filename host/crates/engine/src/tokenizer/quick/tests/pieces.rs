//! SentencePiece's kind, over vocabularies that keep to words and over one that does not.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::{
    Tokenizer, Trainer,
    models::bpe::{BPE, BpeTrainer},
};

use super::super::{Quick, cuts::Cuts, spelling::BLANK};
use super::assert_same;

const SOURCE: &str = include_str!("../pieces.rs");

/// A BPE model whose merges keep to the words that `words` makes, with bytes where `bytes`.
fn model(words: fn(&str) -> Vec<String>, bytes: bool) -> Value {
    let mut trainer = BpeTrainer::builder()
        .vocab_size(400)
        .show_progress(false)
        .build();
    let documents = [
        SOURCE,
        "for index in range(10):\n    print('première', index_of(first), 12345)\n\n",
    ];
    trainer
        .feed(documents.iter(), |text| Ok(words(&text.replace(' ', "▁"))))
        .unwrap();
    let mut model = BPE::default();
    trainer.train(&mut model).unwrap();
    let mut json = serde_json::to_value(&model).unwrap();
    json["unk_token"] = json!("<unk>");
    json["fuse_unk"] = json!(true);
    json["byte_fallback"] = json!(bytes);
    let vocab = json["vocab"].as_object_mut().unwrap();
    let bytes = (0..=u8::MAX).map(|byte| format!("<{byte:#04X}>"));
    for token in ["<unk>".to_owned()].into_iter().chain(bytes) {
        let id = vocab.len();
        vocab.insert(token, json!(id));
    }
    json
}

/// Blanks begin words, and letters keep to themselves.
fn by_script(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for character in text.chars().filter(|character| *character != '\n') {
        let kind = (character == BLANK, character.is_alphabetic());
        match words.last_mut() {
            Some(word) if last == Some(kind) || last == Some((true, false)) => word.push(character),
            _ => words.push(character.into()),
        }
        last = Some(kind);
    }
    words
}

/// Stretches of five characters: their merges join blanks, line breaks, letters and signs in any order.
fn by_length(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(5)
        .map(|some| some.iter().collect())
        .collect()
}

/// Words between blanks, so that the vocabulary lacks the blank.
fn without_blanks(text: &str) -> Vec<String> {
    text.split(BLANK).map(str::to_owned).collect()
}

/// A whole tokenizer of `model`.
fn described(model: &Value, normalizer: Value, pre_tokenizer: Value) -> Value {
    let first = model["vocab"].as_object().unwrap().len();
    let added = [
        ("<s>", "", false),
        ("</s>", "", false),
        ("<|user|>", "rstrip", false),
        ("<|mid|>", "lstrip", false),
        ("<|both|>", "lstrip rstrip", false),
        ("\n\n", "", false),
        ("<n>", "", true),
    ];
    let added = added.iter().enumerate().map(|(at, (content, strips, normalized))| {
        json!({
            "id": first + at, "content": content, "special": at < 2, "normalized": normalized, "single_word": false,
            "lstrip": strips.contains("lstrip"), "rstrip": strips.contains("rstrip"),
        })
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null,
        "model": model,
    })
}

fn built(json: &Value) -> (Tokenizer, Option<Quick>) {
    let tokenizer = Tokenizer::from_bytes(json.to_string()).unwrap();
    let quick = Quick::new(json, &tokenizer);
    (tokenizer, quick)
}

fn replace() -> Value {
    json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" })
}

fn llama() -> Value {
    json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace()] })
}

fn gemma() -> Value {
    json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false })
}

fn metaspace(scheme: &str, split: bool) -> Value {
    json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split })
}

/// Normalizers and pre-tokenizers of well-known models, and all that `Metaspace` can be set to.
fn known() -> Vec<(String, Value, Value)> {
    let mut all = vec![
        ("llama-2".to_owned(), llama(), Value::Null),
        ("gemma".to_owned(), replace(), gemma()),
        ("plain".to_owned(), replace(), Value::Null),
        (
            "old metaspace".to_owned(),
            Value::Null,
            json!({ "type": "Metaspace", "replacement": "▁", "add_prefix_space": true }),
        ),
        (
            "both".to_owned(),
            json!({ "type": "Prepend", "prepend": "▁" }),
            metaspace("never", true),
        ),
    ];
    for scheme in ["first", "always", "never"] {
        for split in [true, false] {
            let name = format!("metaspace {scheme}, split {split}");
            all.push((name, Value::Null, metaspace(scheme, split)));
        }
    }
    all
}

struct Case {
    name: String,
    /// Added tokens are looked for in normalized text, which is not the given one.
    normalizes: bool,
    tokenizer: Tokenizer,
    quick: Quick,
}

/// Every kind of vocabulary with every normalizer and pre-tokenizer.
static ALL: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let mut unfused = model(by_script, false);
    unfused["fuse_unk"] = json!(false);
    let models = [
        ("scripts", model(by_script, true)),
        ("lengths", model(by_length, true)),
        ("no blanks", model(without_blanks, true)),
        ("unknown", model(by_script, false)),
        ("unknown alone", unfused),
        ("unknown and no blanks", model(without_blanks, false)),
    ];
    let mut all = Vec::new();
    for (vocabulary, model) in &models {
        for (name, normalizer, pre_tokenizer) in known() {
            let name = format!("{vocabulary}, {name}");
            let normalizes = !normalizer.is_null();
            let (tokenizer, quick) = built(&described(model, normalizer, pre_tokenizer));
            all.push(Case {
                quick: quick.unwrap_or_else(|| panic!("{name} goes the long way")),
                name,
                normalizes,
                tokenizer,
            });
        }
    }
    all
});

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "for", "index", " index", "première", "e\u{301}", "日本語", "가나", "😀", "self.cuts", "match", "Some(", "::new(",
            "12", "34567", "½", "٣", "(", ")", "{", "//", "_", "▁", "▁▁", "\u{200d}", "<unk>", "<0x0A>", "é", "ш",
        ]).prop_map(str::to_string),
        8 => prop::sample::select(vec![
            " ", " ", "  ", "    ", "        ", "\t", "\n", "\n\n", "\n\n\n", "\r\n", "\u{a0}", "\u{3000}", " \n ",
        ]).prop_map(str::to_string),
        2 => prop::sample::select(vec![
            "<s>", "</s>", "<|user|>", "<|mid|>", "<|both|>", "<n>", "a<n>", " <n>",
        ]).prop_map(str::to_string),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn any_text_of_sentencepieces_kind_has_the_same_tokens_and_offsets(text in text()) {
        for case in ALL.iter() {
            // The `▁` before a text may stand alone before such a token; then the text goes the long way.
            let hidden = case.normalizes && text.contains("<n>");
            if !hidden || case.quick.encode(&case.tokenizer, &text, true).is_some() {
                assert_same(&case.name, &case.tokenizer, &case.quick, &text);
            }
        }
    }
}

#[test]
fn whole_sources_have_the_same_tokens_and_offsets() {
    let sources = [
        SOURCE,
        include_str!("../split.rs"),
        include_str!("../../../../../../../tests/peers/tokenizers_load.py"),
        include_str!("../../../../../../../ARCHITECTURE.md"),
    ];
    for case in ALL.iter() {
        for source in sources {
            assert_same(&case.name, &case.tokenizer, &case.quick, source);
            // Again, now that its words are known, and with other indentation.
            let indented = source.replace("\n    ", "\n\t");
            assert_same(&case.name, &case.tokenizer, &case.quick, &indented);
        }
    }
}

#[test]
fn every_character_beside_known_ones_has_the_same_tokens() {
    let assigned = (0..0x32400).chain(0xE0000..0xE0200);
    let characters: Vec<char> = assigned.filter_map(char::from_u32).collect();
    let cases = ["scripts, llama-2", "unknown, metaspace first, split false"];
    for case in ALL.iter().filter(|case| cases.contains(&&*case.name)) {
        for some in characters.chunks(64) {
            let text: String = some.iter().map(|c| format!("e{c}i {c}{c}(")).collect();
            assert_same(&case.name, &case.tokenizer, &case.quick, &text);
        }
    }
}

#[test]
fn text_without_a_cut_and_longer_than_what_is_remembered_is_one_piece() {
    for case in ALL.iter() {
        for text in ["e".repeat(3000), " ".repeat(700), "日".repeat(200)] {
            assert_same(&case.name, &case.tokenizer, &case.quick, &text);
        }
    }
}

#[test]
fn an_added_token_is_found_in_text_as_it_is_normalized() {
    for case in ALL.iter() {
        for text in [
            "<n>",
            "<n>first",
            "first<n> second <n> third  <n>",
            "a <s><n>b<s> c<n><n> <n>日",
            "日 <n>日 <n>",
        ] {
            assert_same(&case.name, &case.tokenizer, &case.quick, text);
        }
        // Of a text that begins with a blank and a token, the `▁` before it is a stretch of its own.
        if case.name.ends_with("llama-2") {
            assert!(case.quick.encode(&case.tokenizer, " <n>", true).is_none());
        }
    }
}

#[test]
fn a_character_that_leaves_no_token_sends_the_text_the_long_way() {
    let mut model = model(by_script, false);
    model["unk_token"] = Value::Null;
    let (tokenizer, quick) = built(&described(&model, replace(), Value::Null));
    let quick = quick.unwrap();
    assert_same("dropped", &tokenizer, &quick, "let first = text(1);");
    assert!(quick.encode(&tokenizer, "fi日rst", false).is_none());
}

#[test]
fn text_is_cut_where_no_merge_reaches_over_and_nowhere_else() {
    let model = model(by_script, true);
    let parsed: BPE = serde_json::from_str(&model.to_string()).unwrap();
    let cuts = Cuts::new(&model, &parsed, false).unwrap();
    for (left, right) in [
        ('e', BLANK),
        ('e', '\n'),
        ('\n', BLANK),
        ('e', '('),
        ('日', '日'),
    ] {
        assert!(cuts.between(left, right), "{left:?} {right:?}");
    }
    for merge in model["merges"].as_array().unwrap() {
        let part = |at: usize| merge[at].as_str().unwrap().chars();
        let (left, right) = (part(0).next_back().unwrap(), part(1).next().unwrap());
        assert!(!cuts.between(left, right), "{left:?} {right:?}");
    }
    let split = Cuts::new(&model, &parsed, true).unwrap();
    assert!(!cuts.between(BLANK, BLANK) && split.between(BLANK, BLANK));
}

#[test]
fn a_tokenizer_whose_parts_could_differ_from_the_whole_goes_the_long_way() {
    let goes = |change: &dyn Fn(&mut Value)| {
        let mut json = described(&model(by_script, true), llama(), Value::Null);
        change(&mut json);
        built(&json).1.is_some()
    };
    assert!(goes(&|_| {}));
    let changes: [&dyn Fn(&mut Value); 13] = [
        &|json| json["model"]["dropout"] = json!(0.1),
        &|json| json["model"]["ignore_merges"] = json!(true),
        &|json| json["model"]["end_of_word_suffix"] = json!("</w>"),
        &|json| {
            json["model"]["continuing_subword_prefix"] = json!("##");
            json["model"]["merges"] = json!([]);
        },
        // Two tokens of one id, of which merges cannot tell which is meant.
        &|json| json["model"]["vocab"]["twice"] = json!(7),
        // Bytes for some characters only.
        &|json| {
            let vocab = json["model"]["vocab"].as_object_mut().unwrap();
            vocab.remove("<0xE6>");
        },
        // Merges of what unknown characters become.
        &|json| {
            json["model"]["vocab"]["e<0x0A>"] = json!(9000);
            json["model"]["merges"]
                .as_array_mut()
                .unwrap()
                .push(json!(["e", "<0x0A>"]));
        },
        &|json| {
            json["model"]["vocab"]["<unk>e"] = json!(9000);
            json["model"]["merges"]
                .as_array_mut()
                .unwrap()
                .push(json!(["<unk>", "e"]));
        },
        &|json| {
            json["normalizer"] =
                json!({ "type": "Sequence", "normalizers": [{ "type": "NFKC" }, replace()] })
        },
        &|json| json["normalizer"] = json!({ "type": "Prepend", "prepend": "▁" }),
        &|json| json["pre_tokenizer"] = json!({ "type": "Whitespace" }),
        // Before what follows a token that was found in normalized text, this puts one more.
        &|json| json["pre_tokenizer"] = metaspace("always", false),
        // Normalized, it is found in any run of blanks.
        &|json| json["added_tokens"][6]["content"] = json!("  "),
    ];
    for (at, change) in changes.iter().enumerate() {
        assert!(!goes(*change), "change {at}");
    }
}
