//! Any dataset as JSON lines.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use domain::DataConfig;
use serde::Serialize;

use super::{detect, read};
use crate::{Error, Result};

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Imported {
    /// The format that the columns tell; none where they tell none.
    pub format: Option<domain::DataFormat>,
    /// Rows.
    pub rows: usize,
    /// Files that were read.
    pub files: usize,
    /// What was passed over.
    pub notes: Vec<String>,
}

/// Writes the rows of `data.path` as JSON lines, with the columns under our names.
///
/// The file is written beside its place and renamed, so that half of it is never there.
///
/// # Errors
/// What cannot be read, with its row, or cannot be written.
pub fn import(config: &DataConfig, output: &Path) -> Result<Imported> {
    let config = read::resolved(config)?;
    let path = Path::new(config.path.as_deref().unwrap_or_default());
    let mut source = read::Source::find(path, &config)?;
    if config.by_template {
        source.notes.push(
            "LLaMA-Factory writes these instructions by the model's chat template; rows on their own are written in \
             Stanford Alpaca's prompt"
                .to_owned(),
        );
    }
    let first = source.first()?;
    let format = match config.format {
        domain::DataFormat::Auto => detect::by_columns(&config, &first),
        set => Some(set),
    };
    let folder = output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut fresh = tempfile::NamedTempFile::new_in(folder).map_err(Error::io("create", folder))?;
    let rows = write(&source, &config, fresh.as_file_mut()).map_err(|error| match error {
        Failure::Data(error) => error,
        Failure::Io(error) => Error::io("write", output)(error),
    })?;
    fresh
        .persist(output)
        .map_err(|error| Error::io("write", output)(error.error))?;
    Ok(Imported {
        format,
        rows,
        files: source.files().len(),
        notes: source.notes,
    })
}

enum Failure {
    Data(Error),
    Io(std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn write(source: &read::Source, config: &DataConfig, file: &mut File) -> Result<usize, Failure> {
    let mut out = BufWriter::new(file);
    let mut rows = 0;
    let renamed = || {
        let pairs = config.columns.iter();
        pairs.filter(|(ours, theirs)| ours != theirs && !theirs.is_empty())
    };
    let columns = config.columns.iter();
    let left_out: Vec<&String> = columns
        .filter_map(|(ours, theirs)| theirs.is_empty().then_some(ours))
        .collect();
    for row in source.stream() {
        let mut fields = row.map_err(Failure::Data)?.fields;
        // All are taken out before one is put back, since names may be swapped.
        let taken: Vec<_> = renamed()
            .map(|(ours, theirs)| (ours, fields.shift_remove(theirs)))
            .collect();
        for ours in &left_out {
            fields.shift_remove(*ours);
        }
        for (ours, value) in taken {
            if let Some(value) = value {
                fields.insert(ours.clone(), value);
            }
        }
        serde_json::to_writer(&mut out, &fields).map_err(|error| Failure::Io(error.into()))?;
        out.write_all(b"\n")?;
        rows += 1;
    }
    let file = out.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()?;
    Ok(rows)
}
