//! What an output folder holds before anything is curated into it, for callers that use one again.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use domain::{CurationStep, CurationSummary};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::commit::chain;
use crate::folder::{State, digest};
use crate::report::Report;
use crate::run::{about, fingerprint};
use crate::{Curator, Error, InputRow, Pipeline, Result, hex, sample};

/// What an output folder holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Nothing, or the half of this curation: [`crate::curate`] may write there.
    Open,
    /// All of this curation.
    Done,
    /// Another curation, or the half of one; or its data was changed since.
    Other,
}

/// Compares what `out` holds with a curation of `rows`, which are read for it, and judged by nobody.
///
/// # Errors
/// A row or a file that cannot be read.
pub fn standing(
    out: &Path,
    pipeline: &Pipeline,
    curators: &[&dyn Curator],
    rows: impl Iterator<Item = std::result::Result<InputRow, String>>,
    input: &str,
) -> Result<Standing> {
    let about = about(pipeline, curators, input);
    if let Some(found) = read::<Value>(&out.join("curation.json"))? {
        let is_same = ["pipeline", "plugins"]
            .iter()
            .all(|key| found[key] == about[key])
            && found["output_sha256"].as_str() == Some(&digest(&out.join("data.jsonl"))?)
            && (found["held_out_sha256"].is_null()
                || found["held_out_sha256"].as_str()
                    == Some(&digest(&out.join("held-out.jsonl"))?))
            && found["input_sha256"].as_str() == Some(&chain_of(pipeline, rows, u64::MAX)?);
        return Ok(if is_same {
            Standing::Done
        } else {
            Standing::Other
        });
    }
    let Some(state) = read::<State>(&out.join(".curation/state.json"))? else {
        return Ok(Standing::Open);
    };
    let is_same = state.fingerprint == fingerprint(&about)
        && state.chain == chain_of(pipeline, rows, state.report.rows)?;
    Ok(if is_same {
        Standing::Open
    } else {
        Standing::Other
    })
}

/// A digest over the first rows.
fn chain_of(
    pipeline: &Pipeline,
    rows: impl Iterator<Item = std::result::Result<InputRow, String>>,
    most: u64,
) -> Result<String> {
    let mut seen = String::new();
    for (row, _) in rows.zip(0..most) {
        let row = row.map_err(Error::Invalid)?;
        let read = sample::read(&row.fields, &pipeline.columns);
        let digest = sample::digest_of(read.as_ref());
        seen = chain(&seen, &digest, row.is_apart);
    }
    Ok(seen)
}

/// What a finished curation came to.
///
/// # Errors
/// A folder without one, or a file that cannot be read.
pub fn summary(out: &Path) -> Result<CurationSummary> {
    let missing = |name: &str| {
        Error::Invalid(format!(
            "{} is not there: the folder holds no finished curation",
            out.join(name).display()
        ))
    };
    let about: Value = read(&out.join("curation.json"))?.ok_or_else(|| missing("curation.json"))?;
    let report: Report = read(&out.join("report.json"))?.ok_or_else(|| missing("report.json"))?;
    let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
    let config = |index: usize| about["plugins"][index]["config"].as_object().cloned();
    let steps = report.steps.iter().enumerate();
    Ok(CurationSummary {
        pipeline: text("pipeline_sha256"),
        input_sha256: text("input_sha256"),
        rows: report.rows,
        kept: report.kept,
        held_out: report.held_out,
        rewritten: report.rewritten,
        dropped: report.dropped,
        exact_duplicates: report.exact_duplicates,
        near_duplicates: report.near_duplicates,
        steps: steps
            .map(|(index, step)| CurationStep {
                plugin: step.plugin.clone(),
                version: step.version.clone(),
                digest: step.digest.clone(),
                config: config(index).unwrap_or_default().into_iter().collect(),
                kept: step.kept,
                dropped: step.dropped,
                rewritten: step.rewritten,
                failed: step.failed,
            })
            .collect(),
    })
}

/// What several finished curations, by the same plugins, came to together; `None` of none.
pub fn together(summaries: Vec<CurationSummary>) -> Option<CurationSummary> {
    let mut all = summaries.into_iter();
    let mut sum = all.next()?;
    for other in all {
        let digest = |one: &str, other: &str| hex(&Sha256::digest(format!("{one}{other}")));
        sum.pipeline = digest(&sum.pipeline, &other.pipeline);
        sum.input_sha256 = digest(&sum.input_sha256, &other.input_sha256);
        sum.rows += other.rows;
        sum.kept += other.kept;
        sum.held_out += other.held_out;
        sum.rewritten += other.rewritten;
        sum.dropped += other.dropped;
        sum.exact_duplicates += other.exact_duplicates;
        sum.near_duplicates += other.near_duplicates;
        for (step, other) in sum.steps.iter_mut().zip(other.steps) {
            step.kept += other.kept;
            step.dropped += other.dropped;
            step.rewritten += other.rewritten;
            step.failed += other.failed;
        }
    }
    Some(sum)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Invalid(format!("{}: {error}; remove it", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}
