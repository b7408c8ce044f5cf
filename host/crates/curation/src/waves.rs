//! The input in waves: read, and judged by the threads of a pool, while the wave before is written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use rayon::prelude::*;
use serde_json::Value;

use crate::chunk::{Row, Running, judge};
use crate::commit::{Texts, chain};
use crate::{Error, InputRow, Pipeline, Result, sample};

/// Rows, or bytes of text, between two states: what a stop or a crash costs at most.
const WAVE_ROWS: usize = 8192;
const WAVE_BYTES: usize = 32 << 20;
/// Rows, or bytes of text, that one instance of a plugin judges.
const CHUNK_ROWS: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

/// Rows as they were read, or why they could not be.
pub(crate) type Wave = std::result::Result<Vec<InputRow>, String>;

/// Cuts the input into waves, by rows and bytes alone.
pub(crate) fn read(
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
        size += row.fields.values().map(bytes).sum::<usize>();
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

/// What a value takes, roughly: the texts of conversations and of repositories stand in lists.
fn bytes(value: &Value) -> usize {
    const EACH: usize = 64;
    EACH + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(fields) => fields.values().map(bytes).sum(),
        _ => 0,
    }
}

/// A wave that has its verdicts.
pub(crate) struct Judged {
    /// None where the output folder has them already.
    pub(crate) rows: Vec<Row>,
    /// Of their texts.
    pub(crate) bytes: u64,
    /// Verdicts that no plugin had to give again.
    pub(crate) remembered: u64,
}

/// What rows are judged with.
pub(crate) struct Judging<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) steps: &'a [Running<'a>],
    /// Rows that the output folder has already, and the digest over them.
    pub(crate) done: u64,
    pub(crate) expected: String,
    pub(crate) pool: rayon::ThreadPool,
    pub(crate) stop: &'a AtomicBool,
}

impl Judging<'_> {
    /// Judges wave by wave; false when it was stopped before the end.
    pub(crate) fn run(
        &self,
        waves: Receiver<Wave>,
        mut texts: Option<Texts>,
        judged: SyncSender<Judged>,
    ) -> Result<bool> {
        let mut number = 0;
        let mut seen = String::new();
        for wave in waves {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let wave = wave.map_err(Error::Invalid)?;
            let first = number;
            number += wave.len() as u64;
            let mut rows = self.pool.install(|| prepare(self.pipeline, wave, first));
            if first == 0 {
                refuse_misfits(&rows)?;
            }
            let bytes = rows.iter().map(|row| text_bytes(row) as u64).sum();
            let mut remembered = 0;
            if number <= self.done {
                seen = rows
                    .iter()
                    .fold(seen, |seen, row| chain(&seen, &row.digest, row.is_apart));
                if number == self.done && seen != self.expected {
                    return Err(Error::Invalid(format!(
                        "the input has changed since the stop after {} rows: name another folder",
                        self.done
                    )));
                }
                rows.clear();
            } else if first < self.done {
                return Err(Error::Invalid(
                    "the input has changed since the stop: name another folder".to_owned(),
                ));
            } else {
                if let Some(texts) = &mut texts {
                    texts.mark(&mut rows);
                }
                let Some(hits) = self.judge(&mut rows) else {
                    return Ok(false);
                };
                remembered = hits;
            }
            let wave = Judged {
                rows,
                bytes,
                remembered,
            };
            // Nobody waits for it any more: writing has failed, and says why itself.
            if judged.send(wave).is_err() {
                return Ok(false);
            }
        }
        if number < self.done {
            return Err(Error::Invalid(
                "the input has fewer rows than before the stop: name another folder".to_owned(),
            ));
        }
        Ok(true)
    }

    /// How many verdicts were remembered; none when it was stopped.
    fn judge(&self, rows: &mut [Row]) -> Option<u64> {
        let hits = self.pool.install(|| {
            chunks(rows)
                .into_par_iter()
                .map(|chunk| {
                    // An unfinished wave is judged again; what was judged is remembered.
                    (!self.stop.load(Ordering::Relaxed)).then(|| judge(chunk, self.steps))
                })
                .sum()
        });
        for memo in self.steps.iter().filter_map(|step| step.memo.as_ref()) {
            memo.flush();
        }
        hits
    }
}

/// The first wave tells whether the format was meant: all of a small dataset, and of a large one before hours are spent on it.
fn refuse_misfits(wave: &[Row]) -> Result<()> {
    let all: Option<Vec<&str>> = wave.iter().map(|row| row.misfit.as_deref()).collect();
    match all.as_deref() {
        Some([why, ..]) => Err(Error::Invalid(format!(
            "{} {why}; none of the first {} rows fits: set the format that they have, or `auto`, or say in the pipeline what \
             their columns are called: columns.text = \"…\"",
            wave[0].origin,
            wave.len()
        ))),
        _ => Ok(()),
    }
}

fn prepare(pipeline: &Pipeline, wave: Vec<InputRow>, first: u64) -> Vec<Row> {
    let row = |(index, row): (usize, InputRow)| {
        let index = first + index as u64;
        let read = sample::read(&row.fields, &pipeline.columns);
        let digest = sample::digest_of(read.as_ref());
        let texts_digest = read.as_ref().map_or([0; 16], |read| {
            sample::texts_digest(&read.sample, &row.fields, &pipeline.columns)
        });
        let has_text = read.is_some();
        let misfit = row.misfit.or_else(|| {
            let columns: Vec<&str> = row.fields.keys().map(String::as_str).take(20).collect();
            (!has_text).then(|| format!("holds no text in its columns ({})", columns.join(", ")))
        });
        let read = read.unwrap_or_default();
        Row {
            number: index + 1,
            fields: row.fields,
            origin: row.origin,
            misfit,
            has_text,
            digest,
            texts_digest,
            size: sample::size(&read.sample),
            sample: read.sample,
            places: read.places,
            duplicate_of: None,
            judged: Vec::new(),
            is_held_out: row.is_apart
                || pipeline
                    .hold_out
                    .is_some_and(|hold_out| hold_out.takes(index)),
            is_apart: row.is_apart,
            dropped_by: None,
            is_rewritten: false,
        }
    };
    wave.into_par_iter().enumerate().map(row).collect()
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
