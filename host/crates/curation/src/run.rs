//! The way of a dataset through a pipeline.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::chunk::Running;
use crate::commit::{Commit, Texts};
use crate::folder::Folder;
use crate::memo::Memo;
use crate::report::{Report, StepReport};
use crate::waves::{Judging, read};
use crate::{Curator, Error, InputRow, Pipeline, Result, hex};

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The output folder; where a run was stopped in it, it goes on.
    pub out: &'a Path,
    /// Where verdicts are remembered; none remembers nothing.
    pub memory: Option<&'a Path>,
    /// Threads; 0 for one a core.
    pub threads: usize,
    /// What the input is called in `curation.json`; a run goes on only with the same.
    pub input: &'a str,
    /// Bytes of text in all, where they are known: for the time that is left.
    pub total_bytes: Option<u64>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Rows behind us.
    pub rows: u64,
    /// Of these, rows in the output.
    pub kept: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Verdicts that no plugin had to give again.
    pub remembered: u64,
    /// Since the start of this process's part.
    pub elapsed: Duration,
    /// Until the end, where the whole is known.
    pub left: Option<Duration>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Everything is in the output folder.
    Finished(Report),
    /// Somebody asked to stop; the same call goes on from there.
    Stopped {
        /// Rows that are done.
        rows: u64,
    },
}

/// Sends rows through a pipeline; `curators` are its steps in their order.
///
/// The output folder gets `data.jsonl` (kept rows, in the order of the input), `held-out.jsonl` where rows are held out,
/// `provenance.jsonl` (one line a row: what each plugin said and what it took), `report.json` and `curation.json` (what to
/// rebuild it with). They are the same, bit for bit, for any number of threads.
///
/// # Errors
/// Rows of which none fits, a folder that belongs to another run, an input that changed since a stop, files.
pub fn curate(
    pipeline: &Pipeline,
    curators: &[&dyn Curator],
    rows: impl Iterator<Item = std::result::Result<InputRow, String>> + Send,
    options: &Options<'_>,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(&Progress),
) -> Result<Outcome> {
    if curators.len() != pipeline.steps.len() {
        return Err(Error::Invalid("one curator a step".to_owned()));
    }
    let about = about(pipeline, curators, options.input);
    let (folder, mut state) = Folder::open(options.out, &fingerprint(&about))?;
    let done = state.report.rows;
    if done == 0 {
        state.report.steps = curators
            .iter()
            .map(|curator| step_report(*curator))
            .collect();
    }
    let steps: Vec<Running<'_>> = pipeline
        .steps
        .iter()
        .zip(curators)
        .map(|(step, curator)| Running {
            curator: *curator,
            on_error: step.on_error,
            only: step.only,
            memo: options.memory.and_then(|folder| {
                let key = format!("{}{}", curator.digest(), config_digest(*curator));
                Memo::open(folder, &hex(&Sha256::digest(key)))
            }),
        })
        .collect();
    let judging = Judging {
        pipeline,
        steps: &steps,
        done,
        expected: state.chain.clone(),
        pool: rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|index| format!("curation-{index}"))
            .build()
            .map_err(|error| Error::Invalid(format!("no threads: {error}")))?,
        stop,
    };
    let texts = match pipeline.exact_duplicates {
        true => Some(Texts::read(&folder)?),
        false => None,
    };
    let mut commit = Commit::new(pipeline, folder, state)?;
    let started = Instant::now();
    let (mut bytes, mut remembered, mut fresh_bytes) = (0, 0, 0);
    // One thread reads, one judges with those of the pool, and this one writes.
    let is_at_end = std::thread::scope(|scope| {
        let (sender, read_waves) = sync_channel(1);
        let (judged_sender, judged_waves) = sync_channel(0);
        scope.spawn(move || read(rows, &sender));
        let judge = scope.spawn(|| judging.run(read_waves, texts, judged_sender));
        for wave in judged_waves {
            bytes += wave.bytes;
            if wave.rows.is_empty() {
                continue;
            }
            fresh_bytes += wave.bytes;
            remembered += wave.remembered;
            commit.settle(wave.rows, &steps)?;
            commit.folder.save(&mut commit.state)?;
            let elapsed = started.elapsed();
            let left = options.total_bytes.map(|total| {
                let rest = total.saturating_sub(bytes) as f64;
                elapsed.mul_f64(rest / (fresh_bytes as f64).max(1.0))
            });
            on_progress(&Progress {
                rows: commit.state.report.rows,
                kept: commit.state.report.kept,
                bytes,
                remembered,
                elapsed,
                left,
            });
            // A wave that waits to be written is left: what was judged is remembered.
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        judge
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    if !is_at_end {
        // Only what the last state says counts.
        let rows = saved_rows(options.out)?;
        return Ok(Outcome::Stopped { rows });
    }
    let report = commit.state.report.clone();
    if report.rows == 0 {
        return Err(Error::Invalid(format!("{} holds no rows", options.input)));
    }
    let mut about = about;
    about["rows"] = report.rows.into();
    about["input_sha256"] = commit.state.chain.clone().into();
    let holds_out = pipeline.hold_out.is_some() || report.held_out > 0;
    commit.folder.finish(&report, about, holds_out)?;
    Ok(Outcome::Finished(report))
}

fn saved_rows(out: &Path) -> Result<u64> {
    let path = out.join(".curation/state.json");
    match std::fs::read(&path) {
        Ok(bytes) => {
            let state: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            Ok(state["report"]["rows"].as_u64().unwrap_or(0))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(&path)(error)),
    }
}

fn config_digest(curator: &dyn Curator) -> String {
    hex(&Sha256::digest(json!(curator.config()).to_string()))
}

fn step_report(curator: &dyn Curator) -> StepReport {
    StepReport {
        plugin: curator.name().to_owned(),
        version: curator.version().to_owned(),
        digest: curator.digest().to_owned(),
        config_digest: config_digest(curator),
        ..StepReport::default()
    }
}

/// What `curation.json` says before there is an output.
pub(crate) fn about(
    pipeline: &Pipeline,
    curators: &[&dyn Curator],
    input: &str,
) -> serde_json::Value {
    let plugins: Vec<serde_json::Value> = curators
        .iter()
        .map(|curator| {
            json!({
                "name": curator.name(),
                "version": curator.version(),
                "digest": curator.digest(),
                "config": curator.config(),
                "config_digest": config_digest(*curator),
            })
        })
        .collect();
    let made_by = json!({ "pipeline": pipeline, "plugins": plugins });
    json!({
        "format": 2,
        "input": input,
        "pipeline": pipeline,
        "pipeline_sha256": hex(&Sha256::digest(made_by.to_string())),
        "plugins": plugins,
    })
}

/// Of pipeline, plugins and the input's name: what is written into a folder is of one.
pub(crate) fn fingerprint(about: &serde_json::Value) -> String {
    hex(&Sha256::digest(about.to_string()))
}
