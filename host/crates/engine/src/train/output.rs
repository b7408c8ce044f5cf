use std::path::Path;

use candle_core::DType;
use serde_json::{Value, json};

use crate::lora::write_json;
use crate::model::{Decoder, weights};
use crate::{Error, Result, files};

/// What belongs to a model beside its weights and its config.
pub(crate) const COMPANIONS: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    GENERATION,
];

/// That of them which is no tokenizer's.
const GENERATION: &str = "generation_config.json";
/// Where further chat templates lie, such as the one for tools.
pub(crate) const FURTHER_TEMPLATES: &str = "additional_chat_templates";

/// Copies tokenizer and chat templates of one folder, and generation settings of a model's, which may be the same.
pub(crate) fn copy_companions(tokenizer: &Path, model: &Path, folder: &Path) -> Result<()> {
    copy_tokenizer(tokenizer, folder)?;
    copy(model, folder, GENERATION)
}

/// Copies tokenizer and chat templates from one folder to another.
pub(crate) fn copy_tokenizer(source: &Path, folder: &Path) -> Result<()> {
    for name in COMPANIONS.iter().filter(|name| **name != GENERATION) {
        copy(source, folder, name)?;
    }
    let further = source.join(FURTHER_TEMPLATES);
    if !further.is_dir() {
        return Ok(());
    }
    let to = folder.join(FURTHER_TEMPLATES);
    std::fs::create_dir_all(&to).map_err(Error::io("create", &to))?;
    let entries = std::fs::read_dir(&further).map_err(Error::io("read", &further))?;
    for entry in entries {
        let from = entry.map_err(Error::io("read", &further))?.path();
        if let Some(name) = from.file_name().and_then(|name| name.to_str())
            && from.extension().is_some_and(|ending| ending == "jinja")
        {
            copy(&further, &to, name)?;
        }
    }
    Ok(())
}

fn copy(source: &Path, folder: &Path, name: &str) -> Result<()> {
    let from = source.join(name);
    if from.is_file() {
        let bytes = std::fs::read(&from).map_err(Error::io("read", &from))?;
        files::write_synced(&folder.join(name), &bytes)?;
    }
    Ok(())
}

/// Writes a Hugging Face folder in place of what may be there: config, tokenizer, weights as `dtype`.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn write_model(
    path: &Path,
    source: &Path,
    decoder: &Decoder,
    dtype: DType,
) -> Result<()> {
    files::replace_folder(path, |fresh| write_weights(fresh, source, decoder, dtype))
}

/// As [`write_model`], into a folder that is there.
pub(super) fn write_weights(
    folder: &Path,
    source: &Path,
    decoder: &Decoder,
    dtype: DType,
) -> Result<()> {
    copy_companions(source, source, folder)?;
    let from = source.join("config.json");
    let text = std::fs::read_to_string(&from).map_err(Error::io("read", &from))?;
    let mut config: Value = serde_json::from_str(&text)
        .map_err(|error| Error::file(&from, format!("is no valid JSON: {error}")))?;
    if let Some(table) = config.as_object_mut() {
        let word = match dtype {
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            _ => "float32",
        };
        let key = if table.contains_key("dtype") {
            "dtype"
        } else {
            "torch_dtype"
        };
        table.insert(key.to_owned(), json!(word));
    }
    write_json(&folder.join("config.json"), &config)?;
    let tensors = decoder
        .base()
        .iter()
        .map(|stored| Ok((stored.name().to_owned(), stored.dense()?)))
        .collect::<Result<_>>()?;
    weights::write(&folder.join("model.safetensors"), tensors, dtype)
}
