//! `codetune bench`: the figures of BENCHMARKS.md, each made by one command.

mod curate;
mod data;
mod generate;
mod make_model;
mod plugins;
mod train;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::Config;

pub(crate) use train::Packing;

/// Arguments of `codetune bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune bench train --model DIR --batch-size 2 --seq-len 512 --steps 5"
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A LoRA training step on random tokens
    Train(train::BenchTrainArgs),
    /// Texts written greedily after random prompts
    Generate(generate::BenchGenerateArgs),
    /// Data from files to packed rows of tokens
    Data(data::BenchDataArgs),
    /// The plugin host, against wasmtime alone
    Plugins(plugins::BenchPluginsArgs),
    /// A tree of source through curators
    Curate(curate::BenchCurateArgs),
    /// Make a model of random weights to measure on
    MakeModel(make_model::MakeModelArgs),
}

/// Measures what was asked for.
///
/// # Errors
/// An input that cannot be used.
pub(crate) fn run(args: &BenchArgs, config: &Config) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Train(args) => train::run(args, config),
        What::Generate(args) => generate::run(args, config),
        What::Data(args) => data::run(args),
        What::Plugins(args) => plugins::run(args, config),
        What::Curate(args) => curate::run(args, config),
        What::MakeModel(args) => make_model::run(args, config),
    }
}
