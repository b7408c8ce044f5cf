//! Files to rows: JSON lines, a JSON array, plain text, or a folder of them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::DataFormat;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Endings of the files that a folder of plain text is made of.
const TEXT_ENDINGS: &[&str] = &[
    "txt", "md", "rst", "py", "pyi", "rs", "js", "mjs", "jsx", "ts", "tsx", "c", "h", "cc", "cpp",
    "hpp", "go", "java", "kt", "rb", "php", "cs", "swift", "scala", "sh", "sql", "lua", "jl", "r",
    "toml", "yaml", "yml",
];

/// One row and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) fields: Map<String, Value>,
    pub(crate) origin: Origin,
}

/// Where a row came from, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) file: Arc<PathBuf>,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Line(usize),
    Element(usize),
    WholeFile,
}

impl Origin {
    /// `line 3`, `element 3` of a JSON array; `None` for a text file, which is one row.
    pub(crate) fn place(&self) -> Option<String> {
        match self.place {
            Place::Line(line) => Some(format!("line {line}")),
            Place::Element(index) => Some(format!("element {index}")),
            Place::WholeFile => None,
        }
    }

    /// An error of this row.
    pub(crate) fn error(&self, message: impl AsRef<str>) -> Error {
        let message = message.as_ref();
        Error::file(
            &*self.file,
            self.place()
                .map_or_else(|| message.to_owned(), |place| format!("{place}: {message}")),
        )
    }
}

/// Every row of a file or folder, in the order of the names and lines.
pub(crate) fn rows(path: &Path, format: DataFormat) -> Result<Vec<Row>> {
    if !path.exists() {
        return Err(Error::file(
            path,
            "does not exist; give an existing file or folder",
        ));
    }
    let files = if path.is_dir() {
        files_of(path, format)?
    } else {
        vec![path.to_owned()]
    };
    let mut rows = Vec::new();
    for file in &files {
        read_file(file, &mut rows)?;
    }
    if rows.is_empty() {
        return Err(Error::file(path, "holds no rows: the dataset is empty"));
    }
    Ok(rows)
}

/// The text of files and folders: each file with a known ending is one document. For tokenizers and windows.
///
/// # Errors
/// A path that does not exist, cannot be read or is no UTF-8, or nothing found at all.
pub fn read_documents(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in paths {
        for row in rows(path, DataFormat::Auto)? {
            match row.fields.get("text").and_then(Value::as_str) {
                Some(text) => documents.push(text.to_owned()),
                None => return Err(row.origin.error("field text: is missing or no string")),
            }
        }
    }
    Ok(documents)
}

fn files_of(folder: &Path, format: DataFormat) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    let rows: Vec<PathBuf> = files.iter().filter(|file| is_json(file)).cloned().collect();
    // A source folder may hold a JSON file; a folder of JSON lines is a dataset.
    let has_lines = files.iter().any(|file| ending(file) == "jsonl");
    let text: Vec<PathBuf> = files
        .into_iter()
        .filter(|file| TEXT_ENDINGS.contains(&ending(file).as_str()))
        .collect();
    let chosen = match format {
        DataFormat::Text if !has_lines => text,
        _ if has_lines || text.is_empty() => rows,
        _ => text,
    };
    if chosen.is_empty() {
        return Err(Error::file(
            folder,
            format!(
                "holds no data: expected .jsonl, .json, or text files ({})",
                TEXT_ENDINGS[..6].join(", ") + ", …"
            ),
        ));
    }
    Ok(chosen)
}

/// Hidden entries and links are passed over: a link may lead out of the folder, or round in it.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries = fs::read_dir(folder)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .map_err(Error::io("read", folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(Error::io("read", entry.path()))?;
        if kind.is_dir() {
            walk(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn ending(file: &Path) -> String {
    file.extension()
        .map(|ending| ending.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default()
}

fn is_json(file: &Path) -> bool {
    matches!(ending(file).as_str(), "jsonl" | "json" | "ndjson")
}

fn read_file(file: &Path, rows: &mut Vec<Row>) -> Result<()> {
    if matches!(ending(file).as_str(), "csv" | "tsv" | "parquet" | "arrow") {
        return Err(Error::file(
            file,
            format!(
                ".{} is not supported yet; write it as JSON lines (.jsonl)",
                ending(file)
            ),
        ));
    }
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        Error::file(
            file,
            format!("line {line}: is no UTF-8; convert the file to UTF-8"),
        )
    })?;
    let shared = Arc::new(file.to_owned());
    let origin = |place| Origin {
        file: shared.clone(),
        place,
    };
    if !is_json(file) {
        let fields = Map::from_iter([("text".to_owned(), Value::from(text))]);
        rows.push(Row {
            fields,
            origin: origin(Place::WholeFile),
        });
    } else if text.trim_start().starts_with('[') {
        let elements: Vec<Value> = serde_json::from_str(text).map_err(|error| {
            Error::file(
                file,
                format!("line {}: is not valid JSON: {error}", error.line()),
            )
        })?;
        for (index, element) in elements.into_iter().enumerate() {
            rows.push(object(element, origin(Place::Element(index + 1)))?);
        }
    } else {
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let origin = origin(Place::Line(index + 1));
            let value = serde_json::from_str(line).map_err(|error| {
                origin.error(format!(
                    "is not valid JSON at column {}: {}; each line must be one JSON object",
                    error.column(),
                    reason(&error)
                ))
            })?;
            rows.push(object(value, origin)?);
        }
    }
    Ok(())
}

/// serde_json counts the lines of the one line that it was given.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
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
