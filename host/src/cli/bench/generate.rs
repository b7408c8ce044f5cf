//! `codetune bench generate`: how fast several texts are written together.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use engine::bench::{BenchGenerate, generate};

use super::super::generate::PlacementArgs;
use super::super::usage_error;
use crate::config::Config;

/// Arguments of `codetune bench generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune bench make-model --output smol && codetune bench generate --model smol --batch-size 8"
)]
pub(crate) struct BenchGenerateArgs {
    /// A Hugging Face folder; it needs no tokenizer, and without weights it has random ones
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Texts that are written together
    #[arg(long, default_value_t = 1)]
    batch_size: usize,
    /// Tokens of each prompt
    #[arg(long, default_value_t = 64)]
    prompt_tokens: usize,
    /// Tokens that each text gets
    #[arg(long, default_value_t = 128)]
    new_tokens: usize,
    /// Times it is done; the first is not counted
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    #[command(flatten)]
    placement: PlacementArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
/// A model or a size that cannot be used.
pub(crate) fn run(args: &BenchGenerateArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let placement = args.placement.chosen(config)?;
    let report = generate(&BenchGenerate {
        model: args.model.clone(),
        batch_size: args.batch_size,
        prompt_tokens: args.prompt_tokens,
        new_tokens: args.new_tokens,
        rounds: args.rounds,
        placement,
    })
    .map_err(|error| usage_error(error.to_string()))?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("tokens/s     {:.1}", report.tokens_per_second);
        println!("seconds      {:.3}", report.seconds);
        println!("peak memory  {:.2} GB", report.peak_rss_bytes as f64 / 1e9);
        if let Some(bytes) = report.peak_device_bytes {
            println!("on {}    {:.2} GB", report.device, bytes as f64 / 1e9);
        }
    }
    Ok(ExitCode::SUCCESS)
}
