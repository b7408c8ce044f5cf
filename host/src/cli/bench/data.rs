//! `codetune bench data`: how fast a dataset is read, tokenized and packed.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use domain::DataFormat;
use engine::bench::{BenchData, data};

use super::super::usage_error;

/// Arguments of `codetune bench data`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example, on one core:\n  RAYON_NUM_THREADS=1 codetune bench data --model smol --data src --format source-tree"
)]
pub(crate) struct BenchDataArgs {
    /// A Hugging Face folder; it needs no weights
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A dataset, or a folder of source code
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// As data.format of a RUN.toml
    #[arg(long, default_value = "auto")]
    format: String,
    /// Tokens of a packed row
    #[arg(long, default_value_t = 1024)]
    max_seq_length: u32,
    /// Times it is done; the first is not counted
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
/// Data or a tokenizer that cannot be used.
pub(crate) fn run(args: &BenchDataArgs) -> anyhow::Result<ExitCode> {
    let format: DataFormat = serde_json::from_value(args.format.clone().into())
        .map_err(|error| usage_error(format!("--format {}: {error}", args.format)))?;
    let report = data(&BenchData {
        model: args.model.clone(),
        path: args.data.clone(),
        format,
        max_seq_length: args.max_seq_length,
        rounds: args.rounds,
    })
    .map_err(|error| usage_error(error.to_string()))?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("MB/s         {:.1}", report.megabytes_per_second);
        println!("tokens/s     {:.0}", report.tokens_per_second);
        println!("text         {:.1} MB", report.bytes as f64 / 1e6);
        println!("threads      {}", report.threads);
        println!("peak memory  {:.2} GB", report.peak_rss_bytes as f64 / 1e9);
    }
    Ok(ExitCode::SUCCESS)
}
