//! `codetune dataset`: what is in a dataset.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use domain::DataConfig;
use engine::data::{Inspection, LengthBin, inspect};

use super::usage_error;
use crate::config::Config;

/// Arguments of `codetune dataset`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune dataset inspect data.jsonl --model DIR --json")]
pub(crate) struct DatasetArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say which format, columns and lengths a dataset has
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune dataset inspect data.jsonl --model DIR --json")]
struct InspectArgs {
    /// A .jsonl or .json file, a text file, or a folder of them
    path: PathBuf,
    /// A model folder: counts tokens and labels with its tokenizer
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Tokens after which a row is cut, for the count of rows that would be
    #[arg(long, default_value_t = DataConfig::default().max_seq_length, requires = "model")]
    max_seq_length: u32,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Runs a subcommand.
pub(crate) fn run(args: &DatasetArgs, _config: &Config) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Inspect(args) => inspect_path(args),
    }
}

fn inspect_path(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let config = DataConfig {
        max_seq_length: args.max_seq_length,
        ..DataConfig::default()
    };
    let found = inspect(&args.path, &config, args.model.as_deref())
        .map_err(|error| usage_error(error.to_string()))?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        print(&args.path, &found);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(path: &Path, found: &Inspection) {
    let format = serde_json::to_value(found.format).unwrap_or_default();
    println!("{}", path.display());
    println!("  format      {}", format.as_str().unwrap_or("unknown"));
    if let Some(problem) = &found.problem {
        println!("  problem     {problem}");
    }
    println!("  rows        {}", found.rows);
    for (column, filled) in &found.columns {
        println!("  column      {column} ({filled} filled)");
    }
    println!("  characters  {}", found.characters);
    let Some(tokens) = &found.tokens else {
        println!("  (give --model DIR to count tokens and labels)");
        return;
    };
    println!(
        "  tokens      {} ({} with a label)",
        tokens.tokens, tokens.supervised_tokens
    );
    println!("  longest     {} tokens", tokens.longest);
    println!("  cut         {} rows", tokens.truncated);
    println!(
        "  dropped     {} empty, {} without a label",
        tokens.dropped_empty, tokens.dropped_unsupervised
    );
    println!("  duplicates  {}", tokens.duplicates);
    println!("  lengths");
    let most = tokens.lengths.iter().map(|bin| bin.rows).max().unwrap_or(1);
    let mut from = 0;
    for LengthBin { up_to, rows } in &tokens.lengths {
        let bar = "█".repeat((rows * 40).div_ceil(most));
        println!("  {from:>7} to {up_to:<7} {rows:>8} {bar}");
        from = up_to + 1;
    }
}
