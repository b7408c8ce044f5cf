use std::{fs, path::Path};

use serde::Serialize;
use serde_json::{Map, Value};

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
    /// Stands between two texts, in models that are no decoders.
    pub sep: Option<String>,
    /// Stands for a whole text, in models that are no decoders.
    pub cls: Option<String>,
    /// Stands for a hidden word, in models that are no decoders.
    pub mask: Option<String>,
}

impl SpecialTokens {
    /// Those that are set, under Transformers' names.
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("bos_token", &self.bos),
            ("eos_token", &self.eos),
            ("unk_token", &self.unk),
            ("sep_token", &self.sep),
            ("pad_token", &self.pad),
            ("cls_token", &self.cls),
            ("mask_token", &self.mask),
        ];
        all.into_iter()
            .filter_map(|(name, token)| Some((name, token.clone()?)))
            .collect()
    }
}

/// What the files beside `tokenizer.json` say.
pub(super) struct Described {
    pub(super) special: SpecialTokens,
    /// `eos_token_id` of `generation_config.json` and `config.json`.
    pub(super) eos_ids: Vec<u32>,
    /// Chat templates by name; a single one is called `default`.
    pub(super) chat_templates: Vec<(String, String)>,
}

pub(super) fn read(dir: &Path) -> Result<Described> {
    let mut tokenizer = read_json(&dir.join("tokenizer_config.json"))?;
    // Transformers looks there too where the newer file does not describe its tokens.
    if tokenizer.get("added_tokens_decoder").is_none()
        && let Value::Object(named) = read_json(&dir.join("special_tokens_map.json"))?
    {
        if !tokenizer.is_object() {
            tokenizer = Value::Object(Map::new());
        }
        for (name, token) in named {
            if tokenizer[&name].is_null() {
                tokenizer[&name] = token;
            }
        }
    }
    let models = ["generation_config.json", "config.json"].map(|file| read_json(&dir.join(file)));
    let [generation, model] = models;
    Ok(of_json(
        &tokenizer,
        &[generation?, model?],
        template_files(dir)?,
    ))
}

/// What `tokenizer_config.json` and the configs with an `eos_token_id` say, with the templates of files of their own.
pub(super) fn of_json(
    tokenizer: &Value,
    models: &[Value],
    mut chat_templates: Vec<(String, String)>,
) -> Described {
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
    for config in models {
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
    // Transformers prefers the files where both are there.
    if chat_templates.is_empty() {
        chat_templates = templates_of(&tokenizer["chat_template"]);
    }
    Described {
        special: SpecialTokens {
            bos: token("bos_token"),
            eos: token("eos_token"),
            pad: token("pad_token"),
            unk: token("unk_token"),
            sep: token("sep_token"),
            cls: token("cls_token"),
            mask: token("mask_token"),
        },
        eos_ids,
        chat_templates,
    }
}

/// `chat_template.jinja`, and those in `additional_chat_templates`, by the names of their files.
fn template_files(dir: &Path) -> Result<Vec<(String, String)>> {
    let read = |path: &Path| fs::read_to_string(path).map_err(Error::io("read", path));
    let mut templates = Vec::new();
    let single = dir.join("chat_template.jinja");
    if single.is_file() {
        templates.push(("default".to_owned(), read(&single)?));
    }
    let more = dir.join("additional_chat_templates");
    if more.is_dir() {
        let mut paths: Vec<_> = fs::read_dir(&more)
            .map_err(Error::io("read", &more))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "jinja"))
            .collect();
        paths.sort();
        for path in paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            templates.push((name.into_owned(), read(&path)?));
        }
    }
    Ok(templates)
}

/// A template, or a list of named ones.
fn templates_of(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::String(text) => vec![("default".to_owned(), text.clone())],
        Value::Array(named) => named
            .iter()
            .filter_map(|entry| {
                let name = entry["name"].as_str()?.to_owned();
                Some((name, entry["template"].as_str()?.to_owned()))
            })
            .collect(),
        _ => Vec::new(),
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
