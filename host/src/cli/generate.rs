//! `codetune generate`: text from a model, with or without an adapter.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use engine::generate::{GenerateRequest, Generator};

use super::usage_error;
use crate::config::Config;

/// Arguments of `codetune generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune generate --model models/tiny --prompt 'def add(a, b):'\n  \
    codetune generate --model models/tiny --adapter runs/one/adapter --prompt @prompt.txt --temperature 0.8 --json"
)]
pub(crate) struct GenerateArgs {
    /// A Hugging Face folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A PEFT folder
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Text to go on from, or @FILE
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Most tokens to write
    #[arg(long, default_value_t = 128)]
    max_new_tokens: usize,
    /// 0 takes the likeliest token each time; higher is more random
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Draw from this many likeliest tokens; 0 means all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw from the likeliest tokens that together have this probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Text that ends the generation; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Writes the text as it comes, or one JSON object at the end.
///
/// # Errors
/// A folder or a setting that cannot be used.
pub(crate) fn run(args: &GenerateArgs, _config: &Config) -> anyhow::Result<ExitCode> {
    let prompt = match args.prompt.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| usage_error(format!("--prompt: {path}: {error}")))?,
        None => args.prompt.clone(),
    };
    let request = GenerateRequest {
        prompt,
        max_new_tokens: args.max_new_tokens,
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
        stop: args.stop.clone(),
        use_adapter: true,
    };
    let generator = Generator::load(&args.model, args.adapter.as_deref())
        .map_err(|error| usage_error(error.to_string()))?;
    let mut out = io::stdout().lock();
    let generation = generator
        .generate(&request, &mut |piece| {
            // Nobody reads any more: a closed pipe ends the generation.
            let closed = !args.json && (write!(out, "{piece}").is_err() || out.flush().is_err());
            if closed {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .map_err(|error| usage_error(error.to_string()))?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&generation)?)?;
    } else {
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}
