//! The subsets that the front matter of `README.md` declares, as the hub's dataset cards do.

use serde::Deserialize;
use serde_json::{Map, Value};

/// One of its `configs`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subset {
    /// `config_name`.
    pub(super) name: String,
    /// `default: true`.
    pub(super) is_default: bool,
    /// Splits and the patterns of their files, where `data_files` says them.
    pub(super) splits: Option<Vec<(String, Vec<String>)>>,
    /// `data_dir`, which patterns and names are relative to.
    pub(super) folder: Option<String>,
    /// An option that would read the files otherwise than we do.
    pub(super) option: Option<String>,
}

#[derive(Deserialize)]
struct Card {
    configs: Option<Vec<Map<String, Value>>>,
}

/// What pandas and others are told about the files by it: a dataset that needs it would be read wrong without.
const OPTIONS: &[&str] = &[
    "sep",
    "delimiter",
    "header",
    "names",
    "column_names",
    "index_col",
    "usecols",
    "quotechar",
    "quoting",
    "escapechar",
    "skiprows",
    "nrows",
    "skipfooter",
    "comment",
    "encoding",
    "field",
    "columns",
    "filters",
    "keep_linebreaks",
    "sample_by",
];

/// The subsets in the order of the file; none where it declares none.
///
/// # Errors
/// What is wrong with its front matter.
pub(super) fn subsets(readme: &str) -> Result<Vec<Subset>, String> {
    let Some(front) = front_matter(readme) else {
        return Ok(Vec::new());
    };
    let options = serde_saphyr::options! { with_snippet: false };
    let card: Card = serde_saphyr::from_str_with_options(&front, options)
        .map_err(|error| format!("its front matter is no valid YAML of a dataset: {error}"))?;
    let configs = card.configs.unwrap_or_default();
    let mut found: Vec<Subset> = Vec::new();
    for config in configs {
        let subset = subset(&config)?;
        if found.iter().any(|other| other.name == subset.name) {
            return Err(format!("configs: {} is there twice", subset.name));
        }
        found.push(subset);
    }
    Ok(found)
}

/// What stands between two lines of `---` at the start, on the lines where it stood; `None` where it declares no subsets. Other
/// front matter is not ours to judge.
fn front_matter(readme: &str) -> Option<String> {
    let mut lines = readme.lines();
    if lines.next()? != "---" || !readme.lines().skip(1).any(|line| line == "---") {
        return None;
    }
    let lines: Vec<&str> = lines.take_while(|line| *line != "---").collect();
    let declares = lines.iter().any(|line| line.starts_with("configs:"));
    declares.then(|| format!("\n{}\n", lines.join("\n")))
}

fn subset(config: &Map<String, Value>) -> Result<Subset, String> {
    let name = config
        .get("config_name")
        .and_then(text)
        .ok_or("configs: each needs a config_name")?;
    let wrong = |what: &str| format!("configs: {name}: {what}");
    let folder = match config.get("data_dir") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let folder = text(value).ok_or_else(|| wrong("data_dir: must be text"))?;
            Some(relative(&folder).ok_or_else(|| wrong("data_dir: leads out of the dataset"))?)
        }
    };
    let splits = match config.get("data_files") {
        None | Some(Value::Null) => None,
        Some(files) => Some(splits(files).map_err(|what| wrong(&format!("data_files: {what}")))?),
    };
    let is_set = |option: &&&str| config.get(**option).is_some_and(|value| !value.is_null());
    Ok(Subset {
        is_default: config.get("default").is_some_and(is_true),
        splits,
        folder,
        option: OPTIONS
            .iter()
            .find(is_set)
            .map(|option| (*option).to_owned()),
        name,
    })
}

/// A pattern or a list of them, which are those of `train`, or a list of splits with theirs.
fn splits(files: &Value) -> Result<Vec<(String, Vec<String>)>, String> {
    let items = match files {
        Value::Array(items) if items.iter().any(Value::is_object) => items,
        other => return Ok(vec![(super::TRAIN.to_owned(), patterns(other)?)]),
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for item in items {
        let split = item
            .get("split")
            .and_then(text)
            .ok_or("a split has no name")?;
        if found.iter().any(|(other, _)| *other == split) {
            return Err(format!("the split {split} is there twice"));
        }
        let path = item
            .get("path")
            .ok_or_else(|| format!("{split}: has no path"))?;
        found.push((split, patterns(path)?));
    }
    Ok(found)
}

fn patterns(value: &Value) -> Result<Vec<String>, String> {
    let pattern = |value: &Value| {
        let pattern = text(value).ok_or("a path must be text")?;
        relative(&pattern).ok_or_else(|| format!("{pattern:?} leads out of the dataset"))
    };
    match value {
        Value::Array(items) => items.iter().map(pattern).collect(),
        one => Ok(vec![pattern(one)?]),
    }
}

/// A path below the dataset, without `./` and a slash at its end.
fn relative(path: &str) -> Option<String> {
    let leads_out = path.starts_with('/')
        || path.contains("://")
        || path.contains('\\')
        || path.split('/').any(|part| part == "..");
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    (!leads_out).then(|| parts.collect::<Vec<_>>().join("/"))
}

/// A name that looks like a number is still a name.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// True also in the words of YAML 1.1, which Python reads.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::String(word) => ["yes", "on"].contains(&word.to_ascii_lowercase().as_str()),
        _ => false,
    }
}
