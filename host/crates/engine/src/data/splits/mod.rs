//! Which files of a dataset a subset and a split are, as the library `datasets` finds them: by what `README.md` declares (`card`),
//! else by the names of folders and files (`layout`).
//!
//! Names are relative to the dataset and have `/` between their parts: a listing of the hub and a folder are asked alike.

mod card;
mod layout;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use domain::DataConfig;
use globset::GlobBuilder;

use card::Subset;

use crate::{Error, Result};

/// Where a dataset declares its subsets.
pub(crate) const CARD: &str = "README.md";
/// Bytes of it that are read.
const MOST_CARD_BYTES: u64 = 16 << 20;
/// The name of the only subset of a dataset that declares none.
const ONLY: &str = "default";
/// The split that is meant where none is named.
const TRAIN: &str = "train";

/// What is wanted of a dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// `data.subset`.
    pub(crate) subset: Option<&'a str>,
    /// `data.split`; several with `+` between them.
    pub(crate) split: Option<&'a str>,
}

/// The files that are meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Their names, in the order in which they are read.
    pub(crate) names: Vec<String>,
    /// Subset and splits in half a sentence, with what else is there.
    pub(crate) said: String,
}

/// Why there are none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Of `data.subset`.
    Subset(String),
    /// Of `data.split`.
    Split(String),
    /// Of the file [`CARD`].
    Card(String),
}

impl Refusal {
    /// The setting that it is about, and the sentence; `source` is the setting that names the dataset.
    pub(crate) fn at(self, source: &'static str) -> (&'static str, String) {
        match self {
            Self::Subset(message) => ("data.subset", message),
            Self::Split(message) => ("data.split", message),
            Self::Card(message) => (source, format!("{CARD}: {message}")),
        }
    }
}

impl<'a> Wanted<'a> {
    pub(crate) fn of(config: &'a DataConfig) -> Self {
        Self {
            subset: config.subset.as_deref(),
            split: config.split.as_deref(),
        }
    }

    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What [`CARD`] of a folder says, where it is there.
///
/// # Errors
/// It cannot be read.
pub(crate) fn card_of(folder: &Path) -> Result<Option<String>> {
    let path = folder.join(CARD);
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(Error::io("read", &path))?;
    file.take(MOST_CARD_BYTES)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", &path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Chooses among the names of files with rows; `None` where nothing is wanted and nothing declared. `card` is what [`CARD`] says.
///
/// # Errors
/// A subset or a split that is not there, or that has to be named since there are several.
pub(crate) fn choose(
    names: &[String],
    card: Option<&str>,
    wanted: Wanted<'_>,
) -> Result<Option<Chosen>, Refusal> {
    let subsets = card.map_or(Ok(Vec::new()), card::subsets);
    let subsets = subsets.map_err(Refusal::Card)?;
    let subset = chosen_subset(&subsets, wanted.subset)?;
    let declares = subset.is_some_and(|subset| subset.folder.is_some() || subset.splits.is_some());
    if wanted.split.is_none() && !declares {
        return Ok(None);
    }
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.retain(|name| is_visible(name) && *name != CARD);
    names.sort_unstable();
    let folder = subset.and_then(|subset| subset.folder.as_deref());
    let splits: Vec<(String, Vec<&str>)> = match subset.and_then(|subset| subset.splits.as_ref()) {
        Some(declared) => {
            let found = declared.iter().map(|(split, patterns)| {
                let files = matching(&names, folder, patterns).map_err(Refusal::Card)?;
                Ok::<_, Refusal>((split.clone(), files))
            });
            found.collect::<Result<_, Refusal>>()?
        }
        None => layout::splits(&names, folder),
    };
    let there: Vec<&str> = splits.iter().map(|(split, _)| split.as_str()).collect();
    let mut files: Vec<String> = Vec::new();
    let parts = chosen_splits(&there, wanted.split)?;
    for part in &parts {
        let of_part = splits.iter().filter(|(split, _)| split == part);
        for name in of_part.flat_map(|(_, names)| names) {
            if !files.iter().any(|file| file == name) {
                files.push((*name).to_owned());
            }
        }
    }
    if files.is_empty() {
        let split = parts.join("+");
        return Err(Refusal::Split(format!(
            "{split}: no file with rows is there for it"
        )));
    }
    Ok(Some(Chosen {
        names: files,
        said: said(subset, &parts, &there),
    }))
}

fn chosen_subset<'a>(
    subsets: &'a [Subset],
    wanted: Option<&str>,
) -> Result<Option<&'a Subset>, Refusal> {
    let names = || {
        let names: Vec<&str> = subsets.iter().map(|subset| subset.name.as_str()).collect();
        names.join(", ")
    };
    let found = match (wanted, subsets) {
        (None | Some(ONLY), []) => return Ok(None),
        (Some(name), []) => {
            return Err(Refusal::Subset(format!(
                "{name:?} is not there: {CARD} declares no subsets (`configs`); leave data.subset out"
            )));
        }
        (Some(name), _) => subsets.iter().find(|subset| subset.name == name),
        (None, [one]) => Some(one),
        (None, _) => {
            let usual = subsets
                .iter()
                .filter(|subset| subset.is_default || subset.name == ONLY);
            let usual: Vec<&Subset> = usual.collect();
            if let [one, other, ..] = usual[..] {
                return Err(Refusal::Card(format!(
                    "configs: both {} and {} are the default; name one as data.subset, or change the file",
                    one.name, other.name
                )));
            }
            usual.first().copied()
        }
    };
    let subset = found.ok_or_else(|| {
        Refusal::Subset(match wanted {
            Some(name) => format!("{name:?} is not there; {CARD} has {}", names()),
            None => format!("is needed: {CARD} has {}", names()),
        })
    })?;
    match &subset.option {
        None => Ok(Some(subset)),
        Some(option) => Err(Refusal::Card(format!(
            "configs: {}: {option} cannot be done here; give the files by data.path",
            subset.name
        ))),
    }
}

/// The splits that are meant, of those that are there.
fn chosen_splits<'a>(there: &[&'a str], wanted: Option<&'a str>) -> Result<Vec<&'a str>, Refusal> {
    let list = there.join(", ");
    let Some(wanted) = wanted else {
        return match there {
            [one] => Ok(vec![*one]),
            _ if there.contains(&TRAIN) => Ok(vec![TRAIN]),
            _ => Err(Refusal::Split(format!("is needed: there are {list}"))),
        };
    };
    if wanted.contains('[') {
        return Err(Refusal::Split(format!(
            "{wanted:?}: parts of a split are not taken here; name the split, and how much of it as data.num_samples"
        )));
    }
    let parts: Vec<&str> = wanted.split('+').map(str::trim).collect();
    match parts.iter().find(|part| !there.contains(part)) {
        None => Ok(parts),
        Some(_) if there.is_empty() => Err(Refusal::Split(format!(
            "{wanted:?} is not there: there is no file with rows"
        ))),
        Some(part) => Err(Refusal::Split(format!(
            "{part:?} is not there; there are {list}"
        ))),
    }
}

/// The names that the patterns of a split match, in the order of the patterns.
fn matching<'a>(
    names: &[&'a str],
    folder: Option<&str>,
    patterns: &[String],
) -> Result<Vec<&'a str>, String> {
    let mut found = Vec::new();
    for pattern in patterns {
        // As in Python's glob: `*` ends at a `/`.
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let matcher = glob
            .map_err(|error| format!("configs: data_files: {error}"))?
            .compile_matcher();
        let inside = names
            .iter()
            .filter(|name| layout::within(name, folder).is_some_and(|name| matcher.is_match(name)));
        found.extend(inside);
    }
    Ok(found)
}

/// Not hidden, and in no folder such as `__pycache__`.
fn is_visible(name: &str) -> bool {
    let mut folders = name.split('/').rev().skip(1);
    !name.split('/').any(|part| part.starts_with('.'))
        && !folders.any(|part| part.starts_with("__"))
}

fn said(subset: Option<&Subset>, splits: &[&str], there: &[&str]) -> String {
    let others: Vec<&str> = there
        .iter()
        .copied()
        .filter(|split| !splits.contains(split))
        .collect();
    let of = subset.map_or_else(String::new, |subset| {
        format!(" of the subset {}", subset.name)
    });
    let beside = match others.is_empty() {
        true => String::new(),
        false => format!("; beside it there are {}", others.join(", ")),
    };
    format!("split {}{of}{beside}", splits.join("+"))
}
