//! `codetune dataset generate`: rows to train on out of a model's own answers, ranked by plugins.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Args, ValueEnum};
use domain::DataConfig;
use engine::data::{TokenizerSource, prompts};
use engine::generate::{GenerateRequest, Generator, Placement};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::generate::PlacementArgs;
use super::plugin::{open_named, refused};
use super::{model_folder, scorers, usage_error};
use crate::answers::{Make, Outcome, Ranking, Report, Request, generate};
use crate::config::Config;
use crate::jobs::shutdown;
use crate::safety::keys::hex;
use crate::scoring::Scorers;

/// Arguments of `codetune dataset generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune dataset generate prompts.jsonl --model DIR --scorers parses --out best\n  \
    codetune dataset generate prompts.jsonl --model DIR --adapter DIR --make preference --answers 8 \\\n    \
    --scorers parses,similarity --out pairs --json\n\n\
    Prompts are rows with a text `prompt`; where they say what should follow (completion, chosen), scorers see it as the\n\
    reference. Ctrl-C stops; the same command goes on from there."
)]
pub(crate) struct GenerateArgs {
    /// A file or folder with prompts, as for `dataset inspect`
    prompts: PathBuf,
    /// Which of the subsets that the folder's README.md declares
    #[arg(long, value_name = "NAME")]
    subset: Option<String>,
    /// Which split of it, such as test, or train+validation; train where it is not said
    #[arg(long, visible_alias = "data-split", value_name = "NAME")]
    split: Option<String>,
    /// The model's folder, a GGUF file, or a repository of the hub (owner/name, owner/name@revision)
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A PEFT adapter's folder
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Plugins that score answers; an answer is ranked by the mean of its scores
    #[arg(long, value_name = "NAME", value_delimiter = ',', required = true)]
    scorers: Vec<String>,
    /// A setting of one of them: NAME.KEY=VALUE
    #[arg(long, value_name = "NAME.KEY=VALUE")]
    scorer_config: Vec<String>,
    /// What to make: the best answer, or the best and the worst as a pair for DPO and ORPO
    #[arg(long, value_enum, default_value = "completion")]
    make: MakeArg,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Answers to each prompt
    #[arg(long, value_name = "N", default_value_t = 4)]
    answers: usize,
    /// Take this many prompts only
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Least score of an answer that is chosen, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    min_score: f64,
    /// Least difference of the scores of a pair
    #[arg(long, default_value_t = 0.0)]
    min_margin: f64,
    /// Ask by the model's chat template, and write rows of messages
    #[arg(long)]
    chat: bool,
    /// The answers' language by name, such as python, where no plugin can tell it
    #[arg(long, value_name = "NAME")]
    language: Option<String>,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 256)]
    max_new_tokens: usize,
    /// Randomness; answers to a prompt must differ for one to be the best
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Draw from the likeliest tokens that together have this probability
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Text that ends an answer; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// The report as one JSON object on standard output, progress as JSON lines on standard error
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MakeArg {
    Completion,
    Preference,
}

/// Generates and prints the report; exit code 1 when it was stopped before its end.
///
/// # Errors
/// A prompt, model, plugin, setting or folder that cannot be used.
pub(crate) fn run(args: &GenerateArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let make = match args.make {
        MakeArg::Completion => Make::Completion,
        MakeArg::Preference => Make::Preference,
    };
    check(args, make)?;
    let placement = args.placement.chosen(config)?;
    let model = model_folder::local(&args.model, &config.hub)?;
    let data = DataConfig {
        path: Some(args.prompts.display().to_string()),
        subset: args.subset.clone(),
        split: args.split.clone(),
        ..DataConfig::default()
    };
    let told = |error: engine::Error| usage_error(error.to_string());
    let tokens = TokenizerSource::of(&model, args.adapter.as_deref()).map_err(told)?;
    let asked = prompts(&data, tokens, args.limit.unwrap_or(usize::MAX)).map_err(told)?;
    let host = open_named(config)?;
    let named = scorers::with_settings(&args.scorers, &args.scorer_config)?;
    let scorers = Scorers::open(&host, named).map_err(refused)?;
    let adapter = args.adapter.as_deref();
    let generator = Generator::load_on(&model, adapter, false, &placement).map_err(told)?;
    let settings = GenerateRequest {
        max_new_tokens: args.max_new_tokens,
        temperature: args.temperature,
        top_p: args.top_p,
        seed: args.seed,
        stop: args.stop.clone(),
        use_adapter: args.adapter.is_some(),
        ..GenerateRequest::default()
    };
    settings
        .check()
        .map_err(|errors| usage_error(errors.to_string()))?;
    let about = about(&model, args.adapter.as_deref(), &placement)?;
    let request = Request {
        prompts: &asked,
        settings: &settings,
        answers: args.answers,
        chat: args.chat,
        language: args.language.as_deref(),
        ranking: Ranking {
            make,
            min_score: args.min_score,
            min_margin: args.min_margin,
        },
        about: &about,
        out: &args.out,
    };
    let stop = Arc::new(AtomicBool::new(false));
    shutdown::on_signals({
        let stop = Arc::clone(&stop);
        move || stop.store(true, Ordering::Relaxed)
    })?;
    let outcome = generate(&generator, &scorers, &request, &stop, |progress| {
        let (seconds, left) = (progress.elapsed.as_secs_f64(), progress.left.as_secs_f64());
        if args.json {
            let line = json!({
                "event": "progress",
                "prompts": progress.prompts,
                "of": progress.of,
                "rows": progress.rows,
                "seconds": seconds,
                "seconds_left": left,
            });
            eprintln!("{line}");
        } else {
            eprintln!(
                "{} of {} prompts, {} rows, {seconds:.0} s, {left:.0} s left",
                progress.prompts, progress.of, progress.rows
            );
        }
    })?;
    match outcome {
        Outcome::Finished(report) => {
            match args.json {
                true => println!("{}", serde_json::to_string(&report)?),
                false => print(&report, &args.out),
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Stopped { prompts } => {
            eprintln!("stopped after {prompts} prompts; the same command goes on from there");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn check(args: &GenerateArgs, make: Make) -> anyhow::Result<()> {
    let least = match make {
        Make::Completion => 1,
        Make::Preference => 2,
    };
    if !(least..=64).contains(&args.answers) {
        return Err(usage_error(format!(
            "--answers {}: must be from {least} to 64 here",
            args.answers
        )));
    }
    if args.answers > 1 && args.temperature == 0.0 {
        return Err(usage_error(
            "--temperature 0: all answers to a prompt would be the same; set it above 0, or --answers 1",
        ));
    }
    for (flag, value) in [
        ("min-score", args.min_score),
        ("min-margin", args.min_margin),
    ] {
        if !(0.0..=1.0).contains(&value) {
            return Err(usage_error(format!(
                "--{flag} {value}: must be from 0 to 1"
            )));
        }
    }
    Ok(())
}

/// The model by name and the weights of it that are small enough to read at each start: of the base its config and size,
/// of the adapter everything. How the weights are held makes another model of them.
fn about(
    model: &Path,
    adapter: Option<&Path>,
    placement: &Placement,
) -> anyhow::Result<serde_json::Value> {
    let name = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let mut base = Sha256::new();
    let mut files: Vec<PathBuf> = match model.is_dir() {
        true => std::fs::read_dir(model)
            .with_context(|| model.display().to_string())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file())
            .collect(),
        false => vec![model.to_owned()],
    };
    files.sort();
    for file in files {
        let size = file.metadata().map_or(0, |data| data.len());
        base.update(format!("{:?} {size}\n", file.file_name()));
        if file.file_name().is_some_and(|name| name == "config.json") {
            base.update(std::fs::read(&file)?);
        }
    }
    let adapter = adapter
        .map(|folder| -> anyhow::Result<_> {
            let path = folder.join("adapter_model.safetensors");
            let mut hasher = Sha256::new();
            let mut file =
                std::fs::File::open(&path).with_context(|| path.display().to_string())?;
            let mut buffer = vec![0; 1 << 18];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    read => hasher.update(&buffer[..read]),
                }
            }
            Ok(json!({ "name": name(folder), "sha256": hex(&hasher.finalize()) }))
        })
        .transpose()?;
    let mut about = json!({
        "model": name(model),
        "model_files_sha256": hex(&base.finalize()),
        "adapter": adapter,
        "studio": env!("CARGO_PKG_VERSION"),
    });
    let usual = Placement::default();
    if placement.dtype != usual.dtype {
        about["dtype"] = json!(placement.dtype);
    }
    if let Some(quantize) = placement.quantize {
        about["quantize"] = json!(quantize);
    }
    Ok(about)
}

fn print(report: &Report, out: &Path) {
    println!(
        "{}: {} rows from {} prompts",
        out.display(),
        report.rows,
        report.prompts
    );
    if let (Some(all), Some(chosen)) = (report.mean_score, report.chosen_score) {
        println!("  mean score of all answers {all:.4}, of the chosen ones {chosen:.4}");
    }
    for (why, prompts) in &report.without {
        println!("  {prompts} prompts without a row: {why}");
    }
}
