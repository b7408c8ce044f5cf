//! `codetune export` and `codetune merge`: what leaves the studio.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use domain::ModelDtype;
use engine::export::{self, ExportDtype, MAX_SHARD_SIZE, Report, Request};
use serde_json::{Value, json};

use super::{model_folder, usage_error};
use crate::config::Config;

/// Arguments of `codetune export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune export --model models/tiny --adapter runs/one/adapter --format safetensors --output merged\n  \
    codetune export --model models/tiny --adapter runs/one/adapter --format gguf --dtype q8_0 --output tiny.gguf\n\n\
    What was written is read again and its answers are compared with those of base and adapter."
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    what: What,
    /// What to write
    #[arg(long, value_enum)]
    format: Format,
}

/// Arguments of `codetune merge`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune merge --model models/tiny --adapter runs/one/adapter --output merged"
)]
pub(crate) struct MergeArgs {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
struct What {
    /// The Hugging Face folder that the adapter was trained on, or a repository of the hub (owner/name, owner/name@revision)
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The PEFT folder; without one the model is written as it is
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A folder that does not exist yet; for a GGUF also a file that ends in .gguf
    #[arg(long, value_name = "PATH")]
    output: PathBuf,
    /// Type of the weights; the model's own where it is left out
    #[arg(long, value_enum)]
    dtype: Option<OutputDtype>,
    /// Largest safetensors file: 5GB, 500MB, 2GiB or bytes
    #[arg(long, value_name = "SIZE", default_value_t = Size(MAX_SHARD_SIZE))]
    max_shard_size: Size,
    /// Replace what is there
    #[arg(long)]
    force: bool,
    /// Do not read the output again
    #[arg(long)]
    no_verify: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// JSON lines on standard output: how far it is, last `finished` or `error`
    #[arg(long, conflicts_with = "json")]
    progress: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// The adapter by itself, as Python PEFT reads it
    Peft,
    /// The adapter merged into its model, as a Hugging Face folder
    Safetensors,
    /// The adapter merged into its model, as llama.cpp and Ollama read it
    Gguf,
    /// The adapter by itself, as llama.cpp and Ollama read it
    GgufLora,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OutputDtype {
    F32,
    F16,
    Bf16,
    /// 8 bits, only in a GGUF
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits, only in a GGUF
    #[value(name = "q4_k")]
    Q4K,
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

/// A number of bytes as people write it; as with Transformers, `GB` is a thousand million and `GiB` is 2^30.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            whole if whole % 1_000_000_000 == 0 => write!(f, "{}GB", whole / 1_000_000_000),
            bytes => write!(f, "{bytes}"),
        }
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "B" => 1,
            "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KIB" => 1 << 10,
            "MIB" => 1 << 20,
            "GIB" => 1 << 30,
            other => {
                return Err(format!(
                    "{other} is no unit; KB, MB, GB, KiB, MiB and GiB are"
                ));
            }
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| "must be a whole number with a unit, such as 5GB".to_owned())?;
        number
            .checked_mul(unit)
            .map(Self)
            .ok_or_else(|| "is too large".to_owned())
    }
}

/// Writes the export and says what it is and how it compares.
///
/// # Errors
/// Something cannot be used as it is (exit code 2), or the export does not answer as base and adapter do (1).
pub(crate) fn run(args: &ExportArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let format = match args.format {
        Format::Peft => export::Format::Peft,
        Format::Safetensors => export::Format::Safetensors,
        Format::Gguf => export::Format::Gguf,
        Format::GgufLora => export::Format::GgufLora,
    };
    write(&args.what, format, config)
}

/// As [`run`] with the format safetensors.
///
/// # Errors
/// As [`run`].
pub(crate) fn merge(args: &MergeArgs, config: &Config) -> anyhow::Result<ExitCode> {
    if args.what.adapter.is_none() {
        return Err(usage_error(
            "--adapter: is missing: there is nothing to merge",
        ));
    }
    write(&args.what, export::Format::Safetensors, config)
}

fn write(what: &What, format: export::Format, config: &Config) -> anyhow::Result<ExitCode> {
    let request = Request {
        model: model_folder::local(&what.model, &config.hub)?,
        adapter: what.adapter.clone(),
        format,
        output: what.output.clone(),
        dtype: what.dtype.map(|dtype| match dtype {
            OutputDtype::F32 => ExportDtype::F32,
            OutputDtype::F16 => ExportDtype::F16,
            OutputDtype::Bf16 => ExportDtype::Bf16,
            OutputDtype::Q8_0 => ExportDtype::Q8_0,
            OutputDtype::Q4K => ExportDtype::Q4K,
        }),
        max_shard_size: what.max_shard_size.0,
        force: what.force,
        verify: !what.no_verify,
    };
    let mut last = None;
    let report = export::export_telling(&request, &mut |progress| {
        if what.progress && last != Some(progress) {
            line(&json!({ "event": "progress", "progress": progress }));
            last = Some(progress);
        }
    });
    if what.progress {
        line(&match &report {
            Ok(report) => json!({ "event": "finished", "report": report }),
            Err(error) => {
                json!({ "event": "error", "code": error.code(), "message": error.to_string() })
            }
        });
    }
    let report = report.map_err(|error| match error.code() {
        "internal" | "io" => anyhow::Error::from(error),
        _ => usage_error(error.to_string()),
    })?;
    if what.progress {
        return Ok(ExitCode::SUCCESS);
    }
    if what.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        show(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn line(value: &Value) {
    println!("{value}");
}

/// The path alone on standard output, for scripts; all else on standard error.
fn show(report: &Report) {
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    match &report.verification {
        Some(verified) => eprintln!(
            "read again: over {} tokens the logits differ by at most {:.2e} (relative error {:.2e}, {:.0e} is allowed), {:.1} % of the likeliest tokens agree",
            verified.prompt_tokens,
            verified.max_abs_difference,
            verified.relative_error,
            verified.tolerance,
            100.0 * verified.greedy_agreement
        ),
        None => eprintln!("not read again"),
    }
    println!("{}", report.output.display());
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_have_the_units_of_transformers() {
        for (text, bytes) in [
            ("5GB", 5_000_000_000),
            ("2GiB", 2 << 30),
            ("300", 300),
            ("10mb", 10_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        for text in ["", "GB", "5XB", "-1", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size(5_000_000_000).to_string(), "5GB");
    }
}
