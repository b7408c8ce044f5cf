//! `codetune dataset curate` and `dataset explain`: a dataset through a pipeline of curators, and why a row went.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use curation::{Bin, Example, Histogram, Outcome, Pipeline, Progress, Report};
use domain::{DataConfig, DataFormat};
use serde_json::{Value, json};

use super::plugin::{open_named, refused};
use super::usage_error;
use crate::config::Config;
use crate::curate::{Error, Request, curate};
use crate::jobs::shutdown;

/// A person reads a line every so often; a program gets every one.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Characters of an example's text on the terminal.
const EXCERPT: usize = 80;

/// Arguments of `codetune dataset curate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune dataset curate data.jsonl --pipeline curate.toml --out curated --json\n\n\
    Ctrl-C stops; the same command goes on from there."
)]
pub(crate) struct CurateArgs {
    /// A file or folder, as for `dataset inspect`
    path: PathBuf,
    /// The pipeline: its [[plugins]] with their settings, in order
    #[arg(long, value_name = "FILE")]
    pipeline: PathBuf,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Shape of a row, where the columns do not tell it: source-tree for a folder of code
    #[arg(long, default_value = "auto", value_parser = super::dataset::format)]
    format: DataFormat,
    /// Which dataset of a LLaMA-Factory dataset_info.json
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Which of the subsets that the folder's README.md declares
    #[arg(long, value_name = "NAME")]
    subset: Option<String>,
    /// Which split of it, such as test, or train+validation; train where it is not said
    #[arg(long, visible_alias = "data-split", value_name = "NAME")]
    split: Option<String>,
    /// Threads; 0 for one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Ask every plugin anew instead of taking verdicts of earlier curations
    #[arg(long)]
    forget: bool,
    /// The report as one JSON object on standard output, progress as JSON lines on standard error
    #[arg(long)]
    json: bool,
    /// Stop when standard input is closed, which the studio does when it goes
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// Arguments of `codetune dataset explain`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune dataset explain curated --row 17")]
pub(crate) struct ExplainArgs {
    /// A folder that `dataset curate` wrote
    folder: PathBuf,
    /// Number of the row in the input, from 1, as reports and messages name it
    #[arg(long, required_unless_present = "output_row")]
    row: Option<u64>,
    /// Number of the row in data.jsonl, from 1, instead
    #[arg(long, conflicts_with = "row")]
    output_row: Option<u64>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Curates and prints the report; exit code 1 when it was stopped before its end.
///
/// # Errors
/// A pipeline, plugin, setting, row or folder that cannot be used.
pub(crate) fn run(args: &CurateArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let in_file = |error: String| usage_error(format!("{}: {error}", args.pipeline.display()));
    let text =
        std::fs::read_to_string(&args.pipeline).map_err(|error| in_file(error.to_string()))?;
    let pipeline = Pipeline::parse(&text).map_err(|error| in_file(error.to_string()))?;
    // Without it everything could be held out later, and what is for training alone would be evaluated with.
    if let Some(step) = pipeline
        .only_for_training()
        .filter(|_| pipeline.hold_out.is_none())
    {
        return Err(in_file(format!(
            "plugins: {}: only = \"train\" needs to know what is held out: add `hold_out = {{ share = 0.1 }}`, or name the \
             file in a run's data.curate",
            step.name
        )));
    }
    let host = open_named(config)?;
    let data = DataConfig {
        path: Some(args.path.display().to_string()),
        format: args.format,
        dataset: args.dataset.clone(),
        subset: args.subset.clone(),
        split: args.split.clone(),
        ..DataConfig::default()
    };
    let request = Request {
        data: &data,
        pipeline: &pipeline,
        out: &args.out,
        threads: args.threads,
        forget: args.forget,
    };
    let stop = Arc::new(AtomicBool::new(false));
    shutdown::on_signals({
        let stop = Arc::clone(&stop);
        move || stop.store(true, Ordering::Relaxed)
    })?;
    if args.until_stdin_closes {
        let stop = Arc::clone(&stop);
        shutdown::on_stdin_closed(move || stop.store(true, Ordering::Relaxed))?;
    }
    let mut said = Instant::now();
    let outcome = curate(config, &host, &request, &stop, |progress| {
        if args.json {
            eprintln!("{}", as_json(progress));
        } else if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            eprintln!("{}", as_text(progress));
        }
    });
    match outcome.map_err(wrong)? {
        Outcome::Finished(report) if args.json => {
            println!("{}", serde_json::to_string(&report).context("the report")?);
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Finished(report) => {
            print(&report, &args.out);
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Stopped { rows } => {
            eprintln!("stopped after {rows} rows; the same command goes on from there");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Faults of what the user gave are usage errors, a failing disk is not.
fn wrong(error: Error) -> anyhow::Error {
    match error {
        Error::Plugin(error) => refused(error),
        Error::Curation(error @ curation::Error::Io { .. }) => error.into(),
        error => usage_error(error.to_string()),
    }
}

fn as_json(progress: &Progress) -> Value {
    json!({
        "event": "progress",
        "rows": progress.rows,
        "kept": progress.kept,
        "bytes": progress.bytes,
        "remembered": progress.remembered,
        "seconds": progress.elapsed.as_secs_f64(),
        "seconds_left": progress.left.map(|left| left.as_secs_f64()),
    })
}

fn as_text(progress: &Progress) -> String {
    let left = progress
        .left
        .map_or_else(String::new, |left| format!(", {} s left", left.as_secs()));
    let seconds = progress.elapsed.as_secs();
    format!(
        "{} rows, {} kept, {seconds} s{left}",
        progress.rows, progress.kept
    )
}

fn print(report: &Report, out: &Path) {
    println!(
        "{}: {} of {} rows kept, {} of them rewritten; {} dropped ({} exact and {} near duplicates)",
        out.display(),
        report.kept,
        report.rows,
        report.rewritten,
        report.dropped,
        report.exact_duplicates,
        report.near_duplicates
    );
    if report.held_out > 0 {
        println!("  {} rows held out, in held-out.jsonl", report.held_out);
    }
    if let Some(misfits) = &report.misfits {
        println!("  {misfits}");
    }
    for step in &report.steps {
        println!(
            "  {} {}: {} kept, {} dropped, {} rewritten, {} failed",
            step.plugin, step.version, step.kept, step.dropped, step.rewritten, step.failed
        );
        for (code, reason) in &step.reasons {
            println!("    {code}: {}", reason.rows);
            reason.examples.iter().for_each(print_example);
        }
    }
    if !report.duplicate_examples.is_empty() {
        println!("  duplicates");
        report.duplicate_examples.iter().for_each(print_example);
    }
    for (what, both) in [("characters", &report.characters), ("lines", &report.lines)] {
        println!("  {what} of a row, before and after");
        print_histograms(&both.before, &both.after);
    }
}

fn print_example(example: &Example) {
    let text = example.excerpt.split_whitespace();
    let text: String = text.collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(EXCERPT).collect();
    println!(
        "      row {} ({}): {}",
        example.row, example.origin, example.message
    );
    println!("        {text}");
}

/// A bin of `after` is a bin of `before` too, unless a rewriting made a row shorter or longer than any was.
fn print_histograms(before: &Histogram, after: &Histogram) {
    let rows = |histogram: &Histogram, bound: f64| {
        let bin = histogram.bins.iter().find(|bin| bin.up_to == bound);
        bin.map_or(0, |bin| bin.rows)
    };
    let all = before.bins.iter().chain(&after.bins);
    let mut bounds: Vec<f64> = all.map(|Bin { up_to, .. }| *up_to).collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let counts = bounds
        .iter()
        .map(|bound| rows(before, *bound).max(rows(after, *bound)));
    let most = counts.max().unwrap_or(1).max(1);
    for bound in bounds {
        let (before, after) = (rows(before, bound), rows(after, bound));
        let width = |rows: u64| (rows * 40).div_ceil(most) as usize;
        let gone = width(before).saturating_sub(width(after));
        let bars = format!("{}{}", "█".repeat(width(after)), "░".repeat(gone));
        println!("    ≤ {bound:<8} {before:>9} {after:>9} {bars}");
    }
}

/// Prints a row's line of provenance, with the plugins' whole digests and settings.
///
/// # Errors
/// A folder that holds no curated dataset, or no such row.
pub(crate) fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let way = find(args)?;
    if args.json {
        println!("{}", serde_json::to_string(&way)?);
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!("row {}, {}", way["row"], text(&way["origin"]));
    let by = way["by"]
        .as_str()
        .map_or_else(String::new, |by| format!(" by {by}"));
    println!("  {}{by}", text(&way["decision"]));
    if let Some(why) = way["misfit"].as_str() {
        println!("  misfit: {why}");
    }
    if let Some(reason) = way.get("reason") {
        println!("  {}: {}", text(&reason["code"]), text(&reason["message"]));
    }
    if let Some(first) = way.get("duplicate_of") {
        let alike = way["similarity"].as_f64();
        let alike = alike.map_or_else(String::new, |alike| {
            format!(", estimated likeness {alike:.3}")
        });
        println!("  duplicate of row {first}{alike}");
    }
    println!("  input   {}", text(&way["input"]));
    if let Some(output) = way["output"].as_str() {
        println!(
            "  output  {output}, row {} of {}",
            way["output_row"],
            if is_held_out(&way) {
                "held-out.jsonl"
            } else {
                "data.jsonl"
            }
        );
    }
    for step in way["steps"].as_array().into_iter().flatten() {
        let name = text(&step["plugin"]);
        println!(
            "  {name} {}: {}, {} fuel",
            text(&step["version"]),
            text(&step["decision"]),
            step["fuel"]
        );
        println!("    plugin  {}", text(&step["digest"]));
        println!(
            "    config  {} {}",
            text(&step["config_digest"]),
            step["config"]
        );
        for reason in step["reasons"].as_array().into_iter().flatten() {
            println!(
                "    {}: {}",
                text(&reason["code"]),
                text(&reason["message"])
            );
        }
        if let Some(error) = step["error"].as_str() {
            println!("    {error}");
        }
        for (score, value) in step["scores"].as_object().into_iter().flatten() {
            println!("    {score} = {value}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find(args: &ExplainArgs) -> anyhow::Result<Value> {
    let path = args.folder.join("curation.json");
    let about = std::fs::read(&path).map_err(|error| {
        usage_error(format!(
            "{}: {error}; name a folder that `codetune dataset curate` has finished",
            path.display()
        ))
    })?;
    let about: Value =
        serde_json::from_slice(&about).with_context(|| path.display().to_string())?;
    let path = args.folder.join("provenance.jsonl");
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    let (key, wanted) = match args.row {
        Some(row) => ("row", row),
        None => ("output_row", args.output_row.unwrap_or_default()),
    };
    for line in BufReader::new(file).lines() {
        let line = line.with_context(|| path.display().to_string())?;
        let mut way: Value =
            serde_json::from_str(&line).with_context(|| path.display().to_string())?;
        let is_in_file = args.row.is_some() || !is_held_out(&way);
        if is_in_file && way[key].as_u64() == Some(wanted) {
            complete(&mut way, &about);
            return Ok(way);
        }
    }
    let option = key.replace('_', "-");
    Err(usage_error(format!(
        "--{option} {wanted}: there is no such row; {} has {} rows",
        args.folder.display(),
        about["rows"]
    )))
}

/// Whether a row lies in `held-out.jsonl`.
fn is_held_out(way: &Value) -> bool {
    way["held_out"].as_bool().unwrap_or(false)
}

/// The steps of a row are the first of the pipeline, in its order; those that pass by a row that is held out are among them.
fn complete(way: &mut Value, about: &Value) {
    let plugins = about["plugins"].as_array().into_iter().flatten();
    let steps = way["steps"].as_array_mut().into_iter().flatten();
    for (step, plugin) in steps.zip(plugins) {
        for key in ["version", "digest", "config", "config_digest"] {
            step[key] = plugin[key].clone();
        }
    }
}
