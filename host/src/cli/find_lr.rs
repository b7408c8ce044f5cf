//! `codetune find-lr`: a learning rate for a run.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use engine::{LrSearch, StopFlag, find_lr};

use super::{run_file, train::exit_code, usage_error};
use crate::config::Config;
use crate::jobs::shutdown;

/// Arguments of `codetune find-lr`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    codetune find-lr host/sample/RUN.toml --json\n\n\
    The rate rises exponentially over some steps of the run's data; the suggestion is where the smoothed loss falls\n\
    steepest. Nothing is written but what the run's curators leave in train.output, and Ctrl-C ends the search with what it has seen.")]
pub(crate) struct FindLrArgs {
    /// The run
    #[arg(value_name = "RUN.toml")]
    run: PathBuf,
    /// Change a setting for this search
    #[arg(long, value_name = "section.key=value")]
    set: Vec<String>,
    /// Rate of the first step
    #[arg(long, default_value_t = 1e-7)]
    start: f64,
    /// Rate of the last step
    #[arg(long, default_value_t = 1.0)]
    end: f64,
    /// Steps from the first to the last
    #[arg(long, default_value_t = 100)]
    steps: u64,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Searches and prints what was found.
pub(crate) fn run(args: &FindLrArgs, settings: &Config) -> anyhow::Result<ExitCode> {
    let range = args.start > 0.0 && args.end > args.start && args.end.is_finite();
    if !range || args.steps < 2 {
        return Err(usage_error(format!(
            "--start {} --end {} --steps {}: the rates must be above 0 and rising, the steps at least 2",
            args.start, args.end, args.steps
        )));
    }
    let config =
        run_file::read(&args.run, &args.set).map_err(|error| usage_error(error.to_string()))?;
    crate::gpu::hand_over("model.device", &config.model.device, settings)?;
    let search = LrSearch {
        start: args.start,
        end: args.end,
        steps: args.steps,
        ..LrSearch::default()
    };
    let stop = StopFlag::new();
    shutdown::on_signals({
        let stop = stop.clone();
        move || stop.stop()
    })?;
    let config = run_file::curated(&config, settings, &stop).map_err(told)?;
    let found = find_lr(&config, search, &stop, &mut |point| {
        eprintln!(
            "step {:>4}  rate {:.2e}  loss {:.4}  smoothed {:.4}",
            point.step, point.learning_rate, point.loss, point.smoothed_loss
        );
    })
    .map_err(told)?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    match found.suggestion {
        Some(rate) => println!("train.learning_rate = {rate:.2e}"),
        None => println!("the loss never fell; try more --steps or another range"),
    }
    if let Some(rate) = found.lowest {
        println!("the loss was lowest at {rate:.2e}");
    }
    Ok(ExitCode::SUCCESS)
}

fn told(error: engine::Error) -> anyhow::Error {
    match exit_code(&error) {
        2 => usage_error(error.to_string()),
        _ => error.into(),
    }
}
