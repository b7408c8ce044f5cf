//! `codetune bench make-model`: a model of random weights, to measure on.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use engine::bench::{Shape, make_model};

use super::super::usage_error;
use crate::config::Config;

/// Arguments of `codetune bench make-model`. The defaults are the shape of SmolLM2-135M.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune bench make-model --output smol")]
pub(crate) struct MakeModelArgs {
    /// A folder that holds no model yet
    #[arg(long, value_name = "DIR", alias = "out")]
    output: PathBuf,
    /// Width of the residual stream
    #[arg(long, default_value_t = 576, alias = "hidden")]
    hidden_size: usize,
    /// Width of the feed-forward
    #[arg(long, default_value_t = 1536, alias = "intermediate")]
    intermediate_size: usize,
    /// Decoder layers
    #[arg(long, default_value_t = 30)]
    layers: usize,
    /// Query heads
    #[arg(long, default_value_t = 9)]
    heads: usize,
    /// Key and value heads
    #[arg(long, default_value_t = 3)]
    kv_heads: usize,
    /// Tokens
    #[arg(long, default_value_t = 49_152, alias = "vocab")]
    vocab_size: usize,
    /// Longest sequence
    #[arg(long, default_value_t = 8192)]
    max_positions: usize,
    /// Give the model a head of its own instead of the embedding
    #[arg(long)]
    untied: bool,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Writes the folder.
///
/// # Errors
/// Sizes that do not fit together, or a folder that cannot be used.
pub(crate) fn run(args: &MakeModelArgs, _config: &Config) -> anyhow::Result<ExitCode> {
    let shape = Shape {
        hidden_size: args.hidden_size,
        intermediate_size: args.intermediate_size,
        num_hidden_layers: args.layers,
        num_attention_heads: args.heads,
        num_key_value_heads: args.kv_heads,
        vocab_size: args.vocab_size,
        max_position_embeddings: args.max_positions,
        tie_word_embeddings: !args.untied,
        seed: args.seed,
    };
    let parameters =
        make_model(&shape, &args.output).map_err(|error| usage_error(error.to_string()))?;
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "path": args.output, "parameters": parameters })
        );
    } else {
        println!("{}: {parameters} parameters", args.output.display());
    }
    Ok(ExitCode::SUCCESS)
}
