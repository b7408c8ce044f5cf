//! The command line: one file per command, one arm per command.

mod analyze;
mod answers;
mod author;
mod bench;
mod comparison;
mod curate;
mod dataset;
mod db;
mod devices;
mod doctor;
mod estimate;
mod eval;
mod export;
mod fetching;
mod find_lr;
mod generate;
mod mask;
mod model_folder;
mod plugin;
mod plugin_consent;
mod plugin_secret;
mod run_file;
mod scorers;
mod serve;
mod submit;
mod tokenizer;
mod train;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::telemetry;

/// Fine-tune code models on your own hardware, with plugins that decide what they learn from.
#[derive(Debug, Parser)]
#[command(
    name = "codetune",
    version,
    propagate_version = true,
    after_help = "Without a command the studio starts: the same as `codetune serve`."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// One variant a command; its arguments live in the command's own file.
#[derive(Debug, Subcommand)]
enum Command {
    /// Start the studio with its pages and a worker
    Serve(serve::ServeArgs),
    /// Show which tokens of a run's data are trained on
    Mask(mask::MaskArgs),
    /// Measure a model on held-out data
    Eval(eval::EvalArgs),
    /// Inspect, import, curate or generate a dataset
    Dataset(dataset::DatasetArgs),
    /// Make, inspect and use tokenizers
    Tokenizer(tokenizer::TokenizerArgs),
    /// Train a run in this process
    Train(train::TrainArgs),
    /// Look for a learning rate for a run
    FindLr(find_lr::FindLrArgs),
    /// Say what a run will take in memory
    Estimate(estimate::EstimateArgs),
    /// Put a run into the queue
    Submit(submit::SubmitArgs),
    /// Take runs from the queue and train them
    Worker(worker::WorkerArgs),
    /// Look after the database
    Db(db::DbArgs),
    /// Write text with a model
    Generate(generate::GenerateArgs),
    /// Write an adapter, or a model with it merged in, to a folder of its own
    Export(export::ExportArgs),
    /// Merge an adapter into its model
    Merge(export::MergeArgs),
    /// List, call, grant, write and install plugins
    Plugin(plugin::PluginArgs),
    /// Run an analyzer over files and folders
    Analyze(analyze::AnalyzeArgs),
    /// Measure speed and memory
    Bench(bench::BenchArgs),
    /// List the GPUs that runs can have
    Devices(devices::DevicesArgs),
    /// Say what this machine can do and what is missing
    Doctor(doctor::DoctorArgs),
}

/// Wrong usage or bad input: printed as one line, exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// An error that ends the program with exit code 2 and one line that names file, field and value.
pub fn usage_error(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// Runs the command line of this process and says how it should exit: 0 ok, 1 failed, 2 wrong usage or input.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = Config::load().map_err(Into::into).and_then(|config| {
        telemetry::start(&config.log)?;
        run(cli, &config)
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            let is_usage = error.chain().any(|cause| cause.is::<UsageError>());
            ExitCode::from(if is_usage { 2 } else { 1 })
        }
    }
}

fn run(cli: Cli, config: &Config) -> anyhow::Result<ExitCode> {
    let command = cli
        .command
        .unwrap_or_else(|| Command::Serve(serve::ServeArgs::default()));
    // These must outlive whoever reads what they print.
    if !matches!(
        command,
        Command::Serve(_) | Command::Worker(_) | Command::Train(_)
    ) {
        end_with_the_reader();
    }
    match command {
        Command::Serve(args) => serve::run(args, config),
        Command::Mask(args) => mask::run(&args, config),
        Command::Eval(args) => eval::run(&args, config),
        Command::Dataset(args) => dataset::run(&args, config),
        Command::Tokenizer(args) => tokenizer::run(&args, config),
        Command::Train(args) => train::run(&args, config),
        Command::FindLr(args) => find_lr::run(&args, config),
        Command::Estimate(args) => estimate::run(&args, config),
        Command::Submit(args) => submit::run(&args, config),
        Command::Worker(args) => worker::run(&args, config),
        Command::Db(args) => db::run(&args, config),
        Command::Generate(args) => generate::run(&args, config),
        Command::Export(args) => export::run(&args, config),
        Command::Merge(args) => export::merge(&args, config),
        Command::Plugin(args) => plugin::run(&args, config),
        Command::Analyze(args) => analyze::run(&args, config),
        Command::Bench(args) => bench::run(&args, config),
        Command::Devices(args) => devices::run(&args, config),
        Command::Doctor(args) => doctor::run(&args, config),
    }
}

/// Lets a reader that has seen enough (`| head`) end the program without a word, as is usual on Unix; Rust makes an
/// error of it, on which `println!` panics.
fn end_with_the_reader() {
    #[cfg(unix)]
    // SAFETY: no other thread runs yet that could be using the signal, and the default action needs no handler.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let nested = command.get_subcommands().next().is_some();
            assert!(
                nested || help.contains("codetune"),
                "`codetune {} --help` shows no example",
                command.get_name()
            );
        }
    }
}
