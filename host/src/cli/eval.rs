//! `codetune eval`: how well a model predicts data it has not seen, and what it writes.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use domain::{DataConfig, DataFormat};
use engine::{
    data::{Prompt, TokenizerSource, prompts},
    evaluate_on,
    generate::{GenerateRequest, Generator, Placement},
};
use serde_json::json;

use super::{comparison, generate::PlacementArgs, model_folder, usage_error};
use crate::config::Config;

/// Arguments of `codetune eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    codetune eval --model host/sample/model --data host/sample/data/held-out.jsonl --json\n  \
    codetune eval --model DIR --adapter DIR --data held-out.jsonl --completions 50 > completions.jsonl\n  \
    codetune eval --model DIR --adapter ONE --against TWO --scorers parses,similarity --data held-out.jsonl --json\n\n\
    Text is measured whole, in windows of --max-seq-length tokens; rows of other formats as they are trained on.")]
pub(crate) struct EvalArgs {
    /// The model's folder, a GGUF file, or a repository of the hub (owner/name, owner/name@revision)
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A PEFT adapter's folder
    #[arg(long, value_name = "DIR")]
    pub(super) adapter: Option<PathBuf>,
    /// Held-out data: a file or folder in any format that a run takes
    #[arg(long, value_name = "PATH")]
    pub(super) data: PathBuf,
    /// Format of the data, such as fim; found out where it is left out
    #[arg(long, value_parser = super::dataset::format)]
    format: Option<DataFormat>,
    /// Which of the subsets that the README.md of the data's folder declares
    #[arg(long, value_name = "NAME")]
    subset: Option<String>,
    /// Which split of it to measure on, such as test, or train+validation; train where it is not said
    #[arg(long, visible_alias = "data-split", value_name = "NAME")]
    split: Option<String>,
    /// Tokens after which a sequence is cut
    #[arg(long, default_value_t = 512)]
    max_seq_length: u32,
    /// Write this many completions of the data's prompts instead, one JSON object a line
    #[arg(long, value_name = "N", group = "writes")]
    completions: Option<usize>,
    /// Score answers to the data's prompts by these plugins instead, with bootstrap confidence intervals
    #[arg(long, value_name = "NAME", value_delimiter = ',', group = "writes")]
    pub(super) scorers: Vec<String>,
    /// With --scorers: a setting of one of them
    #[arg(long, value_name = "NAME.KEY=VALUE", requires = "scorers")]
    pub(super) scorer_config: Vec<String>,
    /// With --scorers: another adapter's folder, or base, to compare with on the same prompts
    #[arg(long, value_name = "DIR", requires = "scorers")]
    pub(super) against: Option<PathBuf>,
    /// With --scorers: prompts to answer
    #[arg(long, value_name = "N", default_value_t = 64, requires = "scorers")]
    prompts: usize,
    /// With --scorers: the answers' language by name, such as python, where no plugin can tell it
    #[arg(long, value_name = "NAME", requires = "scorers")]
    pub(super) language: Option<String>,
    /// With --scorers: samples that are drawn anew for an interval
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "scorers")]
    pub(super) resamples: usize,
    /// With --scorers: share of them whose means lie in the interval
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.95,
        requires = "scorers"
    )]
    pub(super) confidence: f64,
    /// Most tokens of a completion or answer
    #[arg(long, default_value_t = 128, requires = "writes")]
    pub(super) max_new_tokens: usize,
    /// Randomness of the completions; 0 takes the likeliest token each time
    #[arg(long, default_value_t = 0.0, requires = "writes")]
    pub(super) temperature: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0, requires = "writes")]
    pub(super) seed: u64,
    /// Text that ends a completion; may be given several times
    #[arg(long, value_name = "TEXT", requires = "writes")]
    pub(super) stop: Vec<String>,
    #[command(flatten)]
    pub(super) placement: PlacementArgs,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// Measures the model, or lets it write.
pub(crate) fn run(args: &EvalArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let placement = args.placement.chosen(config)?;
    let model = model_folder::local(&args.model, &config.hub)?;
    let data = DataConfig {
        path: Some(args.data.display().to_string()),
        max_seq_length: args.max_seq_length,
        format: args.format.unwrap_or(DataFormat::Auto),
        subset: args.subset.clone(),
        split: args.split.clone(),
        ..DataConfig::default()
    };
    if !args.scorers.is_empty() {
        let tokens = TokenizerSource::of(&model, args.adapter.as_deref()).map_err(bad_input)?;
        let prompts = prompts(&data, tokens, args.prompts).map_err(bad_input)?;
        return comparison::run(args, config, (&model, &placement), &prompts);
    }
    match args.completions {
        Some(count) => complete(args, (&model, &placement), &data, count),
        None => measure(args, (&model, &placement), &data),
    }
}

fn measure(
    args: &EvalArgs,
    (model, placement): (&Path, &Placement),
    data: &DataConfig,
) -> anyhow::Result<ExitCode> {
    let found = evaluate_on(model, args.adapter.as_deref(), data, placement).map_err(bad_input)?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("loss           {:.4}", found.loss);
    println!("perplexity     {:.3}", found.perplexity);
    if let Some(bits) = found.bits_per_byte {
        println!("bits per byte  {bits:.4}");
    }
    for (name, share) in [
        ("exact match", found.exact_match),
        ("FIM exact", found.fim_exact_match),
    ] {
        if let Some(share) = share {
            println!("{name:<14} {:.1} %", share * 100.0);
        }
    }
    println!(
        "over           {} tokens in {} sequences",
        found.supervised_tokens, found.samples
    );
    Ok(ExitCode::SUCCESS)
}

fn complete(
    args: &EvalArgs,
    (model, placement): (&Path, &Placement),
    data: &DataConfig,
    count: usize,
) -> anyhow::Result<ExitCode> {
    let tokens = TokenizerSource::of(model, args.adapter.as_deref()).map_err(bad_input)?;
    let rows = prompts(data, tokens, count).map_err(bad_input)?;
    let adapter = args.adapter.as_deref();
    let generator = Generator::load_on(model, adapter, false, placement).map_err(bad_input)?;
    let mut out = io::stdout().lock();
    for (index, Prompt { prompt, reference }) in rows.into_iter().enumerate() {
        let request = GenerateRequest {
            prompt,
            max_new_tokens: args.max_new_tokens,
            temperature: args.temperature,
            // Each prompt draws its own numbers, whatever the length of the ones before.
            seed: args.seed.wrapping_add(index as u64),
            stop: args.stop.clone(),
            use_adapter: args.adapter.is_some(),
            ..GenerateRequest::default()
        };
        let written = generator
            .generate(&request, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| usage_error(format!("row {}: {error}", index + 1)))?;
        let line = json!({
            "prompt": request.prompt,
            "completion": written.text,
            "finish_reason": written.finish_reason,
            "reference": reference,
        });
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn bad_input(error: engine::Error) -> anyhow::Error {
    usage_error(error.to_string())
}
