//! `codetune estimate`: what a run will take in memory.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{run_file, usage_error};
use crate::config::Config;

/// Arguments of `codetune estimate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  codetune estimate RUN.toml\n  \
    codetune estimate RUN.toml --set model.quantize=nf4 --json\n\n\
    With model.memory_limit the run is estimated as it is made to fit.")]
pub(crate) struct EstimateArgs {
    /// The run's RUN.toml
    run: PathBuf,
    /// Override one setting: section.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// One JSON object on standard output, in bytes
    #[arg(long)]
    json: bool,
}

/// Prints the estimated peak and what it is made of.
pub(crate) fn run(args: &EstimateArgs, settings: &Config) -> anyhow::Result<ExitCode> {
    let config =
        run_file::read(&args.run, &args.set).map_err(|error| usage_error(error.to_string()))?;
    let config = run_file::curated(&config, settings, &engine::StopFlag::new())
        .map_err(|error| usage_error(error.to_string()))?;
    let estimate = engine::estimate(&config).map_err(|error| usage_error(error.to_string()))?;
    if args.json {
        println!("{}", serde_json::to_string(&estimate)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (what, bytes) in [
        ("base", estimate.base),
        ("adapter", estimate.adapter),
        ("gradients", estimate.gradients),
        ("optimizer", estimate.optimizer),
        ("activations", estimate.activations),
        ("logits", estimate.logits),
        ("data", estimate.data),
        ("program", estimate.program),
        ("total", estimate.total),
    ] {
        println!("{what:<12} {:>10.1} MB", bytes as f64 / 1e6);
    }
    println!(
        "micro-batches of {} {}, {} for a step{}",
        estimate.batch_size,
        match config.train.method.is_paired() {
            true => "pairs",
            false => "sequences",
        },
        estimate.gradient_accumulation_steps,
        match estimate.segment {
            0 => String::new(),
            n => format!("; activations of {n} layers at a time, the others computed again"),
        }
    );
    Ok(ExitCode::SUCCESS)
}
