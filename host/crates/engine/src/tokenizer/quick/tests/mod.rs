mod pieces;

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::{Quick, split::Splitter};
use crate::tokenizer::{BpeTraining, train_bpe};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn isolated(pattern: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
}

fn bytes(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

fn sequence(steps: &[Value]) -> Value {
    json!({ "type": "Sequence", "pretokenizers": steps })
}

fn digits(individual: bool) -> Value {
    json!({ "type": "Digits", "individual_digits": individual })
}

/// A byte-level BPE of 400 tokens, with `pre_tokenizer` and `normalizer`.
fn with(pre_tokenizer: Value, normalizer: Value) -> (Tokenizer, Option<Quick>) {
    static TRAINED: LazyLock<Value> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let training = BpeTraining {
            vocab_size: 400,
            special_tokens: vec!["<|endoftext|>".into(), "<|im_end|>".into(), "<|im".into()],
            ..BpeTraining::default()
        };
        let text =
            "for index in range(10):\n    print('première', index_of(first), 12345)\n\n".repeat(4);
        train_bpe(&[text], &training, dir.path()).unwrap();
        serde_json::from_slice(&std::fs::read(dir.path().join("tokenizer.json")).unwrap()).unwrap()
    });
    let mut json = TRAINED.clone();
    json["pre_tokenizer"] = pre_tokenizer;
    json["normalizer"] = normalizer;
    json["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": 400, "content": "    ", "special": false, "normalized": true, "lstrip": false, "rstrip": false,
        "single_word": false,
    }));
    let mut tokenizer = Tokenizer::from_bytes(json.to_string()).unwrap();
    tokenizer.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
    let quick = Quick::new(&json, &tokenizer);
    (tokenizer, quick)
}

/// The pre-tokenizers of well-known models.
fn known() -> Vec<(&'static str, Value)> {
    let deepseek = [
        isolated("[\r\n]"),
        isolated(r"\s?\p{L}+"),
        isolated(r"\s?\p{P}+"),
        isolated("[一-龥ࠀ-一가-퟿]+"),
        digits(true),
        bytes(false),
    ];
    vec![
        ("gpt2", bytes(true)),
        ("smollm2", sequence(&[digits(true), bytes(true)])),
        ("digits together", sequence(&[digits(false), bytes(true)])),
        ("llama3", sequence(&[isolated(LLAMA3), bytes(false)])),
        ("qwen2", sequence(&[isolated(QWEN2), bytes(false)])),
        ("deepseek-coder", sequence(&deepseek)),
        ("o200k", sequence(&[isolated(O200K), bytes(false)])),
    ]
}

fn assert_same(name: &str, tokenizer: &Tokenizer, quick: &Quick, text: &str) {
    let expected = tokenizer.encode(text, false).unwrap();
    for offsets in [false, true] {
        let got = quick.encode(tokenizer, text, offsets);
        let got = got.unwrap_or_else(|| panic!("{name}: {text:?} went the long way"));
        assert_eq!(got.ids, expected.get_ids(), "{name}: {text:?}");
        let wanted = if offsets { expected.get_offsets() } else { &[] };
        assert_eq!(got.offsets, wanted, "{name}: {text:?}");
    }
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "for", "index", " index", "première", "e\u{301}", "日本語", "가나", "😀", "'s", "'S", "'\u{17f}", "'ll", "'RE",
            "12", "34567", "½", "٣", "(", ").", "//", "_", "\u{200d}", "<|endoftext|>", "<|im_end|>", "<|im", "<|",
            "ǅ", "İ",
        ]).prop_map(str::to_string),
        6 => prop::sample::select(vec![
            " ", "  ", "    ", "     ", "\t", "\n", "\n\n", "\r\n", "\r", "\u{a0}", "\u{3000}", "\u{85}", "\u{b}", " \n ",
        ]).prop_map(str::to_string),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_text_has_the_same_tokens_and_offsets_the_quick_way(text in text()) {
        static ALL: LazyLock<Vec<(&str, Tokenizer, Quick)>> = LazyLock::new(|| {
            let all = known().into_iter().map(|(name, pre)| {
                let (tokenizer, quick) = with(pre, Value::Null);
                (name, tokenizer, quick.unwrap_or_else(|| panic!("{name} goes the long way")))
            });
            all.collect()
        });
        for (name, tokenizer, quick) in ALL.iter() {
            assert_same(name, tokenizer, quick, &text);
        }
    }
}

#[test]
fn every_character_is_of_the_same_class_to_both_engines() {
    let (tokenizer, quick) = with(
        sequence(&[digits(true), isolated(O200K), bytes(true)]),
        Value::Null,
    );
    let quick = quick.unwrap();
    let assigned = (0..0x32400).chain(0xE0000..0xE0200);
    let characters: Vec<char> = assigned.filter_map(char::from_u32).collect();
    for some in characters.chunks(32) {
        let text: String = some.iter().map(|c| format!("a{c}B {c}1{c}.")).collect();
        assert_same("all characters", &tokenizer, &quick, &text);
    }
}

#[test]
fn text_in_normal_form_c_goes_the_quick_way_and_other_text_the_long_one() {
    let (tokenizer, quick) = with(bytes(true), json!({ "type": "NFC" }));
    let quick = quick.unwrap();
    assert_same("NFC", &tokenizer, &quick, "première <|im_end|> 日本");
    assert!(quick.encode(&tokenizer, "premie\u{300}re", true).is_none());
}

#[test]
fn a_tokenizer_of_another_kind_goes_the_long_way() {
    let long = [
        (bytes(true), json!({ "type": "Lowercase" })),
        (
            json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true }),
            Value::Null,
        ),
        (json!({ "type": "Whitespace" }), Value::Null),
        (Value::Null, Value::Null),
        (sequence(&[isolated(r"\p{L}++"), bytes(false)]), Value::Null),
    ];
    for (pre_tokenizer, normalizer) in long {
        let (_, quick) = with(pre_tokenizer.clone(), normalizer);
        assert!(quick.is_none(), "{pre_tokenizer}");
    }
    for pattern in [
        r"\w+", r"\bword", "^a", "a$", "a.b", r"\p{L}+?", "a*+", "[[a]b]", "(?=a)b", "a|", "(?m:a)",
    ] {
        let pre_tokenizer = sequence(&[isolated(pattern), bytes(false)]);
        assert!(Splitter::new(&pre_tokenizer).is_none(), "{pattern}");
    }
}
