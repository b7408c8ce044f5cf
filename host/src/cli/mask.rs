//! `codetune mask`: which tokens of a run's data are trained on.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use engine::data::{PreviewRow, PreviewToken, TokenizerSource, preview};

use super::{run_file, usage_error};
use crate::config::Config;

/// Arguments of `codetune mask`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  codetune mask RUN.toml\n  \
    codetune mask RUN.toml --rows 10 --json\n\n\
    On a terminal the trained tokens are green; elsewhere each token has a line, with + where it is trained.")]
pub(crate) struct MaskArgs {
    /// The run's RUN.toml
    run: PathBuf,
    /// Rows to show of each dataset
    #[arg(long, default_value_t = 3)]
    rows: usize,
    /// Override one setting: section.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// One JSON object a row on standard output
    #[arg(long)]
    json: bool,
}

/// Prints each token of the first rows of every dataset and whether it is trained on.
pub(crate) fn run(args: &MaskArgs, settings: &Config) -> anyhow::Result<ExitCode> {
    let config =
        run_file::read(&args.run, &args.set).map_err(|error| usage_error(error.to_string()))?;
    let config = run_file::local(&config, &settings.hub, &engine::StopFlag::new())
        .and_then(|config| run_file::curated(&config, settings, &engine::StopFlag::new()))
        .map_err(|error| usage_error(error.to_string()))?;
    let model = Path::new(config.model.path.as_deref().unwrap_or_default());
    let adapter = config.lora.init_adapter.as_deref().map(Path::new);
    let tokens =
        TokenizerSource::of(model, adapter).map_err(|error| usage_error(error.to_string()))?;
    let seed = config.train.seed;
    let mut rows = Vec::new();
    for (_, data) in config.data.each() {
        let shown = preview(&data, tokens, args.rows, seed);
        rows.extend(shown.map_err(|error| usage_error(error.to_string()))?);
    }
    let mut out = io::stdout().lock();
    for row in &rows {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        } else {
            write!(out, "{}", shown(row, io::stdout().is_terminal()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(row: &PreviewRow, colour: bool) -> String {
    let mut text = row.file.to_string();
    if let Some(place) = &row.place {
        text += &format!(", {place}");
    }
    if let Some(packed) = row.packed_row {
        text += &format!(" (packed into row {packed})");
    }
    text += &format!(": {} tokens, {} trained", row.length, row.trained);
    if row.full_length > row.length {
        text += &format!(
            ", {} cut off at data.max_seq_length",
            row.full_length - row.length
        );
    }
    text.push('\n');
    for token in &row.tokens {
        text += &if colour {
            coloured(token)
        } else {
            format!(
                "{} {:>6} {:?}\n",
                if token.trained { '+' } else { '-' },
                token.id,
                token.text
            )
        };
    }
    text.push('\n');
    text
}

fn coloured(token: &PreviewToken) -> String {
    const GREEN: &str = "\x1b[30;42m";
    const DIM: &str = "\x1b[2m";
    const OFF: &str = "\x1b[0m";
    let style = if token.trained { GREEN } else { DIM };
    // The data is somebody else's text: no control character of it reaches the terminal. A line break is shown
    // and made; colours end before it, or they would fill the line.
    let visible: String = token
        .text
        .chars()
        .map(|character| match character {
            '\n' => format!("⏎{OFF}\n{style}"),
            '\t' => "→\t".to_owned(),
            other if other.is_control() => format!("\\u{{{:x}}}", u32::from(other)),
            other => other.to_string(),
        })
        .collect();
    format!("{style}{visible}{OFF}")
}
