//! The way of a dataset through a pipeline.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::chunk::{Row, Running, judge};
use crate::commit::{Commit, chain};
use crate::folder::Folder;
use crate::memo::Memo;
use crate::report::{Report, StepReport};
use crate::{Curator, Error, InputRow, Pipeline, Result, hex, sample};

/// Rows, or bytes of text, between two states: what a stop or a crash costs at most.
const WAVE_ROWS: usize = 8192;
const WAVE_BYTES: usize = 32 << 20;
/// Rows, or bytes of text, that one instance of a plugin judges.
const CHUNK_ROWS: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

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
/// The output folder gets `data.jsonl` (kept rows, in the order of the input), `held-out.jsonl` where the pipeline holds rows
/// out, `provenance.jsonl` (one line a row: what each plugin said and what it took), `report.json` and `curation.json` (what
/// to rebuild it with). They are the same, bit for bit, for any number of threads.
///
/// # Errors
/// A row without a text, a folder that belongs to another run, an input that changed since a stop, files.
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
    let expected = state.chain.clone();
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
    let mut commit = Commit::new(pipeline, folder, state)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .thread_name(|index| format!("curation-{index}"))
        .build()
        .map_err(|error| Error::Invalid(format!("no threads: {error}")))?;
    let started = Instant::now();
    let (mut bytes, mut remembered, mut fresh_bytes) = (0, 0, 0);
    let mut seen = String::new();
    let (sender, waves) = sync_channel(1);
    let result = std::thread::scope(|scope| {
        scope.spawn(move || read(rows, &sender));
        let waves: Receiver<Wave> = waves;
        let mut number = 0;
        for wave in &waves {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let wave = wave.map_err(Error::Invalid)?;
            let first = number;
            number += wave.len() as u64;
            let mut rows = pool.install(|| prepare(pipeline, wave, first))?;
            let wave_bytes: u64 = rows.iter().map(|row| text_bytes(row) as u64).sum();
            bytes += wave_bytes;
            if number <= done {
                seen = rows
                    .iter()
                    .fold(seen, |seen, row| chain(&seen, &row.digest));
                if number == done && seen != expected {
                    return Err(Error::Invalid(format!(
                        "the input has changed since the stop after {done} rows: name another folder"
                    )));
                }
                continue;
            }
            if first < done {
                return Err(Error::Invalid(
                    "the input has changed since the stop: name another folder".to_owned(),
                ));
            }
            commit.admit(&mut rows)?;
            let hits: Option<u64> = pool.install(|| {
                chunks(&mut rows)
                    .into_par_iter()
                    .map(|chunk| {
                        // An unfinished wave is judged again; what was judged is remembered.
                        (!stop.load(Ordering::Relaxed)).then(|| judge(chunk, &steps))
                    })
                    .sum()
            });
            for memo in steps.iter().filter_map(|step| step.memo.as_ref()) {
                memo.flush();
            }
            let Some(hits) = hits else { return Ok(false) };
            remembered += hits;
            fresh_bytes += wave_bytes;
            commit.settle(rows, &steps)?;
            commit.folder.save(&mut commit.state)?;
            let elapsed = started.elapsed();
            let left = options.total_bytes.map(|total| {
                let rest = total.saturating_sub(bytes) as f64;
                elapsed.mul_f64(rest / (fresh_bytes as f64).max(1.0))
            });
            on_progress(&Progress {
                rows: number,
                kept: commit.state.report.kept,
                bytes,
                remembered,
                elapsed,
                left,
            });
        }
        if number < done {
            return Err(Error::Invalid(
                "the input has fewer rows than before the stop: name another folder".to_owned(),
            ));
        }
        Ok(true)
    });
    if !result? {
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
    let holds_out = pipeline.hold_out.is_some();
    commit.folder.finish(&report, about, holds_out)?;
    Ok(Outcome::Finished(report))
}

type Wave = std::result::Result<Vec<InputRow>, String>;

/// Cuts the input into waves, by rows and bytes alone.
fn read(
    rows: impl Iterator<Item = std::result::Result<InputRow, String>>,
    waves: &SyncSender<Wave>,
) {
    let (mut wave, mut size) = (Vec::new(), 0);
    for row in rows {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                let _ = waves.send(Err(error));
                return;
            }
        };
        size += row
            .fields
            .values()
            .map(|value| value.as_str().map_or(64, str::len))
            .sum::<usize>();
        wave.push(row);
        if wave.len() >= WAVE_ROWS || size >= WAVE_BYTES {
            size = 0;
            // Nobody waits for it any more: the run has ended.
            if waves.send(Ok(std::mem::take(&mut wave))).is_err() {
                return;
            }
        }
    }
    if !wave.is_empty() {
        let _ = waves.send(Ok(wave));
    }
}

fn prepare(pipeline: &Pipeline, wave: Vec<InputRow>, first: u64) -> Result<Vec<Row>> {
    let row = |(index, row): (usize, InputRow)| {
        let Some(read) = sample::read(&row.fields, &pipeline.columns) else {
            let columns: Vec<&str> = row.fields.keys().map(String::as_str).take(20).collect();
            return Err(Error::Invalid(format!(
                "{}: no column with a text that a model learns ({}); name it in the pipeline: columns.text = \"…\"",
                row.origin,
                columns.join(", ")
            )));
        };
        Ok(Row {
            number: first + index as u64,
            fields: row.fields,
            origin: row.origin,
            digest: sample::digest(&read.sample),
            texts_digest: sample::texts_digest(&read.sample),
            size: sample::size(&read.sample),
            sample: read.sample,
            places: read.places,
            duplicate_of: None,
            judged: Vec::new(),
            is_held_out: pipeline
                .hold_out
                .is_some_and(|hold_out| hold_out.takes(first + index as u64)),
            dropped_by: None,
            is_rewritten: false,
        })
    };
    // All results first: which of several errors is named must not hang on the threads.
    let rows: Vec<Result<Row>> = wave.into_par_iter().enumerate().map(row).collect();
    rows.into_iter().collect()
}

fn text_bytes(row: &Row) -> usize {
    row.sample.parts.iter().map(|part| part.text.len()).sum()
}

/// Cuts rows into chunks, by their number and bytes alone.
fn chunks(mut rows: &mut [Row]) -> Vec<&mut [Row]> {
    let mut chunks = Vec::new();
    while !rows.is_empty() {
        let (mut end, mut size) = (0, 0);
        while end < rows.len() && end < CHUNK_ROWS && size < CHUNK_BYTES {
            size += text_bytes(&rows[end]);
            end += 1;
        }
        let (chunk, rest) = std::mem::take(&mut rows).split_at_mut(end);
        chunks.push(chunk);
        rows = rest;
    }
    chunks
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
        "format": 1,
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
