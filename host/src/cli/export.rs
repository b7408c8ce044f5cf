//! `codetune export` and `codetune merge`: what leaves the studio.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use domain::ModelDtype;

use super::usage_error;
use crate::config::Config;

/// Arguments of `codetune export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune export --model models/tiny --adapter runs/one/adapter --format safetensors --output merged"
)]
pub(crate) struct ExportArgs {
    /// The Hugging Face folder that the adapter was trained on
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The PEFT folder
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: Format,
    /// A folder that does not exist yet
    #[arg(long, value_name = "PATH")]
    output: PathBuf,
    /// Type of merged weights; the model's own where it is left out
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
}

/// Arguments of `codetune merge`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune merge --model models/tiny --adapter runs/one/adapter --output merged"
)]
pub(crate) struct MergeArgs {
    /// The Hugging Face folder that the adapter was trained on
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The PEFT folder
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// A folder that does not exist yet
    #[arg(long, value_name = "PATH")]
    output: PathBuf,
    /// Type of the weights; the model's own where it is left out
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// The adapter by itself, as Python PEFT reads it
    Peft,
    /// The adapter merged into its model, as a Hugging Face folder
    Safetensors,
    /// Not supported yet
    Gguf,
    /// Not supported yet
    GgufLora,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Dtype {
    F32,
    F16,
    Bf16,
}

impl From<Dtype> for ModelDtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

/// Writes the folder and prints its path.
///
/// # Errors
/// A folder that cannot be used, or a format that is not done yet.
pub(crate) fn run(args: &ExportArgs, _config: &Config) -> anyhow::Result<ExitCode> {
    match args.format {
        Format::Safetensors => {
            return merge_into(&args.model, &args.adapter, &args.output, args.dtype);
        }
        Format::Gguf | Format::GgufLora => {
            return Err(usage_error(
                "--format: gguf and gguf-lora are not supported yet; peft and safetensors are",
            ));
        }
        Format::Peft => {}
    }
    if args.dtype.is_some() {
        return Err(usage_error(
            "--dtype: is for merged weights; an adapter stays in f32",
        ));
    }
    engine::export::copy_adapter(&args.model, &args.adapter, &args.output)
        .map_err(|error| usage_error(error.to_string()))?;
    println!("{}", args.output.display());
    Ok(ExitCode::SUCCESS)
}

/// As [`run`] with the format safetensors.
///
/// # Errors
/// A folder that cannot be used.
pub(crate) fn merge(args: &MergeArgs, _config: &Config) -> anyhow::Result<ExitCode> {
    merge_into(&args.model, &args.adapter, &args.output, args.dtype)
}

fn merge_into(
    model: &std::path::Path,
    adapter: &std::path::Path,
    output: &std::path::Path,
    dtype: Option<Dtype>,
) -> anyhow::Result<ExitCode> {
    engine::export::merge(model, adapter, output, dtype.map(Into::into))
        .map_err(|error| usage_error(error.to_string()))?;
    println!("{}", output.display());
    Ok(ExitCode::SUCCESS)
}
