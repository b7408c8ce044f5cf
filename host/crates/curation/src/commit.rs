//! What needs the whole set, row by row in their order: exact duplicates before the plugins; after them near duplicates,
//! the counts and the files. The two share nothing, so that one wave can be judged while the one before is written.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use domain::{Decision, Judged, Reason, Signature, Verdict};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::chunk::{Row, Running};
use crate::folder::{Folder, Kind, State};
use crate::near::{Index, Match};
use crate::pipeline::Pipeline;
use crate::report::Passed;
use crate::{Error, Result, hex, sample};

/// Names of signatures; each has an index of its own.
const MOST_INDEXES: usize = 64;

/// From a row's texts to the first row that had them.
pub(crate) struct Texts(HashMap<[u8; 16], u64>);

impl Texts {
    /// Those that the folder holds.
    pub(crate) fn read(folder: &Folder) -> Result<Self> {
        let bytes = folder.read(Kind::Texts)?;
        let entries = bytes.as_chunks::<24>().0.iter().filter_map(|entry| {
            let (digest, row) = (entry.first_chunk()?, entry.last_chunk()?);
            Some((*digest, u64::from_le_bytes(*row)))
        });
        let mut texts = HashMap::new();
        for (digest, row) in entries {
            texts.entry(digest).or_insert(row);
        }
        Ok(Self(texts))
    }

    /// Marks exact duplicates.
    pub(crate) fn mark(&mut self, rows: &mut [Row]) {
        for row in rows.iter_mut().filter(|row| row.has_text) {
            match self.0.entry(row.texts_digest) {
                Entry::Occupied(_) if row.is_apart => {}
                Entry::Occupied(first) => row.duplicate_of = Some(*first.get()),
                Entry::Vacant(place) => {
                    place.insert(row.number);
                }
            }
        }
    }
}

/// What is known of all rows that are written.
pub(crate) struct Commit<'a> {
    pipeline: &'a Pipeline,
    pub(crate) folder: Folder,
    pub(crate) state: State,
    /// By the names of signatures.
    indexes: BTreeMap<String, Index>,
}

impl<'a> Commit<'a> {
    /// Goes on from what the folder holds.
    pub(crate) fn new(pipeline: &'a Pipeline, folder: Folder, state: State) -> Result<Self> {
        let mut commit = Self {
            pipeline,
            indexes: BTreeMap::new(),
            state,
            folder,
        };
        let bytes = commit.folder.read(Kind::Signatures)?;
        let mut rest = &bytes[..];
        while let Some((row, signature, after)) = take_signature(rest) {
            commit.index(&signature)?.join(row, &signature.values);
            rest = after;
        }
        Ok(commit)
    }

    /// After the plugins: drops near duplicates, counts and writes.
    pub(crate) fn settle(&mut self, rows: Vec<Row>, steps: &[Running<'_>]) -> Result<()> {
        for row in rows {
            self.count(&row)?;
            let near = self.near(&row)?;
            self.settle_one(row, near, steps)?;
        }
        Ok(())
    }

    /// Counts a row as it came.
    fn count(&mut self, row: &Row) -> Result<()> {
        self.state.report.read(row.size);
        if let Some(why) = &row.misfit {
            self.state
                .report
                .misfit(row.number, &row.origin, why, row.has_text || row.is_apart);
        }
        self.state.chain = chain(&self.state.chain, &row.digest, row.is_apart);
        if self.pipeline.exact_duplicates && row.has_text && row.duplicate_of.is_none() {
            let entry = [&row.texts_digest[..], &row.number.to_le_bytes()].concat();
            self.folder.append(Kind::Texts, &entry)?;
        }
        Ok(())
    }

    fn near(&mut self, row: &Row) -> Result<Option<Match>> {
        if row.duplicate_of.is_some() || row.dropped_by.is_some() {
            return Ok(None);
        }
        let signatures = row.judged.iter().flatten().rev().filter_map(signature);
        let Some(signature) = signatures.into_iter().next() else {
            return Ok(None);
        };
        let index = self.index(signature)?;
        if !index.fits(&signature.values) {
            return Err(Error::Invalid(format!(
                "{}: its signature {} has another length than those before",
                row.origin, signature.name
            )));
        }
        let found = match row.is_apart {
            false => index.find_or_insert(row.number, &signature.values),
            // What is like it goes, whatever else that is like.
            true => {
                index.join(row.number, &signature.values);
                None
            }
        };
        if found.is_none() {
            let entry = put_signature(row.number, signature);
            self.folder.append(Kind::Signatures, &entry)?;
        }
        Ok(found)
    }

    fn index(&mut self, signature: &Signature) -> Result<&mut Index> {
        if !self.indexes.contains_key(&signature.name) {
            if self.indexes.len() >= MOST_INDEXES {
                return Err(Error::Invalid(format!(
                    "a plugin calls its signatures by more than {MOST_INDEXES} names, and only those of one name are compared"
                )));
            }
            let index = Index::new(self.pipeline.near_duplicates, signature.values.len());
            let index = index.map_err(Error::Invalid)?;
            self.indexes.insert(signature.name.clone(), index);
        }
        self.indexes
            .get_mut(&signature.name)
            .ok_or_else(|| Error::Invalid("an index is gone".to_owned()))
    }

    fn settle_one(&mut self, row: Row, near: Option<Match>, steps: &[Running<'_>]) -> Result<()> {
        let report = &mut self.state.report;
        let mut line = Line {
            row: row.number,
            origin: &row.origin,
            input: hex(&row.digest),
            misfit: row.misfit.as_deref(),
            decision: "keep",
            by: None,
            reason: None,
            duplicate_of: None,
            similarity: None,
            output: None,
            output_row: None,
            held_out: row.is_held_out,
            steps: row.judged.iter().zip(steps).map(step_line).collect(),
        };
        if !row.has_text && !row.is_apart {
            line.by = Some("no-text");
        } else if let Some(first) = row.duplicate_of {
            report.exact_duplicates += 1;
            report.duplicate(
                row.number,
                &row.origin,
                &format!("the texts of row {first}"),
                &row.sample,
            );
            line.duplicate_of = Some(first);
            line.by = Some("exact-duplicates");
        } else if let Some(step) = row.dropped_by {
            line.by = steps.get(step).map(|step| step.curator.name());
            line.reason = row
                .judged
                .iter()
                .flatten()
                .next_back()
                .and_then(drop_reason);
        } else if let Some(found) = near {
            let Match {
                row: first,
                similarity,
            } = found;
            report.near_duplicates += 1;
            let message = format!("like row {first}: {similarity:.3}");
            report.duplicate(row.number, &row.origin, &message, &row.sample);
            line.duplicate_of = Some(first);
            line.similarity = Some(similarity);
            line.by = Some("near-duplicates");
        }
        let is_kept = line.by.is_none();
        let is_rewritten = row.is_rewritten && !row.is_apart;
        if is_kept {
            line.decision = if is_rewritten { "rewrite" } else { "keep" };
            line.output = Some(match is_rewritten {
                true => hex(&sample::digest(&row.sample)),
                false => line.input.clone(),
            });
            let before = match row.is_held_out {
                true => report.held_out,
                false => report.kept,
            };
            line.output_row = Some(before + 1);
        } else {
            line.decision = "drop";
        }
        report.passed(&Passed {
            row: row.number,
            origin: &row.origin,
            // What is said of a row that stays whatever is said is no step's doing.
            judged: if row.is_apart { &[] } else { &row.judged },
            sample: &row.sample,
            is_kept,
            is_rewritten,
            is_held_out: row.is_held_out,
        });
        let mut bytes = to_json(&line)?;
        self.folder.append(Kind::Provenance, &bytes)?;
        if is_kept {
            bytes = match is_rewritten {
                true => to_json(&sample::write(row.fields, &row.sample, &row.places))?,
                false => to_json(&row.fields)?,
            };
            let kind = match row.is_held_out {
                true => Kind::HeldOut,
                false => Kind::Data,
            };
            self.folder.append(kind, &bytes)?;
        }
        Ok(())
    }
}

/// One row's way, as `provenance.jsonl` has it; rows are numbered from 1.
#[derive(Serialize)]
struct Line<'a> {
    row: u64,
    origin: &'a str,
    input: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    misfit: Option<&'a str>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_row: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    held_out: bool,
    steps: Vec<StepLine<'a>>,
}

#[derive(Serialize)]
struct StepLine<'a> {
    plugin: &'a str,
    /// The first digits; `curation.json` has them all.
    digest: &'a str,
    fuel: u64,
    decision: &'static str,
    #[serde(skip_serializing_if = "<[Reason]>::is_empty")]
    reasons: &'a [Reason],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    scores: BTreeMap<&'a str, f64>,
}

fn step_line<'a>((judged, step): (&'a Option<Judged<Verdict>>, &'a Running<'_>)) -> StepLine<'a> {
    let digest = step.curator.digest();
    let mut line = StepLine {
        plugin: step.curator.name(),
        digest: digest.get(..16).unwrap_or(digest),
        fuel: judged.as_ref().map_or(0, |judged| judged.fuel),
        decision: "keep",
        reasons: &[],
        error: None,
        scores: BTreeMap::new(),
    };
    match judged.as_ref().map(|judged| &judged.result) {
        // It was not asked: it is for rows to train on.
        None => line.decision = "passed by",
        Some(Err(message)) => (line.decision, line.error) = ("none", Some(message.as_str())),
        Some(Ok(verdict)) => {
            let scores = verdict.scores.iter();
            line.scores = scores
                .map(|score| (score.name.as_str(), score.value))
                .collect();
            (line.decision, line.reasons) = match &verdict.decision {
                Decision::Keep => ("keep", &[][..]),
                Decision::Drop { reason } => ("drop", std::slice::from_ref(reason)),
                Decision::Rewrite { reasons, .. } => ("rewrite", &reasons[..]),
            };
        }
    }
    line
}

fn drop_reason(judged: &Judged<Verdict>) -> Option<Reason> {
    match &judged.result {
        Err(message) => Some(Reason {
            code: "failed".to_owned(),
            message: message.clone(),
        }),
        Ok(verdict) => match &verdict.decision {
            Decision::Drop { reason } => Some(reason.clone()),
            _ => None,
        },
    }
}

fn signature(judged: &Judged<Verdict>) -> Option<&Signature> {
    judged.result.as_ref().ok()?.signature.as_ref()
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec(value).map_err(|error| Error::Invalid(format!("a row: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A digest over all rows so far, and which of them are evaluated on as they are.
pub(crate) fn chain(before: &str, row: &[u8; 32], is_apart: bool) -> String {
    let apart: &[u8] = if is_apart { b"apart" } else { b"" };
    let hasher = Sha256::new()
        .chain_update(before)
        .chain_update(row)
        .chain_update(apart);
    hex(&hasher.finalize())
}

fn put_signature(row: u64, signature: &Signature) -> Vec<u8> {
    let lengths = [signature.name.len() as u32, signature.values.len() as u32];
    let mut entry = row.to_le_bytes().to_vec();
    entry.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
    entry.extend_from_slice(signature.name.as_bytes());
    entry.extend(
        signature
            .values
            .iter()
            .flat_map(|value| value.to_le_bytes()),
    );
    entry
}

fn take_signature(bytes: &[u8]) -> Option<(u64, Signature, &[u8])> {
    let (row, bytes) = bytes.split_first_chunk::<8>()?;
    let (name, bytes) = bytes.split_first_chunk::<4>()?;
    let (values, bytes) = bytes.split_first_chunk::<4>()?;
    let (name, bytes) = bytes.split_at_checked(u32::from_le_bytes(*name) as usize)?;
    let (values, bytes) = bytes.split_at_checked(4 * u32::from_le_bytes(*values) as usize)?;
    let values = values.as_chunks::<4>().0.iter();
    let signature = Signature {
        name: String::from_utf8(name.to_vec()).ok()?,
        values: values.map(|value| u32::from_le_bytes(*value)).collect(),
    };
    Some((u64::from_le_bytes(*row), signature, bytes))
}
