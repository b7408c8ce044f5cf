//! A tree of source code as documents: what `.gitignore` leaves, in the languages that are asked for, without what
//! no person wrote.

mod language;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use domain::{DataConfig, Documents, FieldErrors};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::origin::{Origin, Row};
use crate::{Error, Result};

pub(super) use language::comment;

/// Bytes at the start of a file that tell binary from text, and generated from written.
const HEAD_BYTES: usize = 4096;
/// Longer lines on average mean packed code or data.
const MOST_BYTES_A_LINE: usize = 500;

/// The files of a tree that are read, by repository, and how many were passed over and why.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    root: PathBuf,
    documents: Documents,
    /// Name and files of each repository, in the order of the names.
    repositories: Vec<(String, Vec<PathBuf>)>,
    skipped: BTreeMap<&'static str, usize>,
}

/// Walks a folder, or takes a single file as it is.
pub(super) fn walk(path: &Path, config: &DataConfig) -> Result<Walk> {
    let languages = languages(config)?;
    let root = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new("."))
    };
    let mut walk = Walk {
        root: root.to_owned(),
        documents: config.documents,
        repositories: Vec::new(),
        skipped: BTreeMap::new(),
    };
    let mut by_name: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    let several = !root.join(".git").exists() && has_repositories(root)?;
    // Ignore files of the user or of folders above would make the data depend on the machine.
    let entries = ignore::WalkBuilder::new(path)
        .parents(false)
        .git_global(false)
        .require_git(false)
        .follow_links(false)
        .sort_by_file_name(std::cmp::Ord::cmp)
        .build();
    let mut files = Vec::new();
    for entry in entries {
        let entry =
            entry.map_err(|error| Error::file(path, format!("cannot be walked: {error}")))?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            files.push(entry.into_path());
        }
    }
    // On all cores: every file is read once for it.
    let refusals: Vec<Result<Option<&'static str>>> = files
        .par_iter()
        .map(|file| {
            refusal(
                file,
                relative(root, file),
                &languages,
                config.max_file_bytes,
            )
        })
        .collect();
    for (file, refusal) in files.iter().zip(refusals) {
        let relative = relative(root, file);
        match refusal? {
            Some(reason) => *walk.skipped.entry(reason).or_default() += 1,
            None => {
                let repository = match relative.components().next() {
                    Some(first) if several && relative.components().count() > 1 => root.join(first),
                    _ => root.to_owned(),
                };
                by_name.entry(repository).or_default().push(file.clone());
            }
        }
    }
    walk.repositories = by_name
        .into_iter()
        .map(|(folder, files)| (name(&folder), files))
        .collect();
    if walk.repositories.is_empty() {
        return Err(Error::file(
            path,
            format!(
                "holds no source file to learn from{}; check data.languages and data.max_file_bytes",
                walk.notes()
                    .first()
                    .map_or_else(String::new, |note| format!(" ({note})"))
            ),
        ));
    }
    Ok(walk)
}

/// A file's path in the tree.
fn relative<'a>(root: &Path, file: &'a Path) -> &'a Path {
    file.strip_prefix(root).unwrap_or(file)
}

impl Walk {
    /// Every file, in the order in which they are read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files = self.repositories.iter().flat_map(|(_, files)| files);
        files.cloned().collect()
    }

    /// One sentence on what was passed over, where something was.
    pub(super) fn notes(&self) -> Vec<String> {
        if self.skipped.is_empty() {
            return Vec::new();
        }
        let counts: Vec<String> = self
            .skipped
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        vec![format!("files passed over: {}", counts.join(", "))]
    }

    /// A row a file with `text`, `path` and `repo`; or a row a repository with `files` and `repo`.
    pub(super) fn documents(self) -> impl Iterator<Item = Result<Row>> + Send {
        let Self {
            root,
            documents,
            repositories,
            ..
        } = self;
        repositories.into_iter().flat_map(move |(repo, files)| {
            let root = root.clone();
            let rows: Box<dyn Iterator<Item = Result<Row>> + Send> = match documents {
                Documents::File => Box::new(files.into_iter().map(move |file| {
                    let text = text(&file)?;
                    let path = shown(&root, &repo, &file);
                    // Not by `json!`, which copies: a text may be large.
                    let columns = [("repo", repo.clone()), ("path", path), ("text", text)];
                    let columns =
                        columns.map(|(name, text)| (name.to_owned(), Value::String(text)));
                    Ok(row(Value::Object(columns.into_iter().collect()), &file))
                })),
                Documents::Repository => Box::new(std::iter::once_with(move || {
                    let origin = files.first().cloned().unwrap_or_default();
                    let files = files
                        .iter()
                        .map(|file| {
                            Ok(json!({"path": shown(&root, &repo, file), "text": text(file)?}))
                        })
                        .collect::<Result<Vec<_>>>()?;
                    Ok(row(json!({"repo": repo, "files": files}), &origin))
                })),
            };
            rows
        })
    }
}

fn row(fields: Value, file: &Path) -> Row {
    let Value::Object(fields) = fields else {
        unreachable!("made as an object")
    };
    Row {
        fields,
        origin: Origin::whole(file),
    }
}

/// The path of a file in its repository, with slashes on every system.
fn shown(root: &Path, repo: &str, file: &Path) -> String {
    let relative = relative(root, file);
    let parts: Vec<_> = relative
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    let within = match parts.split_first() {
        Some((first, rest)) if first == repo && !rest.is_empty() => rest,
        _ => &parts[..],
    };
    within.join("/")
}

fn text(file: &Path) -> Result<String> {
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    let mut text = String::from_utf8(bytes).map_err(|_| {
        Error::file(
            file,
            "was changed while it was read: it is no UTF-8 any more",
        )
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Why a file is passed over.
fn refusal(
    file: &Path,
    relative: &Path,
    languages: &[&str],
    most_bytes: u64,
) -> Result<Option<&'static str>> {
    let Some(language) = language::of(file) else {
        return Ok(Some("of no known language"));
    };
    if !languages.is_empty() && !languages.contains(&language) {
        return Ok(Some("of another language"));
    }
    if language::is_generated_name(relative) {
        return Ok(Some("generated"));
    }
    let size = file.metadata().map_err(Error::io("read", file))?.len();
    if size > most_bytes {
        return Ok(Some("larger than data.max_file_bytes"));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    File::open(file)
        .and_then(|mut opened| opened.read_to_end(&mut bytes))
        .map_err(Error::io("read", file))?;
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    if head.contains(&0) || std::str::from_utf8(&bytes).is_err() {
        return Ok(Some("binary or no UTF-8"));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Some("empty"));
    }
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    if bytes.len() / lines > MOST_BYTES_A_LINE || language::says_generated(head) {
        return Ok(Some("generated"));
    }
    Ok(None)
}

fn languages(config: &DataConfig) -> Result<Vec<&'static str>> {
    config
        .languages
        .iter()
        .map(|asked| {
            language::named(asked).ok_or_else(|| {
                FieldErrors::one(
                    "data.languages",
                    format!(
                        "{asked:?} is not known; known are {}",
                        language::names().join(", ")
                    ),
                )
                .into()
            })
        })
        .collect()
}

fn has_repositories(root: &Path) -> Result<bool> {
    let entries = fs::read_dir(root).map_err(Error::io("read", root))?;
    Ok(entries
        .filter_map(Result::ok)
        .any(|entry| entry.path().join(".git").exists()))
}

fn name(folder: &Path) -> String {
    let named = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    // `.` and `..` have no name of their own.
    named
        .or_else(|| {
            let full = folder.canonicalize().ok()?;
            Some(full.file_name()?.to_string_lossy().into_owned())
        })
        .unwrap_or_else(|| "repository".to_owned())
}
