//! A `tokenizer.json` as llama.cpp's metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value as Json;

use super::names::key;
use super::pre_tokenizer;
use super::write::Value;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Metadata of a tokenizer, and what is to be said about it.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) warnings: Vec<String>,
}

/// Key of a fill-in-the-middle token, and what families call it.
const FIM: &[(&str, &[&str])] = &[
    (
        "fim_pre",
        &[
            "<|fim_prefix|>",
            "<fim_prefix>",
            "<fim-prefix>",
            "▁<PRE>",
            "<｜fim▁begin｜>",
            "[PREFIX]",
        ],
    ),
    (
        "fim_suf",
        &[
            "<|fim_suffix|>",
            "<fim_suffix>",
            "<fim-suffix>",
            "▁<SUF>",
            "<｜fim▁hole｜>",
            "[SUFFIX]",
        ],
    ),
    (
        "fim_mid",
        &[
            "<|fim_middle|>",
            "<fim_middle>",
            "<fim-middle>",
            "▁<MID>",
            "<｜fim▁end｜>",
        ],
    ),
    ("fim_pad", &["<|fim_pad|>", "<fim_pad>", "<fim-pad>"]),
    ("fim_rep", &["<|repo_name|>", "<repo_name>", "<reponame>"]),
    ("fim_sep", &["<|file_sep|>", "<file_sep>"]),
];

/// Reads the tokenizer of a model folder for a model of `rows` embedded tokens. `end_of_turn` ends an assistant's
/// turn in the chat template.
///
/// # Errors
/// The tokenizer is of a kind that the format cannot carry, is damaged, or has more tokens than the model.
pub(crate) fn vocabulary(
    folder: &Path,
    tokenizer: &Tokenizer,
    rows: usize,
    end_of_turn: Option<u32>,
) -> Result<Vocabulary> {
    let path = folder.join("tokenizer.json");
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let json: Json = serde_json::from_slice(&text)
        .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
    let model = &json["model"];
    // Older files leave the type out; only BPE has merges.
    let kind = model["type"].as_str().unwrap_or(match model["merges"] {
        Json::Array(_) => "BPE",
        _ => "unknown",
    });
    if kind != "BPE" {
        let message = format!(
            "is a {kind} tokenizer; a GGUF of a decoder carries BPE: export --format safetensors"
        );
        return Err(Error::file(&path, message));
    }
    let sentencepiece = model["byte_fallback"] == true;
    let merges = merges(model).map_err(|message| Error::file(&path, message))?;
    let (tokens, types) = tokens(&json, rows, sentencepiece, tokenizer)
        .map_err(|message| Error::file(&path, message))?;
    let mut found = Vocabulary::default();
    let mut put = |key: &str, value: Value| found.metadata.push((key.to_owned(), value));
    if sentencepiece {
        put(key::TOKENIZER, Value::Text("llama".into()));
        put(key::PRE_TOKENIZER, Value::Text("default".into()));
        put(key::SCORES, Value::F32s(scores(&tokens, &merges)));
        put(key::ADD_SPACE_PREFIX, Value::Bool(adds_space(&json)));
    } else {
        put(key::TOKENIZER, Value::Text("gpt2".into()));
        let pre = pre_tokenizer::name(&json).unwrap_or_else(|steps| {
            found.warnings.push(format!(
                "tokenizer.ggml.pre: llama.cpp has no name for this tokenizer ({steps}); it is written as \"default\", which may cut text otherwise"
            ));
            "default"
        });
        put(key::PRE_TOKENIZER, Value::Text(pre.into()));
        // A blank inside a part stands as it does in a byte-level vocabulary.
        let joined = merges
            .iter()
            .map(|(a, b)| format!("{} {}", a.replace(' ', "Ġ"), b.replace(' ', "Ġ")));
        put(key::MERGES, Value::Texts(joined.collect()));
    }
    put(key::TOKENS, Value::Texts(tokens));
    put(key::TOKEN_TYPES, Value::I32s(types));
    special(&mut found.metadata, tokenizer, end_of_turn);
    Ok(found)
}

/// Ids of the special tokens, whether llama.cpp puts them around a text, and the chat template.
fn special(metadata: &mut Vec<(String, Value)>, tokenizer: &Tokenizer, end_of_turn: Option<u32>) {
    let special = tokenizer.special_tokens();
    let id = |token: &Option<String>| tokenizer.token_id(token.as_deref()?);
    let mut put = |key: &str, value: Value| metadata.push((key.to_owned(), value));
    let bos = id(&special.bos);
    for (key, id) in [
        (key::BOS, bos),
        (key::EOS, tokenizer.eos_id()),
        (key::EOT, end_of_turn),
        (key::PADDING, id(&special.pad)),
        (key::UNKNOWN, id(&special.unk)),
    ] {
        if let Some(id) = id {
            put(key, Value::U32(id));
        }
    }
    let adds_bos = bos.is_some_and(|bos| tokenizer.prefix() == [bos]);
    put(key::ADD_BOS, Value::Bool(adds_bos));
    put(key::ADD_EOS, Value::Bool(!tokenizer.suffix().is_empty()));
    for (key, names) in FIM {
        if let Some(id) = names.iter().find_map(|name| tokenizer.token_id(name)) {
            put(&format!("tokenizer.ggml.{key}_token_id"), Value::U32(id));
        }
    }
    if let Some(template) = tokenizer.chat_template() {
        put(key::CHAT_TEMPLATE, Value::Text(template.to_owned()));
    }
    let mut names = Vec::new();
    for (name, source) in tokenizer.chat_templates() {
        // As the package gguf writes names into keys.
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = name.chars().map(plain).collect();
        if name != "default" && !name.is_empty() && !names.contains(&name) {
            put(
                &format!("{}.{name}", key::CHAT_TEMPLATE),
                Value::Text(source.to_owned()),
            );
            names.push(name);
        }
    }
    if !names.is_empty() {
        put(key::CHAT_TEMPLATES, Value::Texts(names));
    }
}

fn merges(model: &Json) -> Result<Vec<(String, String)>, String> {
    let list = model["merges"].as_array().ok_or("has no list of merges")?;
    list.iter()
        .map(|merge| match merge {
            Json::String(text) => text
                .split_once(' ')
                .map(|(a, b)| (a.to_owned(), b.to_owned())),
            Json::Array(pair) => match pair.as_slice() {
                [Json::String(a), Json::String(b)] => Some((a.clone(), b.clone())),
                _ => None,
            },
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(|| "has a merge that is no pair".to_owned())
}

/// Texts and kinds of all tokens, by id, up to the model's rows.
fn tokens(
    json: &Json,
    rows: usize,
    sentencepiece: bool,
    tokenizer: &Tokenizer,
) -> Result<(Vec<String>, Vec<i32>), String> {
    let vocab = json["model"]["vocab"]
        .as_object()
        .ok_or("has no vocabulary")?;
    let unknown = json["model"]["unk_token"].as_str();
    let mut by_id: BTreeMap<usize, (String, i32)> = BTreeMap::new();
    for (text, id) in vocab {
        let id = id.as_u64().ok_or_else(|| format!("{text:?} has no id"))? as usize;
        let byte = sentencepiece && text.len() == 6 && text.starts_with("<0x");
        let kind = match (byte, unknown == Some(text)) {
            (true, _) => BYTE,
            (_, true) => UNKNOWN,
            _ => NORMAL,
        };
        by_id.insert(id, (text.clone(), kind));
    }
    for (id, text) in tokenizer.added_tokens() {
        let kind = match (tokenizer.is_special(id), unknown == Some(text.as_str())) {
            (_, true) => UNKNOWN,
            (true, _) => CONTROL,
            (false, _) => USER_DEFINED,
        };
        // llama.cpp looks for them in the text as it is typed.
        let text = match sentencepiece && kind == USER_DEFINED {
            true => text.replace('▁', " "),
            false => text,
        };
        by_id.insert(id as usize, (text, kind));
    }
    if let Some((&id, (text, _))) = by_id.last_key_value()
        && id >= rows
    {
        return Err(format!(
            "holds {text:?} with id {id}, but the model embeds {rows} tokens only"
        ));
    }
    let (mut texts, mut kinds) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for id in 0..rows {
        let (text, kind) = by_id
            .remove(&id)
            .unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED));
        texts.push(text);
        kinds.push(kind);
    }
    Ok((texts, kinds))
}

/// llama.cpp merges the pair whose whole has the highest score: the earlier a merge stands, the higher.
fn scores(tokens: &[String], merges: &[(String, String)]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (rank, (a, b)) in merges.iter().enumerate() {
        ranks.entry(format!("{a}{b}")).or_insert(rank);
    }
    tokens
        .iter()
        .map(|token| ranks.get(token).map_or(0.0, |rank| -(*rank as f32) - 1.0))
        .collect()
}

/// Whether a blank is put before the first word.
fn adds_space(json: &Json) -> bool {
    fn prepends(step: &Json) -> bool {
        match step["type"].as_str() {
            Some("Prepend") => step["prepend"] == "▁",
            Some("Metaspace") => {
                step["add_prefix_space"] == true
                    || matches!(step["prepend_scheme"].as_str(), Some("always" | "first"))
            }
            Some("Sequence") => ["normalizers", "pretokenizers"]
                .into_iter()
                .filter_map(|key| step[key].as_array())
                .flatten()
                .any(prepends),
            _ => false,
        }
    }
    prepends(&json["normalizer"]) || prepends(&json["pre_tokenizer"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A tokenizer as Llama 2 has it: merges over characters, bytes for what is left.
    fn sentencepiece() -> Json {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let tokens = ["<unk>", "<s>", "</s>"]
            .map(str::to_owned)
            .into_iter()
            .chain(bytes)
            .chain(["▁", "a", "b", "ab", "▁ab", "ba"].map(str::to_owned));
        let vocab: serde_json::Map<String, Json> = tokens
            .enumerate()
            .map(|(id, token)| (token, json!(id)))
            .collect();
        let added = ["<unk>", "<s>", "</s>"].into_iter().enumerate().map(|(id, text)| {
            json!({ "id": id, "content": text, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false })
        });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "Prepend", "prepend": "▁" },
                { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
            ] },
            "pre_tokenizer": null,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
                "pair": [],
                "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } },
            },
            "decoder": null,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
                "merges": ["a b", "▁ ab", "b a"],
            },
        })
    }

    fn read(json: &Json, rows: usize) -> Result<Vocabulary> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        let config = json!({ "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>" });
        std::fs::write(
            folder.path().join("tokenizer_config.json"),
            config.to_string(),
        )
        .unwrap();
        let tokenizer = Tokenizer::load(folder.path())?;
        vocabulary(folder.path(), &tokenizer, rows, None)
    }

    fn value(found: &Vocabulary, key: &str) -> Value {
        let value = found.metadata.iter().find(|(known, _)| known == key);
        value.unwrap_or_else(|| panic!("no {key}")).1.clone()
    }

    #[test]
    fn a_tokenizer_that_falls_back_to_bytes_gets_scores_from_its_merges() {
        let found = read(&sentencepiece(), 268).unwrap();
        assert_eq!(value(&found, key::TOKENIZER), Value::Text("llama".into()));
        assert_eq!(value(&found, key::ADD_BOS), Value::Bool(true));
        assert_eq!(value(&found, key::ADD_SPACE_PREFIX), Value::Bool(true));
        assert_eq!(value(&found, key::UNKNOWN), Value::U32(0));
        let Value::F32s(scores) = value(&found, key::SCORES) else {
            panic!("scores");
        };
        assert_eq!(scores[259..265], [0.0, 0.0, 0.0, -1.0, -2.0, -3.0]);
        let Value::I32s(types) = value(&found, key::TOKEN_TYPES) else {
            panic!("types");
        };
        assert_eq!(types[..4], [UNKNOWN, CONTROL, CONTROL, BYTE]);
        assert_eq!(
            types[259..],
            [
                NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, UNUSED, UNUSED, UNUSED
            ]
        );
        let Value::Texts(tokens) = value(&found, key::TOKENS) else {
            panic!("tokens");
        };
        assert_eq!(tokens[265], "[PAD265]");
    }

    #[test]
    fn what_the_format_cannot_carry_is_refused() {
        let error = read(&sentencepiece(), 200).unwrap_err().to_string();
        assert!(error.contains("embeds 200 tokens only"), "{error}");
        let mut words = sentencepiece();
        words["model"] = json!({
            "type": "WordLevel", "vocab": { "<unk>": 0, "<s>": 1, "</s>": 2 }, "unk_token": "<unk>",
        });
        let error = read(&words, 268).unwrap_err().to_string();
        assert!(error.contains("WordLevel"), "{error}");
    }
}
