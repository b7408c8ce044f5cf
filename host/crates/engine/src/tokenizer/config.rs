use std::{fs, path::Path};

use serde::Serialize;
use serde_json::Value;

use crate::{Error, Result};

/// Names of the special tokens, as `tokenizer_config.json` gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: Option<String>,
    /// Ends a text.
    pub eos: Option<String>,
    /// Fills a batch.
    pub pad: Option<String>,
    /// Stands for what the vocabulary lacks.
    pub unk: Option<String>,
}

/// What the files beside `tokenizer.json` say.
pub(super) struct Described {
    pub(super) special: SpecialTokens,
    /// `eos_token_id` of `generation_config.json` and `config.json`.
    pub(super) eos_ids: Vec<u32>,
    pub(super) chat_template: Option<String>,
}

pub(super) fn read(dir: &Path) -> Result<Described> {
    let tokenizer = read_json(&dir.join("tokenizer_config.json"))?;
    let token = |key: &str| match &tokenizer[key] {
        Value::String(text) => Some(text.clone()),
        // Older files hold the whole added token.
        Value::Object(token) => token
            .get("content")
            .and_then(Value::as_str)
            .map(str::to_owned),
        _ => None,
    };
    let mut eos_ids = Vec::new();
    for file in ["generation_config.json", "config.json"] {
        let config = read_json(&dir.join(file))?;
        let ids = match &config["eos_token_id"] {
            Value::Array(ids) => ids.clone(),
            other => vec![other.clone()],
        };
        for id in ids.iter().filter_map(Value::as_u64) {
            let id = id as u32;
            if !eos_ids.contains(&id) {
                eos_ids.push(id);
            }
        }
    }
    let template_file = dir.join("chat_template.jinja");
    // Transformers prefers the file where both are there.
    let chat_template = if template_file.is_file() {
        let text = fs::read_to_string(&template_file).map_err(Error::io("read", &template_file))?;
        Some(text)
    } else {
        template_of(&tokenizer["chat_template"])
    };
    Ok(Described {
        special: SpecialTokens {
            bos: token("bos_token"),
            eos: token("eos_token"),
            pad: token("pad_token"),
            unk: token("unk_token"),
        },
        eos_ids,
        chat_template,
    })
}

/// A template, or of a list of named ones the one called `default`.
fn template_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_owned),
        _ => None,
    }
}

/// `null` where the file is not there.
fn read_json(path: &Path) -> Result<Value> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(path, format!("is not valid JSON: {error}")))
}
