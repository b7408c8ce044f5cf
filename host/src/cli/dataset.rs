//! `codetune dataset`: what is in a dataset, and any dataset as JSON lines.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use domain::{DataConfig, DataFormat, Overflow};
use engine::StopFlag;
use engine::data::{Inspection, LengthBin, TokenizerSource, import, inspect};
use engine::hub::fetch_split;

use super::answers;
use super::curate::{self, CurateArgs, ExplainArgs};
use super::fetching::Fetching;
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
    /// Write any dataset as JSON lines, under our names of the columns
    Import(ImportArgs),
    /// Send a dataset through a pipeline of plugins that keep, drop or rewrite its rows
    Curate(CurateArgs),
    /// Say what became of one row of a curated dataset, and why
    Explain(ExplainArgs),
    /// Have a model answer prompts, and make rows of the answers that plugins rank best
    Generate(answers::GenerateArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune dataset inspect data.jsonl --model DIR --json")]
struct InspectArgs {
    /// A file (.jsonl, .json, .csv, .tsv, .parquet, .arrow, .feather, text; .gz and .zst) or a folder
    path: PathBuf,
    /// Shape of a row, where the columns do not tell it: text, fim, source-tree, …
    #[arg(long, default_value = "auto", value_parser = format)]
    format: DataFormat,
    /// Which dataset of a LLaMA-Factory dataset_info.json
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Which of the subsets that the folder's README.md declares
    #[arg(long, value_name = "NAME")]
    subset: Option<String>,
    /// Which split of it, such as test, or train+validation; train where it is not said
    #[arg(long, value_name = "NAME")]
    data_split: Option<String>,
    /// A model folder: counts tokens and labels with its tokenizer
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// An adapter on that model, whose tokenizer counts where it brought one
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
    /// Tokens after which a row is cut, for the count of rows that would be
    #[arg(long, default_value_t = DataConfig::default().max_seq_length, requires = "model")]
    max_seq_length: u32,
    /// Count the rows that packing fills too
    #[arg(long, requires = "model")]
    packing: bool,
    /// Make further sequences of what is behind the maximum
    #[arg(long, requires = "model")]
    split: bool,
    /// Seed of fill-in-the-middle samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune dataset import data.parquet --output data.jsonl\n  \
    codetune dataset import --repo org/name --revision main --output data.jsonl\n  \
    codetune dataset import --repo org/name --subset en --split test --output held-out.jsonl"
)]
struct ImportArgs {
    /// A file or folder, as for `dataset inspect`
    #[arg(required_unless_present = "repo", conflicts_with = "repo")]
    path: Option<PathBuf>,
    /// A dataset repository on the hub
    #[arg(long, value_name = "ORG/NAME")]
    repo: Option<String>,
    /// Branch, tag or commit of the repository
    #[arg(long, requires = "repo")]
    revision: Option<String>,
    /// Which of the subsets that the README.md of the repository or folder declares
    #[arg(long, value_name = "NAME")]
    subset: Option<String>,
    /// Which split of it, such as test, or train+validation; train where it is not said
    #[arg(long, visible_alias = "data-split", value_name = "NAME")]
    split: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Shape of a row, where the columns do not tell it
    #[arg(long, default_value = "auto", value_parser = format)]
    format: DataFormat,
    /// Which dataset of a LLaMA-Factory dataset_info.json
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// A column under another name: prompt=question
    #[arg(long = "column", value_name = "OURS=THEIRS")]
    columns: Vec<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn format(text: &str) -> Result<DataFormat, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Runs a subcommand.
pub(crate) fn run(args: &DatasetArgs, config: &Config) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Inspect(args) => inspect_path(args),
        Command::Import(args) => import_rows(args, config),
        Command::Curate(args) => curate::run(args, config),
        Command::Explain(args) => curate::explain(args),
        Command::Generate(args) => answers::run(args, config),
    }
}

fn import_rows(args: &ImportArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let wrong = |error: engine::Error| usage_error(error.to_string());
    let mut data = DataConfig {
        format: args.format,
        dataset: args.dataset.clone(),
        subset: args.subset.clone(),
        split: args.split.clone(),
        ..DataConfig::default()
    };
    for column in &args.columns {
        let (ours, theirs) = column
            .split_once('=')
            .ok_or_else(|| usage_error(format!("--column {column}: must be OURS=THEIRS")))?;
        data.columns.insert(ours.to_owned(), theirs.to_owned());
    }
    let source = match (&args.path, &args.repo) {
        (Some(path), _) => path.clone(),
        (None, repo) => {
            let repo = repo.as_deref().unwrap_or_default();
            let settings = config.hub.settings();
            let revision = args.revision.as_deref();
            let (stop, mut shown) = (StopFlag::new(), Fetching::new());
            let listen = &mut |event| shown.hear(event);
            let wanted = (args.subset.as_deref(), args.split.as_deref());
            fetch_split(&settings, repo, revision, wanted, &stop, listen)
                .map_err(wrong)?
                .folder
        }
    };
    data.path = Some(source.display().to_string());
    let found = import(&data, &args.output).map_err(wrong)?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        println!(
            "{}: {} rows of {}",
            args.output.display(),
            found.rows,
            files(found.files)
        );
        for note in &found.notes {
            println!("  {note}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect_path(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let config = DataConfig {
        max_seq_length: args.max_seq_length,
        format: args.format,
        dataset: args.dataset.clone(),
        subset: args.subset.clone(),
        split: args.data_split.clone(),
        packing: args.packing,
        overflow: if args.split {
            Overflow::Split
        } else {
            Overflow::Cut
        },
        ..DataConfig::default()
    };
    let tokens = args
        .model
        .as_deref()
        .map(|model| TokenizerSource::of(model, args.adapter.as_deref()));
    let found = tokens
        .transpose()
        .and_then(|tokens| inspect(&args.path, &config, tokens, args.seed))
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
    println!("  rows        {} in {}", found.rows, files(found.files));
    for note in &found.notes {
        println!("  note        {note}");
    }
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
    if tokens.split > 0 {
        println!("  split       {} rows into several sequences", tokens.split);
    }
    if let Some(rows) = tokens.packed_rows {
        println!("  packed      into {rows} rows");
    }
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

fn files(count: usize) -> String {
    match count {
        1 => "one file".to_owned(),
        more => format!("{more} files"),
    }
}
