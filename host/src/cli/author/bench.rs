//! `codetune plugin bench`: what a call of one plugin costs, on a fresh instance and on one that stays.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use domain::ExecutionOutcome;
use plugin_host::bench;
use serde_json::{Value, json};

use super::trial::Trial;
use super::{build, test, told_fuel, usage_error};
use crate::cli::plugin::read_input;
use crate::config::Config;

/// Arguments of `codetune plugin bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  codetune plugin bench my-plugin\n  \
    codetune plugin bench my-plugin.wasm --input '{\"code\": \"x = 1\"}' --calls 10000 --json")]
pub(crate) struct BenchArgs {
    /// The project, another folder with plugin.toml, or a component
    file: PathBuf,
    /// A JSON object, or @FILE that holds one, by default the first example of fixtures.json
    #[arg(long)]
    input: Option<String>,
    /// Calls to take the median of
    #[arg(long, default_value_t = 1000)]
    calls: usize,
    /// Take the component that is there
    #[arg(long)]
    no_build: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
/// No input, a build that fails, a plugin that does not load or does not answer.
pub(crate) fn run(args: &BenchArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let path = &args.file;
    if !args.no_build && build::is_project(path) {
        build::build(path)?;
    }
    let input = input(args)?;
    let trial = Trial::open(path, config)?.loaded(path)?;
    let name = &trial.plugin.name;
    // Once before anything is measured: what it costs, and whether it answers at all.
    let once = trial.host.run(name, &input)?;
    if let ExecutionOutcome::Failed { code, message } = &once.outcome {
        anyhow::bail!("{name}: {code}: {message}");
    }
    let component = tempfile::NamedTempFile::new().context("no temporary file")?;
    std::fs::write(component.path(), &trial.component)?;
    let calls = args.calls.max(10);
    let fresh = bench::fresh_call(&trial.host, name, component.path(), &input, calls)?;
    let warm = bench::warm_call(&trial.host, name, &input, calls)?;
    if args.json {
        let report = json!({
            "plugin": name, "digest": trial.plugin.digest, "fuel": once.fuel,
            "peak_memory_bytes": once.peak_memory_bytes, "fresh_call": fresh, "warm_call": warm,
        });
        println!("{report}");
    } else {
        println!(
            "{name}: {calls} calls, {}, {} bytes of memory",
            told_fuel(once.fuel),
            once.peak_memory_bytes
        );
        println!(
            "  fresh instance  {:.1} us, 99 of 100 within {:.1} us; bare wasmtime takes {:.1} us",
            fresh.host_us, fresh.host_p99_us, fresh.bare_us
        );
        println!(
            "  warm instance   {:.1} us, 99 of 100 within {:.1} us, {}",
            warm.median_us,
            warm.p99_us,
            told_fuel(warm.fuel)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn input(args: &BenchArgs) -> anyhow::Result<Value> {
    if let Some(input) = &args.input {
        return read_input(input);
    }
    let shown = args.file.display();
    if !args.file.is_dir() {
        return Err(usage_error(format!(
            "{shown} has no examples; give --input"
        )));
    }
    test::fixtures(&args.file)?
        .into_iter()
        .next()
        .map(|fixture| fixture.input)
        .ok_or_else(|| usage_error(format!("fixtures.json of {shown} is empty; give --input")))
}
