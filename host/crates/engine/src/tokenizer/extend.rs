//! More tokens for a model: its tokenizer learns them by name, its embedding and head get rows for them.

use std::{collections::BTreeSet, fs, path::Path};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::resize::{NewRows, Resize};
use crate::{Error, Result, files};

/// What to add to a model.
#[derive(Debug, Clone, Default)]
pub struct Extension {
    /// Tokens that are found in text as they are, and come back when tokens are decoded.
    pub tokens: Vec<String>,
    /// Tokens that are left out when a text is decoded for people, such as an end of turn.
    pub special_tokens: Vec<String>,
    /// What their rows hold.
    pub rows: NewRows,
    /// Rows are added until their number is a multiple of this; 0 adds none. Transformers' `pad_to_multiple_of`.
    pub pad_to_multiple_of: usize,
}

/// What was made.
#[derive(Debug, Clone, Serialize)]
pub struct Extended {
    /// New tokens with their ids.
    pub added: Vec<(u32, String)>,
    /// Rows of the embedding before.
    pub old_vocab_size: usize,
    /// Rows of the embedding now: `vocab_size` of the new config.json.
    pub vocab_size: usize,
}

/// Writes the model of the folder `model` with more tokens to `output`, a whole model folder.
///
/// The rows of the old tokens keep their bits, whatever their type. Where the embedding has more rows than the tokenizer
/// has tokens (many are padded), new tokens take those rows first.
///
/// # Errors
/// A token is empty, given twice or there already; the folder is no model whose rows can be added to; the output
/// exists or cannot be written.
pub fn extend(model: &Path, extension: &Extension, output: &Path) -> Result<Extended> {
    if output.exists() {
        return Err(Error::file(output, "exists already; choose another folder"));
    }
    let path = model.join("tokenizer.json");
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let mut tokenizer = super::parsed(&bytes, &path)?;
    check(&tokenizer, extension)?;
    for (tokens, special) in [
        (&extension.tokens, false),
        (&extension.special_tokens, true),
    ] {
        // Old texts must keep their tokens: what is added is taken as it stands, not after normalizing.
        let tokens: Vec<AddedToken> = tokens
            .iter()
            .map(|token| AddedToken::from(token.as_str(), special).normalized(false))
            .collect();
        let added = match special {
            true => tokenizer.add_special_tokens(tokens),
            false => tokenizer.add_tokens(tokens),
        };
        added.map_err(|error| Error::file(&path, format!("cannot take the tokens: {error}")))?;
    }
    let mut added: Vec<(u32, String)> = extension
        .tokens
        .iter()
        .chain(&extension.special_tokens)
        .filter_map(|token| Some((tokenizer.token_to_id(token)?, token.clone())))
        .collect();
    added.sort_unstable();

    let config_path = model.join("config.json");
    let mut config = object(&config_path)?;
    let old = config
        .get("vocab_size")
        .and_then(Value::as_u64)
        .ok_or_else(|| Error::file(&config_path, "has no vocab_size"))? as usize;
    let needed = added.last().map_or(0, |(id, _)| *id as usize + 1).max(old);
    let new = match extension.pad_to_multiple_of {
        0 => needed,
        multiple => needed.next_multiple_of(multiple),
    };
    config.insert("vocab_size".to_owned(), json!(new));
    let deviation = config
        .get("initializer_range")
        .and_then(Value::as_f64)
        .unwrap_or(0.02);
    let resize = Resize {
        old,
        new,
        fresh: added.iter().map(|(id, _)| *id as usize).collect(),
        rows: extension.rows,
        deviation,
    };
    files::replace_folder(output, |fresh| {
        let written = resize.folder(model, fresh)?;
        copy_others(model, fresh, &written)?;
        let text = tokenizer
            .to_string(true)
            .map_err(|error| Error::file(&path, format!("cannot be written: {error}")))?;
        write(&fresh.join("tokenizer.json"), &text)?;
        write_json(&fresh.join("config.json"), config.clone())?;
        describe(model, fresh, extension, &added)
    })?;
    Ok(Extended {
        added,
        old_vocab_size: old,
        vocab_size: new,
    })
}

fn check(tokenizer: &Inner, extension: &Extension) -> Result<()> {
    let mut seen = BTreeSet::new();
    let all = || extension.tokens.iter().chain(&extension.special_tokens);
    if all().next().is_none() {
        return Err(Error::Input("tokens: give at least one to add".to_owned()));
    }
    for token in all() {
        let fault = |what: &str| Err(Error::Input(format!("tokens: {token:?} {what}")));
        if token.is_empty() {
            return fault("is empty");
        }
        if !seen.insert(token) {
            return fault("is given twice");
        }
        if tokenizer.token_to_id(token).is_some() {
            return fault("is in the vocabulary already");
        }
    }
    Ok(())
}

/// Names the new tokens in the files beside `tokenizer.json`, where they name tokens.
fn describe(
    model: &Path,
    fresh: &Path,
    extension: &Extension,
    added: &[(u32, String)],
) -> Result<()> {
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let path = model.join(name);
        if !path.is_file() {
            continue;
        }
        let mut file = object(&path)?;
        if !extension.special_tokens.is_empty() {
            let key = match file.contains_key("extra_special_tokens") {
                true => "extra_special_tokens",
                false => "additional_special_tokens",
            };
            let list = file.entry(key).or_insert_with(|| json!([]));
            if list.is_null() {
                *list = json!([]);
            }
            if let Value::Array(list) = list {
                list.extend(extension.special_tokens.iter().map(|token| json!(token)));
            }
        }
        if let Some(Value::Object(decoder)) = file.get_mut("added_tokens_decoder") {
            for (id, token) in added {
                decoder.insert(
                    id.to_string(),
                    json!({
                        "content": token, "lstrip": false, "normalized": false, "rstrip": false,
                        "single_word": false, "special": extension.special_tokens.contains(token),
                    }),
                );
            }
        }
        write_json(&fresh.join(name), file)?;
    }
    let path = model.join("added_tokens.json");
    if path.is_file() {
        let mut file = object(&path)?;
        for (id, token) in added {
            file.insert(token.clone(), json!(id));
        }
        write_json(&fresh.join("added_tokens.json"), file)?;
    }
    Ok(())
}

/// Copies what the new folder does not hold yet, but for pickles, and for weights in other forms: they have the old rows.
fn copy_others(model: &Path, fresh: &Path, written: &BTreeSet<String>) -> Result<()> {
    let entries = fs::read_dir(model).map_err(Error::io("read", model))?;
    for entry in entries {
        let path = entry.map_err(Error::io("read", model))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let other_weights = [
            "bin",
            "pt",
            "pth",
            "pkl",
            "ckpt",
            "safetensors",
            "gguf",
            "onnx",
            "msgpack",
            "h5",
        ];
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if path.is_file() && !written.contains(&*name) && !other_weights.contains(&&*ending) {
            let to = fresh.join(&*name);
            fs::copy(&path, &to).map_err(Error::io("write", &to))?;
        }
    }
    let more = model.join("additional_chat_templates");
    if more.is_dir() {
        let to = fresh.join("additional_chat_templates");
        fs::create_dir(&to).map_err(Error::io("create", &to))?;
        copy_others(&more, &to, written)?;
    }
    Ok(())
}

fn object(path: &Path) -> Result<Map<String, Value>> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(path, format!("is no JSON object: {error}")))
}

fn write_json(path: &Path, value: Map<String, Value>) -> Result<()> {
    write(path, &format!("{:#}\n", Value::Object(value)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    files::write_synced(path, text.as_bytes())
}
