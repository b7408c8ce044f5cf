//! Files to rows: JSON lines, a JSON array, CSV, Parquet, Arrow, plain text, or a folder of them; text forms also
//! packed by gzip or zstd.
//!
//! Every file is read as a stream of rows, so that one larger than memory can be gone through: [`Source`] finds the
//! files, [`Source::stream`] their rows. `files` says which files a folder means, `parts` which of their rows, `info` reads
//! LLaMA-Factory's `dataset_info.json`.

mod array;
mod files;
mod guard;
mod info;
mod ipc;
mod json;
mod parts;
mod table;

#[cfg(test)]
mod tests;

use std::{
    io::{BufRead, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::{DataConfig, DataFormat, FieldErrors, SplitPart};
use serde_json::{Map, Value};

use super::{
    origin::{Origin, Place, Row},
    splits::Wanted,
    tree,
};
use crate::{Error, Result};

pub(crate) use files::{is_data_file, of_train};
pub(crate) use guard::is_guarded;
pub(super) use info::resolved;
use parts::Part;

/// Bytes that one row may have.
pub(super) const MOST_ROW_BYTES: usize = 64 << 20;
/// Bytes that one plain text file may have after unpacking.
const MOST_DOCUMENT_BYTES: u64 = 1 << 30;

/// Rows of one file after another; ends after the first error.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<Row>> + Send>;

/// The files that a path means, and what was passed over.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// Every file, in the order in which they are read first.
    files: Vec<PathBuf>,
    parts: Vec<Part>,
    /// Set where the files are a tree of source code: they are read by `tree` then.
    tree: Option<tree::Walk>,
    /// Sentences about what was passed over.
    pub(super) notes: Vec<String>,
}

impl Source {
    /// Finds the files of a path.
    pub(super) fn find(path: &Path, config: &DataConfig) -> Result<Self> {
        if !path.exists() {
            return Err(Error::file(
                path,
                "does not exist; give an existing file or folder",
            ));
        }
        let mut source = Self {
            path: path.to_owned(),
            files: Vec::new(),
            parts: Vec::new(),
            tree: None,
            notes: Vec::new(),
        };
        // Rows that were curated out of a tree are as the tree gave them, in one file.
        let is_rows = path.is_file() && files::kind(path) != files::Kind::Text;
        let is_tree = config.format == DataFormat::SourceTree && !is_rows
            || config.format == DataFormat::Fim && path.is_dir() && !files::holds_rows(path)?;
        if is_tree || path.is_file() {
            refuse_splits(path, is_tree, Wanted::of(config))?;
        }
        if is_tree {
            let walk = tree::walk(path, config)?;
            source.notes.extend(walk.notes());
            source.files = walk.files();
            source.tree = Some(walk);
            return Ok(source);
        }
        if path.is_dir() {
            let (chosen, note) = files::of_folder(path, config)?;
            source.parts = chosen;
            source.notes.extend(note);
        } else {
            let files = || vec![path.to_owned()];
            source.parts = match Wanted::of(config).split.map(SplitPart::read_all) {
                Some(Ok(parts)) => parts
                    .iter()
                    .map(|part| Part::of_split(part, files()))
                    .collect::<Result<_>>()?,
                _ => vec![Part::whole(files())],
            };
        }
        for file in source.parts.iter().flat_map(Part::files) {
            if !source.files.contains(file) {
                source.files.push(file.clone());
            }
        }
        Ok(source)
    }

    /// A row is in both, of splits of one dataset.
    pub(super) fn shares_rows(&self, other: &Self) -> bool {
        let share = |part: &Part| other.parts.iter().any(|other| part.shares_rows(other));
        self.parts.iter().any(share)
    }

    /// What was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Every file, in the order in which they are read.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// All rows, one after the other.
    pub(super) fn stream(&self) -> Rows {
        if let Some(walk) = &self.tree {
            return until_error(walk.clone().documents());
        }
        let parts = self.parts.clone();
        until_error(parts.into_iter().flat_map(|part| part.stream()))
    }

    /// The first row.
    pub(super) fn first(&self) -> Result<Row> {
        self.stream()
            .next()
            .unwrap_or_else(|| Err(empty(&self.path)))
    }
}

/// What `data.test_split` holds out of the dataset at a path of which `trained` is trained on; `None` where it is not set.
///
/// # Errors
/// As [`Source::find`], and a row that would be trained on.
pub(super) fn of_test_split(
    path: &Path,
    config: &DataConfig,
    trained: &Source,
) -> Result<Option<Source>> {
    let Some(held_out) = config.of_test_split() else {
        return Ok(None);
    };
    let found = Source::find(path, &held_out)?;
    if trained.shares_rows(&found) {
        let message = format!(
            "= {} would be trained on (data.split = {})",
            held_out.split.unwrap_or_default(),
            Wanted::of(config).split.unwrap_or_default()
        );
        return Err(FieldErrors::one("data.test_split", message).into());
    }
    Ok(Some(found))
}

/// One file has no splits but that of `train`, as for `load_dataset`; source code has none at all.
fn refuse_splits(path: &Path, is_tree: bool, wanted: Wanted<'_>) -> Result<()> {
    let place = path.display();
    let parts = wanted.split.map(SplitPart::read_all).transpose();
    let parts = parts.map_err(|message| FieldErrors::one("data.split", message))?;
    let is_train = |parts: &Vec<SplitPart>| parts.iter().all(|part| part.name == "train");
    let (field, message) = match (wanted.subset, parts) {
        (None, None) => return Ok(()),
        (None, Some(parts)) if !is_tree && is_train(&parts) => return Ok(()),
        (Some(_), _) if is_tree => (
            "data.subset",
            format!("{place}: source code has no subsets; leave it out"),
        ),
        (_, Some(_)) if is_tree => (
            "data.split",
            format!("{place}: source code has no splits; leave it out"),
        ),
        (Some(_), _) => (
            "data.subset",
            format!(
                "{place} is one file: subsets are of a folder or a hub repository; leave it out"
            ),
        ),
        (None, Some(_)) => (
            "data.split",
            format!(
                "{place} is one file, whose only split is train; leave it out, or name the file of the split"
            ),
        ),
    };
    Err(FieldErrors::one(field, message).into())
}

/// The error of a dataset without rows.
pub(super) fn empty(path: &Path) -> Error {
    Error::file(path, "holds no rows: the dataset is empty")
}

/// The text of files and folders: each file with a known ending is one document. For windows.
///
/// # Errors
/// A path that does not exist, cannot be read or is no UTF-8, or nothing found at all.
pub fn read_documents(paths: &[PathBuf]) -> Result<Vec<String>> {
    texts_of(paths, |_, _| Vec::new())
}

/// As [`read_documents`], for a tokenizer to learn from: a row without a `text` gives each of the texts that it holds, such as
/// prompt and completion, or what every turn of a conversation says.
///
/// # Errors
/// As [`read_documents`].
pub fn read_texts(paths: &[PathBuf]) -> Result<Vec<String>> {
    texts_of(paths, said)
}

/// The `text` of every row, or what `otherwise` finds in its columns.
fn texts_of(
    paths: &[PathBuf],
    otherwise: impl Fn(&str, &Value) -> Vec<String>,
) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in paths {
        let source = Source::find(path, &DataConfig::default())?;
        source.first()?;
        for row in source.stream() {
            let row = row?;
            if let Some(text) = row.fields.get("text").and_then(Value::as_str) {
                documents.push(text.to_owned());
                continue;
            }
            let before = documents.len();
            let columns = row.fields.iter();
            documents.extend(columns.flat_map(|(name, value)| otherwise(name, value)));
            if documents.len() == before {
                return Err(row.origin.error("field text: is missing or no string"));
            }
        }
    }
    Ok(documents)
}

/// The texts in a value, but for the words that tell what it is.
fn said(name: &str, value: &Value) -> Vec<String> {
    const LABELS: [&str; 5] = ["role", "from", "type", "id", "tool_call_id"];
    match value {
        Value::String(text) if !text.is_empty() && !LABELS.contains(&name) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(|item| said(name, item)).collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(name, item)| said(name, item))
            .collect(),
        _ => Vec::new(),
    }
}

fn read_file(file: &Path) -> Result<Rows> {
    if let Some(packing) = files::other_packing(file) {
        let message = format!(
            "is packed as {packing}, which is not read; .gz and .zst are: unpack it, or pack it so"
        );
        return Err(Error::file(file, message));
    }
    let shared = Arc::new(file.to_owned());
    match files::kind(file) {
        files::Kind::Json => {
            let mut reader = files::open(file)?;
            if json::is_array(&mut *reader).map_err(Error::io("read", file))? {
                Ok(Box::new(array::Elements::new(reader, shared)))
            } else {
                Ok(Box::new(json::Lines::new(reader, shared)))
            }
        }
        files::Kind::Delimited(delimiter) => {
            table::delimited(files::open(file)?, shared, delimiter)
        }
        files::Kind::Parquet => table::parquet(shared),
        files::Kind::Arrow => table::arrow(shared),
        files::Kind::Text => document(file),
    }
}

fn document(file: &Path) -> Result<Rows> {
    let mut bytes = Vec::new();
    files::open(file)?
        .take(MOST_DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", file))?;
    if bytes.len() as u64 > MOST_DOCUMENT_BYTES {
        return Err(Error::file(
            file,
            format!(
                "is longer than the {MOST_DOCUMENT_BYTES} bytes that one document may have; cut it into files"
            ),
        ));
    }
    let text = without_mark(&bytes);
    let text = std::str::from_utf8(text).map_err(|error| {
        let line = 1 + text[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        Error::file(
            file,
            format!("line {line}: is no UTF-8; convert the file to UTF-8"),
        )
    })?;
    let row = Row {
        fields: Map::from_iter([("text".to_owned(), Value::from(text))]),
        origin: Origin::whole(file),
    };
    Ok(Box::new(std::iter::once(Ok(row))))
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn once(error: Error) -> Rows {
    Box::new(std::iter::once(Err(error)))
}

/// A stream behind an error is not to be trusted: it ends there.
fn until_error(rows: impl Iterator<Item = Result<Row>> + Send + 'static) -> Rows {
    let mut failed = false;
    Box::new(rows.take_while(move |row| {
        let goes_on = !failed;
        failed |= row.is_err();
        goes_on
    }))
}

fn object(value: Value, origin: Origin) -> Result<Row> {
    match value {
        Value::Object(fields) => Ok(Row { fields, origin }),
        other => Err(origin.error(format!(
            "must be a JSON object such as {{\"prompt\": …, \"completion\": …}}, not {}",
            kind(&other)
        ))),
    }
}

/// What a JSON value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A reader of an unpacked file.
type Unpacked = Box<dyn BufRead + Send>;
