//! `codetune submit`: puts a run into the queue.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use domain::{RunConfig, RunId};
use serde_json::json;
use store::{NewRun, Store};

use super::{run_file, usage_error};
use crate::config::Config;

/// Arguments of `codetune submit`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  codetune submit RUN.toml\n  \
    codetune submit RUN.toml --name \"lower rate\" --set train.learning_rate=1e-4 --json\n\n\
    The run writes into the studio's data folder, whatever train.output says.")]
pub(crate) struct SubmitArgs {
    /// The run's RUN.toml
    run: PathBuf,
    /// What to call it [default: the file's name]
    #[arg(long)]
    name: Option<String>,
    /// Override one setting: section.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Queues the run and prints its id.
pub(crate) fn run(args: &SubmitArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let id = RunId::new();
    let mut overrides = args.set.clone();
    overrides.push(format!("train.output={}", config.paths.run(id).display()));
    let mut run_config =
        run_file::read(&args.run, &overrides).map_err(|error| usage_error(error.to_string()))?;
    make_absolute(&mut run_config)?;
    let name = match &args.name {
        Some(name) => name.trim().to_owned(),
        None => args
            .run
            .file_stem()
            .map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned()),
    };
    if name.is_empty() {
        return Err(usage_error("--name: must not be empty"));
    }
    let store = Store::open(&config.store_config())?;
    if run_config.is_curated() || run_config.is_scored() {
        let host = crate::plugins::open(config, &store)?;
        crate::curated::check(&host, &run_config)
            .map_err(|error| usage_error(format!("{}: {error}", args.run.display())))?;
    }
    let run = store.create_run(&NewRun {
        id,
        name,
        config: run_config,
    })?;
    if args.json {
        println!(
            "{}",
            json!({ "id": run.id, "name": run.name, "status": run.status })
        );
    } else {
        println!("{}", run.id);
    }
    Ok(ExitCode::SUCCESS)
}

/// The worker starts in another folder: paths are fixed where the user wrote them.
fn make_absolute(config: &mut RunConfig) -> anyhow::Result<()> {
    let paths = [
        &mut config.model.path,
        &mut config.data.path,
        &mut config.data.eval_path,
        &mut config.data.curate,
        &mut config.lora.init_adapter,
    ];
    let mixed = config.data.mix.values_mut().map(|mixed| &mut mixed.path);
    for path in paths.into_iter().chain(mixed).flatten() {
        let absolute =
            std::path::absolute(&*path).with_context(|| format!("{path} is no usable path"))?;
        *path = absolute.to_string_lossy().into_owned();
    }
    Ok(())
}
