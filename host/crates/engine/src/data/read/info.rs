//! LLaMA-Factory's `dataset_info.json`: where a dataset lies, its format and its columns.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use domain::{DataConfig, DataFormat, FieldErrors};
use serde_json::{Map, Value};

use super::kind;
use crate::data::format::TAGS;
use crate::{Error, Result};

const NAME: &str = "dataset_info.json";

/// Their names of alpaca's columns and ours.
const ALPACA: &[(&str, &str)] = &[
    ("prompt", "instruction"),
    ("query", "input"),
    ("response", "output"),
    ("system", "system"),
    ("history", "history"),
];
const SHAREGPT: &[(&str, &str)] = &[
    ("messages", "conversations"),
    ("system", "system"),
    ("tools", "tools"),
];
const PREFERENCE: &[(&str, &str)] = &[
    ("prompt", "prompt"),
    ("query", "input"),
    ("chosen", "chosen"),
    ("rejected", "rejected"),
];
const CHAT_PREFERENCE: &[(&str, &str)] = &[
    ("messages", "conversations"),
    ("system", "system"),
    ("tools", "tools"),
    ("chosen", "chosen"),
    ("rejected", "rejected"),
];

/// Our columns that LLaMA-Factory reads only where a description names them, but for `input` in one that names no columns.
const ONLY_NAMED: &[&str] = &["input", "system", "history", "tools"];

/// The settings with what a `dataset_info.json` at `data.path` says; as they are where there is none.
///
/// # Errors
/// A `data.dataset` that is not described, or a description that names what cannot be done.
pub(in crate::data) fn resolved(config: &DataConfig) -> Result<DataConfig> {
    let path = Path::new(config.path.as_deref().unwrap_or_default());
    let file = if path.is_dir() {
        path.join(NAME)
    } else {
        path.to_owned()
    };
    let described = match file.file_name() {
        Some(name) if name == NAME && file.is_file() => read(&file)?,
        _ => None,
    };
    let Some(described) = described else {
        return match &config.dataset {
            None => Ok(config.clone()),
            Some(name) => Err(FieldErrors::one(
                "data.dataset",
                format!("{name:?} needs a {NAME} in data.path, as LLaMA-Factory has it"),
            )
            .into()),
        };
    };
    let entry = chosen(config, &described, &file)?;
    apply(config, entry, &file)
}

/// `None` where the file is that of Python's `datasets`, which has the same name.
fn read(file: &Path) -> Result<Option<Map<String, Value>>> {
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(file, format!("is not valid JSON: {error}")))?;
    let Value::Object(map) = value else {
        return Err(Error::file(
            file,
            "must be a JSON object of datasets by name",
        ));
    };
    let is_entry = |entry: &Value| {
        [
            "file_name",
            "hf_hub_url",
            "ms_hub_url",
            "om_hub_url",
            "script_url",
            "cloud_file_name",
        ]
        .iter()
        .any(|key| entry.get(key).is_some())
    };
    Ok(map.values().any(is_entry).then_some(map))
}

fn chosen<'a>(
    config: &DataConfig,
    described: &'a Map<String, Value>,
    file: &Path,
) -> Result<(&'a str, &'a Value)> {
    let names = described.keys().map(String::as_str).collect::<Vec<_>>();
    let found = match &config.dataset {
        Some(name) => described.get_key_value(name),
        None if described.len() == 1 => described.iter().next(),
        None => None,
    };
    found
        .map(|(name, entry)| (name.as_str(), entry))
        .ok_or_else(|| {
            let wrong = match &config.dataset {
                Some(name) => format!("{name:?} is not in {}", file.display()),
                None => format!("is needed: {} describes several", file.display()),
            };
            FieldErrors::one(
                "data.dataset",
                format!("{wrong}; it has {}", names.join(", ")),
            )
            .into()
        })
}

fn apply(config: &DataConfig, (name, entry): (&str, &Value), file: &Path) -> Result<DataConfig> {
    let bad = |message: String| Error::file(file, format!("{name}: {message}"));
    let entry = entry
        .as_object()
        .ok_or_else(|| bad(format!("must be an object, not {}", kind(entry))))?;
    let text = |map: &Map<String, Value>, key: &str| -> Result<Option<String>> {
        match map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(bad(format!("{key}: must be text, not {}", kind(other)))),
        }
    };
    let known = [
        "file_name",
        "formatting",
        "ranking",
        "columns",
        "tags",
        "split",
        "num_samples",
        "subset",
    ];
    if let Some(key) = entry.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(bad(format!(
            "{key}: cannot be done here; give the data as a local file_name (a hub repository goes into data.repo)"
        )));
    }
    let num_samples = match entry.get("num_samples") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| *number > 0)
                .ok_or_else(|| {
                    bad(format!(
                        "num_samples: must be a whole number above 0, not {value}"
                    ))
                })?,
        ),
    };
    let file_name =
        text(entry, "file_name")?.ok_or_else(|| bad("file_name: is missing".to_owned()))?;
    let relative = PathBuf::from(&file_name);
    if !relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(bad(format!(
            "file_name: {file_name:?} leads out of the folder"
        )));
    }
    let empty = Map::new();
    let table = |key: &str| match entry.get(key) {
        None | Some(Value::Null) => Ok(&empty),
        Some(Value::Object(map)) => Ok(map),
        Some(other) => Err(bad(format!(
            "{key}: must be an object, not {}",
            kind(other)
        ))),
    };
    let (columns, tags) = (table("columns")?, table("tags")?);
    let formatting = text(entry, "formatting")?.unwrap_or_else(|| "alpaca".to_owned());
    let ranking = match entry.get("ranking") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(ranking)) => *ranking,
        Some(other) => return Err(bad(format!("ranking: must be true or false, not {other}"))),
    };
    let only_prompt = columns.contains_key("prompt") && !columns.contains_key("response");
    let (format, names) = match formatting.as_str() {
        "alpaca" if ranking => (DataFormat::Preference, PREFERENCE),
        "sharegpt" | "openai" if ranking => (DataFormat::Preference, CHAT_PREFERENCE),
        "alpaca" if only_prompt => (DataFormat::Text, &[("prompt", "text")][..]),
        "alpaca" => (DataFormat::Alpaca, ALPACA),
        "sharegpt" | "openai" => (DataFormat::Sharegpt, SHAREGPT),
        other => {
            return Err(bad(format!(
                "formatting: must be alpaca, sharegpt or openai, not {other:?}"
            )));
        }
    };
    let mut out = DataConfig {
        path: Some(file.with_file_name(relative).display().to_string()),
        dataset: None,
        by_template: formatting == "alpaca",
        num_samples: config.num_samples.or(num_samples),
        subset: config.subset.clone().or(text(entry, "subset")?),
        split: config.split.clone().or(text(entry, "split")?),
        format,
        ..config.clone()
    };
    for key in columns.keys() {
        let Some((_, ours)) = names.iter().find(|(theirs, _)| theirs == key) else {
            return Err(bad(format!(
                "columns: {key} cannot be used with this format; known are {}",
                names
                    .iter()
                    .map(|(theirs, _)| *theirs)
                    .collect::<Vec<_>>()
                    .join(", ")
            )));
        };
        if let Some(theirs) = text(columns, key)? {
            out.columns.entry((*ours).to_owned()).or_insert(theirs);
        }
    }
    for (_, ours) in names.iter().filter(|(_, ours)| ONLY_NAMED.contains(ours)) {
        if *ours != "input" || entry.contains_key("columns") {
            out.columns.entry((*ours).to_owned()).or_default();
        }
    }
    if formatting == "openai" {
        for (tag, name) in [
            ("role_tag", "role"),
            ("content_tag", "content"),
            ("user_tag", "user"),
            ("assistant_tag", "assistant"),
            ("observation_tag", "tool"),
        ] {
            out.columns.entry(tag.to_owned()).or_insert(name.to_owned());
        }
        // An OpenAI conversation stands in `messages` where nothing else is said.
        out.columns
            .entry("conversations".to_owned())
            .or_insert("messages".to_owned());
    }
    for key in tags.keys() {
        if !TAGS.contains(&key.as_str()) || formatting == "alpaca" {
            return Err(bad(format!(
                "tags: {key} is not known; known with sharegpt and openai are {}",
                TAGS.join(", ")
            )));
        }
        if let Some(name) = text(tags, key)? {
            out.columns.insert(key.clone(), name);
        }
    }
    Ok(out)
}
