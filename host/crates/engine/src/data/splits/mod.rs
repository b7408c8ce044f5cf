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

use domain::{DataConfig, SplitPart};
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
    /// `data.split`; several with `+` between them, each whole or in part.
    pub(crate) split: Option<&'a str>,
}

/// The splits that are meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// In the order in which they are read.
    pub(crate) parts: Vec<Part>,
    subset: Option<String>,
    /// Every split that is there.
    there: Vec<String>,
}

/// A split, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which rows of it are meant.
    pub(crate) split: SplitPart,
    /// The names of all its files, in the order in which they are read.
    pub(crate) names: Vec<String>,
}

impl Chosen {
    /// The files of all parts, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.parts.iter().flat_map(|part| &part.names) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Subset and splits in half a sentence, with what is `held_out` and what else is there.
    pub(crate) fn said(&self, held_out: Option<&str>) -> String {
        let of = self
            .subset
            .as_ref()
            .map_or_else(String::new, |subset| format!(" of the subset {subset}"));
        let parts: Vec<&str> = self
            .parts
            .iter()
            .map(|part| part.split.text.as_str())
            .collect();
        let apart = SplitPart::read_all(held_out.unwrap_or_default()).unwrap_or_default();
        let is_used = |name: &str| {
            let trained = self.parts.iter().any(|part| part.split.name == name);
            trained || apart.iter().any(|part| part.name == name)
        };
        let others: Vec<&str> = self
            .there
            .iter()
            .map(String::as_str)
            .filter(|name| !is_used(name))
            .collect();
        let held_out = held_out.map_or_else(String::new, |split| format!("; {split} is held out"));
        let beside = match others.is_empty() {
            true => String::new(),
            false => format!("; beside it there are {}", others.join(", ")),
        };
        format!("split {}{of}{held_out}{beside}", parts.join("+"))
    }
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
            split: trained(&config.split, &config.test_split),
        }
    }

    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// The split that is trained on, where one has to be: beside one that is held out, only what is surely of another is.
pub(crate) fn trained<'a>(split: &'a Option<String>, held_out: &Option<String>) -> Option<&'a str> {
    split.as_deref().or(held_out.as_ref().map(|_| TRAIN))
}

/// `data.split` without its slices: what says which files are meant.
pub(crate) fn without_slices(split: &str) -> String {
    let parts = SplitPart::read_all(split).unwrap_or_default();
    if parts.iter().all(SplitPart::is_whole) {
        return split.to_owned();
    }
    let mut names: Vec<&str> = Vec::new();
    for part in &parts {
        if !names.contains(&part.name.as_str()) {
            names.push(&part.name);
        }
    }
    names.join("+")
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
    let parts: Vec<Part> = chosen_splits(&there, wanted.split)?
        .into_iter()
        .map(|split| {
            let of_part = splits.iter().filter(|(name, _)| *name == split.name);
            let names = of_part.flat_map(|(_, names)| names);
            Part {
                names: names.map(|name| (*name).to_owned()).collect(),
                split,
            }
        })
        .collect();
    if parts.iter().all(|part| part.names.is_empty()) {
        let split: Vec<&str> = parts.iter().map(|part| part.split.text.as_str()).collect();
        return Err(Refusal::Split(format!(
            "{}: no file with rows is there for it",
            split.join("+")
        )));
    }
    Ok(Some(Chosen {
        parts,
        subset: subset.map(|subset| subset.name.clone()),
        there: there.into_iter().map(str::to_owned).collect(),
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
fn chosen_splits(there: &[&str], wanted: Option<&str>) -> Result<Vec<SplitPart>, Refusal> {
    let list = there.join(", ");
    let Some(wanted) = wanted else {
        return match there {
            [one] => Ok(vec![SplitPart::whole(one)]),
            _ if there.contains(&TRAIN) => Ok(vec![SplitPart::whole(TRAIN)]),
            _ => Err(Refusal::Split(format!("is needed: there are {list}"))),
        };
    };
    let parts = SplitPart::read_all(wanted).map_err(Refusal::Split)?;
    match parts
        .iter()
        .find(|part| !there.contains(&part.name.as_str()))
    {
        None => Ok(parts),
        Some(_) if there.is_empty() => Err(Refusal::Split(format!(
            "{wanted:?} is not there: there is no file with rows"
        ))),
        Some(part) => Err(Refusal::Split(format!(
            "{:?} is not there; there are {list}",
            part.name
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
