//! The tokenizer in a GGUF file's metadata as the `tokenizer.json` and `tokenizer_config.json` that Hugging Face
//! would have for it.

use std::collections::HashMap;

use serde_json::{Map, Value as Json, json};

use super::names::key;
use super::pre_tokenizer;
use super::read::Gguf;
use super::value::Value;
use crate::{Error, Result};

/// llama.cpp's kinds of tokens.
const CONTROL: f64 = 3.0;
const USER_DEFINED: f64 = 4.0;
const UNKNOWN: f64 = 2.0;

/// `tokenizer.json` and `tokenizer_config.json` of a file.
///
/// # Errors
/// There is no tokenizer, it is of a kind that is not supported, or its lists do not fit together.
pub(crate) fn tokenizer(file: &Gguf) -> Result<(Json, Json)> {
    let reader = Reader {
        file,
        tokens: texts(file, key::TOKENS)?,
    };
    let mut whole = match file.text(key::TOKENIZER)? {
        Some("gpt2") => reader.bytes()?,
        Some("llama") => reader.pieces()?,
        Some(other) => {
            return Err(reader.fault(format!(
                "has a tokenizer of kind {other:?}, which is not supported (gpt2 and llama are); put the model's tokenizer.json beside it"
            )));
        }
        None => return Err(reader.fault(format!("has no {} in its metadata", key::TOKENIZER))),
    };
    whole.insert("version".into(), json!("1.0"));
    whole.insert("truncation".into(), Json::Null);
    whole.insert("padding".into(), Json::Null);
    whole.insert("added_tokens".into(), reader.added()?);
    Ok((Json::Object(whole), reader.config()?))
}

fn texts<'a>(file: &'a Gguf, key: &str) -> Result<&'a [String]> {
    match file.get(key) {
        Some(Value::Texts(texts)) => Ok(texts),
        // A list without a value has no type.
        Some(Value::Numbers(none)) if none.is_empty() => Ok(&[]),
        _ => Err(Error::file(
            file.path(),
            format!("has no list of texts {key} in its metadata"),
        )),
    }
}

struct Reader<'a> {
    file: &'a Gguf,
    tokens: &'a [String],
}

impl Reader<'_> {
    fn fault(&self, message: String) -> Error {
        Error::file(self.file.path(), message)
    }

    /// Numbers beside the tokens, one for each.
    fn beside(&self, key: &str) -> Result<Option<&[f64]>> {
        match self.file.get(key) {
            None => Ok(None),
            Some(Value::Numbers(numbers)) if numbers.len() == self.tokens.len() => {
                Ok(Some(numbers))
            }
            Some(_) => Err(self.fault(format!(
                "{key} must be a list of {} numbers, one a token",
                self.tokens.len()
            ))),
        }
    }

    /// The token that a key names by its id.
    fn named(&self, key: &str) -> Result<Option<&str>> {
        match self.file.whole(key)? {
            None => Ok(None),
            Some(id) => match self.tokens.get(id as usize) {
                Some(token) => Ok(Some(token)),
                None => Err(self.fault(format!(
                    "{key} is {id}, but there are {} tokens",
                    self.tokens.len()
                ))),
            },
        }
    }

    fn vocab(&self) -> Map<String, Json> {
        let tokens = self.tokens.iter().enumerate();
        tokens
            .map(|(id, token)| (token.clone(), json!(id)))
            .collect()
    }

    /// Byte-level BPE.
    fn bytes(&self) -> Result<Map<String, Json>> {
        let pre = self.file.text(key::PRE_TOKENIZER)?.unwrap_or("default");
        let level = |regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": regex });
        let split = |regex: &str| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
        let steps = pre_tokenizer::steps(pre).ok_or_else(|| {
            self.fault(format!(
                "cuts text as {pre:?} does ({}), which is not supported; put the model's tokenizer.json beside it",
                key::PRE_TOKENIZER
            ))
        })?;
        let mut parts: Vec<Json> = steps.iter().map(|step| split(step)).collect();
        parts.push(level(false));
        let nfc = pre == "qwen2";
        let llama3 = matches!(pre, "llama-bpe" | "llama3" | "llama-v3" | "tekken");
        let merges: Vec<Json> = texts(self.file, key::MERGES)?
            .iter()
            .map(|merge| match merge.split_once(' ') {
                Some((left, right)) => Ok(json!([left, right])),
                None => Err(self.fault(format!("{} holds {merge:?}, no pair", key::MERGES))),
            })
            .collect::<Result<_>>()?;
        let mut whole = Map::new();
        let normalizer = if nfc {
            json!({ "type": "NFC" })
        } else {
            Json::Null
        };
        whole.insert("normalizer".into(), normalizer);
        whole.insert(
            "pre_tokenizer".into(),
            json!({ "type": "Sequence", "pretokenizers": parts }),
        );
        whole.insert("decoder".into(), level(true));
        whole.insert("post_processor".into(), self.around(llama3, level(true))?);
        whole.insert(
            "model".into(),
            json!({ "type": "BPE", "vocab": self.vocab(), "merges": merges, "byte_fallback": false, "ignore_merges": llama3 }),
        );
        Ok(whole)
    }

    /// SentencePiece's BPE: pieces with scores, blanks as U+2581, single bytes for what is unknown.
    ///
    /// The order of merges follows from the scores, as `generate_merges` of Transformers has it.
    fn pieces(&self) -> Result<Map<String, Json>> {
        let scores = self
            .beside(key::SCORES)?
            .ok_or_else(|| self.fault(format!("has no {} in its metadata", key::SCORES)))?;
        let ids: HashMap<&str, usize> = self
            .tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.as_str(), id))
            .collect();
        let kinds = self.beside(key::TOKEN_TYPES)?;
        let mut merges = Vec::new();
        for (id, token) in self.tokens.iter().enumerate() {
            // Only pieces of text come from merges.
            if kinds.is_some_and(|kinds| kinds[id] != 1.0) || !scores[id].is_finite() {
                continue;
            }
            let borders = token.char_indices().map(|(at, _)| at).skip(1);
            let mut own: Vec<(&str, &str)> = borders
                .map(|at| token.split_at(at))
                .filter(|(left, right)| ids.contains_key(left) && ids.contains_key(right))
                .collect();
            own.sort_by_key(|(left, right)| (ids[left], ids[right]));
            merges.extend(own.into_iter().map(|pair| (scores[id], pair)));
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0));
        let merges: Vec<Json> = merges
            .iter()
            .map(|(_, (left, right))| json!([left, right]))
            .collect();
        let unknown = self.named(key::UNKNOWN)?;
        let prefixed = self.file.flag(key::ADD_SPACE_PREFIX)?.unwrap_or(true);
        let blanks =
            json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" });
        let mut normalizers = vec![blanks];
        let mut decoders = vec![
            json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if prefixed {
            normalizers.insert(0, json!({ "type": "Prepend", "prepend": "\u{2581}" }));
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let mut whole = Map::new();
        whole.insert(
            "normalizer".into(),
            json!({ "type": "Sequence", "normalizers": normalizers }),
        );
        whole.insert("pre_tokenizer".into(), Json::Null);
        whole.insert(
            "decoder".into(),
            json!({ "type": "Sequence", "decoders": decoders }),
        );
        whole.insert("post_processor".into(), self.around(true, Json::Null)?);
        whole.insert(
            "model".into(),
            json!({ "type": "BPE", "vocab": self.vocab(), "merges": merges, "unk_token": unknown, "fuse_unk": true, "byte_fallback": true }),
        );
        Ok(whole)
    }

    /// What is put around every text: `plain` where that is nothing.
    fn around(&self, begins: bool, plain: Json) -> Result<Json> {
        let mut single = Vec::new();
        let mut tokens = Map::new();
        let mut put = |key: &str, single: &mut Vec<Json>| -> Result<()> {
            if let (Some(token), Some(id)) = (self.named(key)?, self.file.whole(key)?) {
                single.push(json!({ "SpecialToken": { "id": token, "type_id": 0 } }));
                tokens.insert(
                    token.to_owned(),
                    json!({ "id": token, "ids": [id], "tokens": [token] }),
                );
            }
            Ok(())
        };
        if self.file.flag(key::ADD_BOS)?.unwrap_or(begins) {
            put(key::BOS, &mut single)?;
        }
        single.push(json!({ "Sequence": { "id": "A", "type_id": 0 } }));
        if self.file.flag(key::ADD_EOS)?.unwrap_or(false) {
            put(key::EOS, &mut single)?;
        }
        if tokens.is_empty() {
            return Ok(plain);
        }
        let mut pair = single.clone();
        pair.push(json!({ "Sequence": { "id": "B", "type_id": 1 } }));
        Ok(
            json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens }),
        )
    }

    /// Tokens that are found in a text before it is cut into pieces.
    fn added(&self) -> Result<Json> {
        let Some(kinds) = self.beside(key::TOKEN_TYPES)? else {
            return Ok(json!([]));
        };
        let added = kinds.iter().zip(self.tokens).enumerate();
        let added = added.filter(|(_, (kind, _))| [CONTROL, USER_DEFINED, UNKNOWN].contains(kind));
        Ok(added
            .map(|(id, (kind, token))| {
                json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind != USER_DEFINED,
                })
            })
            .collect())
    }

    fn config(&self) -> Result<Json> {
        let mut config = Map::new();
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        for (name, key) in [
            ("bos_token", key::BOS),
            ("eos_token", key::EOS),
            ("unk_token", key::UNKNOWN),
            ("pad_token", key::PADDING),
        ] {
            config.insert(name.into(), json!(self.named(key)?));
        }
        let usual = self.file.text(key::CHAT_TEMPLATE)?;
        let mut named: Vec<Json> = Vec::new();
        if self.file.get(key::CHAT_TEMPLATES).is_some() {
            for name in texts(self.file, key::CHAT_TEMPLATES)? {
                let key = format!("{}.{name}", key::CHAT_TEMPLATE);
                if let Some(template) = self.file.text(&key)? {
                    named.push(json!({ "name": name, "template": template }));
                }
            }
        }
        if named.is_empty() {
            if let Some(template) = usual {
                config.insert("chat_template".into(), json!(template));
            }
        } else {
            if let Some(template) = usual {
                named.insert(0, json!({ "name": "default", "template": template }));
            }
            config.insert("chat_template".into(), named.into());
        }
        Ok(Json::Object(config))
    }
}
