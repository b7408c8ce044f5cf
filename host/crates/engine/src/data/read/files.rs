//! Which files a folder means, what kind each is, and how it is opened.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use domain::{DataConfig, DataFormat, FieldErrors};

use super::super::splits::{self, CARD, Wanted};
use super::{Part, Unpacked};
use crate::{Error, Result};

/// Endings of the files that a folder of plain text is made of.
const TEXT_ENDINGS: &[&str] = &[
    "txt", "md", "rst", "py", "pyi", "rs", "js", "mjs", "jsx", "ts", "tsx", "c", "h", "cc", "cpp",
    "hpp", "go", "java", "kt", "rb", "php", "cs", "swift", "scala", "sh", "sql", "lua", "jl", "r",
    "toml", "yaml", "yml",
];

/// Files that describe a dataset and hold no rows of it.
const DESCRIPTIONS: &[&str] = &[
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
];

/// Words in a path that name the split which is trained on, and the others.
const TRAIN: &[&str] = &["train", "training"];
const HELD_OUT: &[&str] = &[
    "test",
    "testing",
    "valid",
    "validation",
    "val",
    "dev",
    "eval",
    "evaluation",
];

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON lines or a JSON array.
    Json,
    /// A header and lines of values.
    Delimited(u8),
    Parquet,
    /// Arrow's IPC file (feather) or stream.
    Arrow,
    /// One document.
    Text,
}

pub(super) fn kind(file: &Path) -> Kind {
    match unpacked_ending(file).as_str() {
        "jsonl" | "json" | "ndjson" => Kind::Json,
        "csv" => Kind::Delimited(b','),
        "tsv" => Kind::Delimited(b'\t'),
        "parquet" => Kind::Parquet,
        "arrow" | "feather" | "ipc" => Kind::Arrow,
        _ => Kind::Text,
    }
}

/// Opens a file; `.gz` and `.zst` are unpacked as they are read.
pub(super) fn open(file: &Path) -> Result<Unpacked> {
    let packed =
        BufReader::with_capacity(1 << 18, File::open(file).map_err(Error::io("read", file))?);
    Ok(match ending(file).as_str() {
        "gz" => Box::new(BufReader::with_capacity(
            1 << 18,
            flate2::bufread::MultiGzDecoder::new(packed),
        )),
        "zst" => {
            let decoder = zstd::Decoder::with_buffer(packed).map_err(Error::io("read", file))?;
            Box::new(BufReader::with_capacity(1 << 18, decoder))
        }
        _ => Box::new(packed),
    })
}

/// The folder holds files whose ending says that they hold rows.
pub(super) fn holds_rows(folder: &Path) -> Result<bool> {
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    Ok(files.iter().any(|file| is_surely_rows(file)))
}

/// The files of a folder that are read, in the order of their names, and a sentence on what was chosen.
pub(super) fn of_folder(folder: &Path, config: &DataConfig) -> Result<(Vec<Part>, Option<String>)> {
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    let rows: Vec<PathBuf> = files
        .iter()
        .filter(|file| is_data_file(file))
        .cloned()
        .collect();
    // A source folder may hold a JSON or CSV file; a folder with JSON lines or Parquet is a dataset.
    let is_dataset = rows.iter().any(|file| is_surely_rows(file));
    let mut text: Vec<PathBuf> = files
        .into_iter()
        .filter(|file| TEXT_ENDINGS.contains(&unpacked_ending(file).as_str()))
        .collect();
    if let Some(found) = of_split(folder, if rows.is_empty() { &text } else { &rows }, config)? {
        return Ok(found);
    }
    // The description of a dataset is no document of it.
    if !rows.is_empty() && matches!(&text[..], [one] if *one == folder.join(CARD)) {
        text.clear();
    }
    let (chosen, left_out) = match config.format {
        DataFormat::Text if !is_dataset => (text, Vec::new()),
        _ if is_dataset || text.is_empty() => of_train(folder, rows),
        _ => (text, Vec::new()),
    };
    if chosen.is_empty() {
        return Err(Error::file(
            folder,
            format!(
                "holds no data: expected .jsonl, .json, .csv, .parquet, .arrow, or text files ({})",
                TEXT_ENDINGS[..6].join(", ") + ", …"
            ),
        ));
    }
    let note = (!left_out.is_empty()).then(|| {
        format!(
            "{} files of other splits than train were left out ({})",
            left_out.len(),
            named(&left_out)
        )
    });
    Ok((vec![Part::whole(chosen)], note))
}

/// The files of the subset and the split that are meant, where some are named or `README.md` declares them.
fn of_split(
    folder: &Path,
    files: &[PathBuf],
    config: &DataConfig,
) -> Result<Option<(Vec<Part>, Option<String>)>> {
    let names: Vec<String> = files
        .iter()
        .filter_map(|file| crate::files::name_below(folder, file))
        .collect();
    let card = splits::card_of(folder)?;
    let found = splits::choose(&names, card.as_deref(), Wanted::of(config)).map_err(|refusal| {
        let (field, message) = refusal.at("data.path");
        FieldErrors::one(field, format!("{}: {message}", folder.display()))
    })?;
    let Some(chosen) = found else {
        return Ok(None);
    };
    let parts = chosen.parts.iter().map(|part| {
        let files = part.names.iter().map(|name| folder.join(name)).collect();
        Part::of_split(&part.split, files)
    });
    let said = chosen.said(config.test_split.as_deref());
    Ok(Some((parts.collect::<Result<_>>()?, Some(said))))
}

/// Parts files where their names tell splits apart, as those of hub datasets do: a model must not be trained on what
/// it will be tested on.
pub(crate) fn of_train(folder: &Path, files: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let names = |file: &Path, words: &[&str]| {
        let relative = file.strip_prefix(folder).unwrap_or(file).to_string_lossy();
        relative
            .to_ascii_lowercase()
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| words.contains(&word))
    };
    if !files.iter().any(|file| names(file, TRAIN)) {
        return (files, Vec::new());
    }
    files
        .into_iter()
        .partition(|file| names(file, TRAIN) || !names(file, HELD_OUT))
}

/// Some names of files, for a message.
pub(super) fn named(files: &[PathBuf]) -> String {
    let mut names: Vec<_> = files
        .iter()
        .take(3)
        .filter_map(|file| file.file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if files.len() > names.len() {
        names.push("…".to_owned());
    }
    names.join(", ")
}

/// Hidden entries and links to folders are passed over: a link may lead out of the folder, or round in it. A link to
/// a file is followed, since the hub's cache is made of them.
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
        let path = entry.path();
        if kind.is_dir() {
            walk(&path, files)?;
        } else if kind.is_file() || kind.is_symlink() && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn ending(file: &Path) -> String {
    file.extension()
        .map(|ending| ending.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default()
}

/// The ending of a file that is packed in a way that is not read.
pub(super) fn other_packing(file: &Path) -> Option<&'static str> {
    const OTHERS: [&str; 9] = ["zip", "xz", "bz2", "7z", "lz4", "br", "rar", "tar", "tgz"];
    let ending = ending(file);
    OTHERS.into_iter().find(|other| *other == ending)
}

/// The ending below `.gz` or `.zst`.
fn unpacked_ending(file: &Path) -> String {
    let last = ending(file);
    match (last.as_str(), file.file_stem()) {
        ("gz" | "zst", Some(stem)) => ending(Path::new(stem)),
        _ => last,
    }
}

/// The name of a file says that it holds rows.
pub(crate) fn is_data_file(file: &Path) -> bool {
    kind(file) != Kind::Text && !is_description(file)
}

fn is_surely_rows(file: &Path) -> bool {
    match kind(file) {
        Kind::Parquet | Kind::Arrow => true,
        Kind::Json => unpacked_ending(file) != "json",
        _ => false,
    }
}

fn is_description(file: &Path) -> bool {
    file.file_name()
        .is_some_and(|name| DESCRIPTIONS.contains(&name.to_string_lossy().as_ref()))
}
