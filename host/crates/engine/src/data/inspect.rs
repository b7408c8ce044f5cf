//! What is in a file, before anything is trained on it.

use std::{collections::BTreeMap, path::Path};

use domain::{DataConfig, DataFormat};
use serde::Serialize;

use super::{DataReport, TokenizerSource, detect, encode, encode_all, read};
use crate::Result;

/// What is in a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The format that its columns tell; none where they tell none.
    pub format: Option<DataFormat>,
    /// Why it cannot be loaded, where it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Rows.
    pub rows: usize,
    /// Files that were read.
    pub files: usize,
    /// What was passed over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Columns with the number of rows that have a value there.
    pub columns: BTreeMap<String, usize>,
    /// Characters of all text in the rows.
    pub characters: usize,
    /// Lengths and labels in tokens, where something gave the tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<DataReport>,
}

/// Looks at a file or folder; with what gives the tokens it counts those and their labels too, by the settings of `config`,
/// whose `path` is not used; `seed` draws fill-in-the-middle samples.
///
/// # Errors
/// What cannot be read, and with tokens the first row that cannot be encoded.
pub fn inspect(
    path: &Path,
    config: &DataConfig,
    tokens: Option<TokenizerSource<'_>>,
    seed: u64,
) -> Result<Inspection> {
    let config = read::resolved(&DataConfig {
        path: Some(path.display().to_string()),
        ..config.clone()
    })?;
    let path = Path::new(config.path.as_deref().unwrap_or_default());
    let source = read::Source::find(path, &config)?;
    let first = source.first()?;
    let mut columns: BTreeMap<String, usize> = BTreeMap::new();
    let (mut rows, mut characters) = (0, 0);
    for row in source.stream() {
        rows += 1;
        for (name, value) in &row?.fields {
            let count = columns.entry(name.clone()).or_default();
            *count += usize::from(!value.is_null());
            characters += text_length(value);
        }
    }
    let format = match config.format {
        DataFormat::Auto => detect::by_columns(&config, &first),
        set => Some(set),
    };
    let problem = match format {
        None => detect::format(&config, &first, path)
            .err()
            .map(|error| error.to_string()),
        Some(_) => None,
    };
    let tokens = match (tokens, format) {
        (Some(tokens), Some(_)) if problem.is_none() => {
            let format = detect::format(&config, &first, path)?;
            let encoder = encode::Encoder::new(&config, format, tokens, seed)?;
            let (samples, mut report) = encode_all(&source, &encoder, path)?;
            report.count(&samples, &[]);
            if config.packing {
                report.count_rows(&samples, config.max_seq_length as usize);
            }
            Some(report)
        }
        _ => None,
    };
    Ok(Inspection {
        format,
        problem,
        rows,
        files: source.files().len(),
        notes: source.notes,
        columns,
        characters,
        tokens,
    })
}

fn text_length(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.iter().map(text_length).sum(),
        Value::Object(map) => map.values().map(text_length).sum(),
        _ => 0,
    }
}
