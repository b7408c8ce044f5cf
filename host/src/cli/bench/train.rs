//! `codetune bench train`: how fast a LoRA step is, and what memory it takes.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use domain::Quantize;
use engine::bench::{BenchTrain, train};

use super::super::export::Dtype;
use super::super::usage_error;
use crate::config::Config;

/// Arguments of `codetune bench train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune bench make-model --output smol && codetune bench train --model smol --batch-size 2 --seq-len 512 --steps 5"
)]
pub(crate) struct BenchTrainArgs {
    /// A Hugging Face folder; it needs no tokenizer
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Sequences in one step
    #[arg(long, default_value_t = 2)]
    batch_size: usize,
    /// Tokens of each
    #[arg(long, default_value_t = 512)]
    seq_len: usize,
    /// Steps; the first is not counted
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Type in which the frozen weights are held
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Pack the frozen weights
    #[arg(long, value_enum)]
    quantize: Option<Packing>,
    /// GPU memory to stay under, such as 7GB, by computing activations twice
    #[arg(long, value_name = "SIZE", value_parser = domain::parse_size)]
    device_memory_limit: Option<u64>,
    /// Rank of the adapter
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    lora_r: u32,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Values of `model.quantize`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Packing {
    Nf4,
    Q4k,
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<Packing> for Quantize {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::Nf4 => Self::Nf4,
            Packing::Q4k => Self::Q4k,
            Packing::Q8_0 => Self::Q8_0,
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// A model or a size that cannot be used.
pub(crate) fn run(args: &BenchTrainArgs, config: &Config) -> anyhow::Result<ExitCode> {
    crate::gpu::hand_over("--device", &args.device, config)?;
    let report = train(&BenchTrain {
        model: args.model.clone(),
        batch_size: args.batch_size,
        seq_len: args.seq_len,
        steps: args.steps,
        dtype: args.dtype.into(),
        device: args.device.clone(),
        lora_r: args.lora_r,
        quantize: args.quantize.map(Into::into),
        device_memory_limit: args.device_memory_limit,
    })
    .map_err(|error| usage_error(error.to_string()))?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("tokens/s           {:.1}", report.tokens_per_second);
        println!(
            "seconds/step       {:.3} (median of {})",
            report.seconds_per_step,
            args.steps - 1
        );
        println!(
            "peak memory        {:.2} GB",
            report.peak_rss_bytes as f64 / 1e9
        );
        if let Some(bytes) = report.peak_device_bytes {
            println!("peak on the GPU    {:.2} GB", bytes as f64 / 1e9);
        }
        println!(
            "matmul             {:.0} GFLOP/s on {}, {} threads",
            report.gemm_gflops, report.device, report.threads
        );
        println!(
            "of that, in a step {:.0} %",
            report.model_flops_utilization * 100.0
        );
        println!(
            "trainable          {} of {}",
            report.trainable_parameters, report.all_parameters
        );
    }
    Ok(ExitCode::SUCCESS)
}
