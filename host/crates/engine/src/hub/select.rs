//! Which files of a repository are needed.

use std::path::{Component, Path};

use domain::FieldErrors;

use super::{RepoKind, field};
use crate::Error;
use crate::data::{CARD, Wanted, choose, is_data_file};
use crate::train::{COMPANIONS, FURTHER_TEMPLATES};

/// What a model is described by, beside its weights and the files that go wherever it goes.
const DESCRIPTIONS: [&str; 2] = ["config.json", "model.safetensors.index.json"];

/// Endings of files that run code when they are read.
const PICKLES: &[&str] = &["bin", "pt", "pth", "pkl", "pickle", "ckpt"];

/// What is wrong with a repository, and the setting that can be changed where it is not the one that names it.
#[derive(Debug)]
pub(super) struct Refused {
    field: Option<&'static str>,
    message: String,
}

impl Refused {
    pub(super) fn of(self, kind: RepoKind, repo: &str) -> Error {
        let field = self.field.unwrap_or(field(kind));
        FieldErrors::one(field, format!("{repo}: {}", self.message)).into()
    }
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self {
            field: None,
            message,
        }
    }
}

/// The needed ones of these files, in order, or what is wrong with them. `card` is what a dataset's `README.md` says.
pub(super) fn needed(
    kind: RepoKind,
    names: &[String],
    card: Option<&str>,
    wanted: Wanted<'_>,
) -> Result<Vec<String>, Refused> {
    if let Some(name) = names.iter().find(|name| !is_inside(name)) {
        return Err(Refused::from(format!(
            "the hub names a file {name:?}, which leads out of the repository"
        )));
    }
    let chosen: Vec<String> = match kind {
        RepoKind::Model => names
            .iter()
            .filter(|name| is_of_model(name))
            .cloned()
            .collect(),
        RepoKind::Dataset => dataset(names, card, wanted)?,
    };
    let found = match kind {
        RepoKind::Model => chosen.iter().any(|name| is_weights(name)),
        RepoKind::Dataset => chosen.iter().any(|name| name != CARD),
    };
    if found {
        return Ok(chosen);
    }
    let pickles = names
        .iter()
        .filter(|name| PICKLES.contains(&ending(name).as_str()));
    let message = match (kind, pickles.count()) {
        (RepoKind::Model, 0) => "holds no safetensors".to_owned(),
        (RepoKind::Dataset, 0) => {
            "holds no files with rows (.parquet, .jsonl, .json, .csv, .arrow)".to_owned()
        }
        (_, count) => format!(
            "holds pickles only ({count} files such as .bin), which can run code and are refused; \
             look for a revision with safetensors or Parquet (many have refs/pr/… or refs/convert/parquet)"
        ),
    };
    Err(message.into())
}

/// What declares subsets, and files with rows: those of the subset and the split that are meant, or of train where the names tell
/// splits apart.
fn dataset(
    names: &[String],
    card: Option<&str>,
    wanted: Wanted<'_>,
) -> Result<Vec<String>, Refused> {
    let described = names.iter().filter(|name| *name == CARD).cloned();
    let rows: Vec<String> = names
        .iter()
        .filter(|name| is_data_file(Path::new(name)))
        .cloned()
        .collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let chosen = choose(&rows, card, wanted).map_err(|refusal| {
        let (field, message) = refusal.at(field(RepoKind::Dataset));
        Refused {
            field: Some(field),
            message,
        }
    })?;
    if let Some(chosen) = chosen {
        return Ok(described.chain(chosen.names()).collect());
    }
    let paths = rows.iter().map(Into::into).collect();
    let kept = crate::data::of_train(Path::new(""), paths).0;
    let rows = rows
        .into_iter()
        .filter(|name| kept.iter().any(|path| path == Path::new(name)));
    Ok(described.chain(rows).collect())
}

fn is_of_model(name: &str) -> bool {
    let template = name
        .strip_prefix(FURTHER_TEMPLATES)
        .and_then(|rest| rest.strip_prefix('/'));
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
