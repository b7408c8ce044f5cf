//! `codetune bench curate`: how fast a tree of source goes through curators.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use curation::{Outcome, Pipeline};
use domain::{DataConfig, DataFormat, PluginKind, Sample, SamplePart};
use serde_json::json;

use crate::cli::plugin::{open, refused};
use crate::cli::usage_error;
use crate::config::Config;
use crate::curate::{Request, curate};

/// Arguments of `codetune bench curate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune bench curate /usr/lib/python3 --json\n\n\
    First the rule pack alone, on one thread, over the tree cut into samples; then the tree's files through the pipeline\n\
    curator-rules, secrets, near-duplicates, on all threads, with exact duplicates, provenance and everything else that\n\
    `dataset curate` does. No verdict is remembered."
)]
pub(crate) struct BenchCurateArgs {
    /// A folder of source code, or a file of rows
    path: PathBuf,
    /// Another pipeline than the default one
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// Bytes of a sample for the rule pack alone
    #[arg(long, default_value_t = 2048)]
    sample_bytes: usize,
    /// Threads of the pipeline; 0 for one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Write the rows that are curated to this file too, for another program to do the same
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

const PIPELINE: &str = "[[plugins]]\nname = \"curator-rules\"\n[[plugins]]\nname = \"secrets\"\n\
                        [[plugins]]\nname = \"near-duplicates\"\n";
/// The rule pack.
const RULES: &str = "curator-rules";
/// Samples for the rule pack alone.
const MOST_SAMPLES: usize = 50_000;
/// Samples that one call of a job judges, as in a curation.
const CHUNK: usize = 256;

/// Measures and prints.
///
/// # Errors
/// A folder without source code, a pipeline or plugin that cannot be used.
pub(crate) fn run(args: &BenchCurateArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let text = match &args.pipeline {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| usage_error(format!("{}: {error}", path.display())))?,
        None => PIPELINE.to_owned(),
    };
    let pipeline = Pipeline::parse(&text).map_err(|error| usage_error(error.to_string()))?;
    let data = DataConfig {
        path: Some(args.path.display().to_string()),
        format: match args.path.is_dir() {
            true => DataFormat::SourceTree,
            false => DataFormat::Auto,
        },
        ..DataConfig::default()
    };
    let (host, _) = open(config)?;
    let (samples, bytes) = cut(args, &data)?;
    let job = host
        .job(RULES, PluginKind::Curator, &BTreeMap::new())
        .map_err(refused)?;
    // The first call finds the compiled code cold.
    job.curate(&samples[..samples.len().min(CHUNK)]);
    let begun = Instant::now();
    let judged = samples.chunks(CHUNK).map(|chunk| job.curate(chunk));
    let failed = judged
        .flatten()
        .filter(|judged| judged.result.is_err())
        .count();
    let rules_seconds = begun.elapsed().as_secs_f64();
    let rules_bytes: usize = samples
        .iter()
        .map(|sample| sample.parts[0].text.len())
        .sum();
    let count = samples.len();
    drop(samples);

    let folder = tempfile::tempdir().context("no temporary folder")?;
    let request = Request {
        data: &data,
        pipeline: &pipeline,
        out: &folder.path().join("out"),
        threads: args.threads,
        forget: true,
    };
    let begun = Instant::now();
    let outcome = curate(config, &host, &request, &AtomicBool::new(false), |_| {})
        .map_err(|error| usage_error(error.to_string()))?;
    let seconds = begun.elapsed().as_secs_f64();
    let Outcome::Finished(report) = outcome else {
        anyhow::bail!("the curation was stopped");
    };
    let megabytes = bytes as f64 / 1e6;
    let found = json!({
        "rules": {
            "plugin": RULES,
            "samples": count,
            "bytes": rules_bytes,
            "failed": failed,
            "seconds": rules_seconds,
            "samples_per_second": count as f64 / rules_seconds,
        },
        "pipeline": {
            "plugins": pipeline.steps.iter().map(|step| &step.name).collect::<Vec<_>>(),
            "rows": report.rows,
            "kept": report.kept,
            "near_duplicates": report.near_duplicates,
            "bytes": bytes,
            "seconds": seconds,
            "megabytes_per_second": megabytes / seconds,
            "threads": match args.threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                threads => threads,
            },
        },
        "peak_rss_bytes": engine::bench::peak_rss_bytes(),
    });
    if args.json {
        println!("{found}");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{RULES}: {:.0} samples of {} bytes a second on one thread",
        count as f64 / rules_seconds,
        rules_bytes / count.max(1),
    );
    println!(
        "pipeline: {megabytes:.1} MB in {seconds:.1} s, {:.1} MB/s; {} of {} rows kept; peak memory {:.2} GB",
        megabytes / seconds,
        report.kept,
        report.rows,
        engine::bench::peak_rss_bytes() as f64 / 1e9,
    );
    Ok(ExitCode::SUCCESS)
}

/// Samples of about the wanted size, cut at line ends, and the bytes of all texts; writes the rows where that is wanted.
fn cut(args: &BenchCurateArgs, data: &DataConfig) -> anyhow::Result<(Vec<Sample>, u64)> {
    let told = |error: engine::Error| usage_error(error.to_string());
    let mut rows_file = args
        .rows
        .as_ref()
        .map(|path| {
            let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
            anyhow::Ok(std::io::BufWriter::new(file))
        })
        .transpose()?;
    let (mut samples, mut bytes) = (Vec::new(), 0);
    for row in engine::data::rows(data).map_err(told)? {
        let (fields, _) = row.map_err(told)?;
        let field = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
        let Some(text) = field("text").or_else(|| field("content")) else {
            continue;
        };
        bytes += text.len() as u64;
        if let Some(file) = &mut rows_file {
            use std::io::Write;
            writeln!(file, "{}", serde_json::to_string(&fields)?)?;
        }
        let mut piece = String::new();
        for line in text.split_inclusive('\n') {
            if samples.len() == MOST_SAMPLES {
                break;
            }
            piece.push_str(line);
            if piece.len() >= args.sample_bytes {
                samples.push(Sample {
                    parts: vec![SamplePart {
                        name: "text".to_owned(),
                        text: std::mem::take(&mut piece),
                        learned: true,
                    }],
                    path: field("path").map(str::to_owned),
                    language: field("language").map(str::to_owned),
                });
            }
        }
    }
    if let Some(mut file) = rows_file {
        std::io::Write::flush(&mut file)?;
    }
    if samples.is_empty() {
        return Err(usage_error(format!(
            "{}: holds no text of {} bytes",
            args.path.display(),
            args.sample_bytes
        )));
    }
    Ok((samples, bytes))
}
