//! Which files of a repository are needed.

use std::path::{Component, Path};

use super::RepoKind;
use crate::data::is_data_file;
use crate::train::COMPANIONS;

/// What a model is described by, beside its weights and the files that go wherever it goes.
const DESCRIPTIONS: [&str; 2] = ["config.json", "model.safetensors.index.json"];

/// Where further chat templates lie, such as the one for tools.
const FURTHER_TEMPLATES: &str = "additional_chat_templates/";

/// Endings of files that run code when they are read.
const PICKLES: &[&str] = &["bin", "pt", "pth", "pkl", "pickle", "ckpt"];

/// The needed ones of these files, in order, or what is wrong with them.
pub(super) fn needed(kind: RepoKind, names: &[String]) -> Result<Vec<String>, String> {
    if let Some(name) = names.iter().find(|name| !is_inside(name)) {
        return Err(format!(
            "the hub names a file {name:?}, which leads out of the repository"
        ));
    }
    let chosen: Vec<String> = match kind {
        RepoKind::Model => names
            .iter()
            .filter(|name| is_of_model(name))
            .cloned()
            .collect(),
        RepoKind::Dataset => dataset(names),
    };
    let found = match kind {
        RepoKind::Model => chosen.iter().any(|name| is_weights(name)),
        RepoKind::Dataset => !chosen.is_empty(),
    };
    if found {
        return Ok(chosen);
    }
    let pickles = names
        .iter()
        .filter(|name| PICKLES.contains(&ending(name).as_str()));
    Err(match (kind, pickles.count()) {
        (RepoKind::Model, 0) => "holds no safetensors".to_owned(),
        (RepoKind::Dataset, 0) => {
            "holds no files with rows (.parquet, .jsonl, .json, .csv, .arrow)".to_owned()
        }
        (_, count) => format!(
            "holds pickles only ({count} files such as .bin), which can run code and are refused; \
             look for a revision with safetensors or Parquet (many have refs/pr/… or refs/convert/parquet)"
        ),
    })
}

/// Files with rows; where the names tell splits apart, those of train.
fn dataset(names: &[String]) -> Vec<String> {
    let rows: Vec<String> = names
        .iter()
        .filter(|name| is_data_file(Path::new(name)))
        .cloned()
        .collect();
    let paths = rows.iter().map(Into::into).collect();
    let kept = crate::data::of_train(Path::new(""), paths).0;
    rows.into_iter()
        .filter(|name| kept.iter().any(|path| path == Path::new(name)))
        .collect()
}

fn is_of_model(name: &str) -> bool {
    let template = name.strip_prefix(FURTHER_TEMPLATES);
    DESCRIPTIONS.contains(&name)
        || COMPANIONS.contains(&name)
        || template.is_some_and(|file| !file.contains('/') && file.ends_with(".jinja"))
        || is_weights(name)
}

/// `model.safetensors` or a shard of it; not an adapter's, an optimizer's, or a copy in a folder.
fn is_weights(name: &str) -> bool {
    let inside = name
        .strip_prefix("model")
        .and_then(|rest| rest.strip_suffix(".safetensors"));
    inside.is_some_and(|middle| {
        !middle.contains('/') && (middle.is_empty() || middle.starts_with('-'))
    })
}

fn is_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.contains('\\')
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

fn ending(name: &str) -> String {
    let ending = Path::new(name).extension();
    ending
        .map(|ending| ending.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default()
}
