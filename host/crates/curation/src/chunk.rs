//! Some rows in a row go through all steps on one thread; nothing here knows another row.

use domain::{Decision, Judged, Only, Sample, Verdict};
use serde_json::{Map, Value};

use crate::memo::Memo;
use crate::pipeline::OnError;
use crate::{Curator, sample};

/// A row on its way.
pub(crate) struct Row {
    /// From 1, as people count.
    pub(crate) number: u64,
    pub(crate) fields: Map<String, Value>,
    pub(crate) origin: String,
    /// Why it does not fit: it is not of the format that was set, or holds no text.
    pub(crate) misfit: Option<String>,
    /// Without one it goes: no plugin can judge it, and nobody learns from it.
    pub(crate) has_text: bool,
    pub(crate) sample: Sample,
    /// Where the parts stand in the row.
    pub(crate) places: Vec<String>,
    /// Of the sample as it came.
    pub(crate) digest: [u8; 32],
    pub(crate) texts_digest: [u8; 16],
    pub(crate) size: (usize, usize),
    /// An earlier row with the same texts: no plugin sees this one then.
    pub(crate) duplicate_of: Option<u64>,
    /// One verdict for each step so far; none from those that are not for it.
    pub(crate) judged: Vec<Option<Judged<Verdict>>>,
    pub(crate) is_held_out: bool,
    /// Held out as it is: steps see it only so that others are compared with it.
    pub(crate) is_apart: bool,
    /// Which step dropped it.
    pub(crate) dropped_by: Option<usize>,
    pub(crate) is_rewritten: bool,
}

/// One step and what it remembers.
pub(crate) struct Running<'a> {
    pub(crate) curator: &'a dyn Curator,
    pub(crate) on_error: OnError,
    pub(crate) only: Option<Only>,
    pub(crate) memo: Option<Memo>,
}

impl Running<'_> {
    /// Whether an answer is the same whenever the sample comes again. What a limit ended may pass on a quieter machine, or
    /// with another limit; what asks somebody else may be answered the next time.
    fn stands(&self, judged: &Judged<Verdict>) -> bool {
        let Err(message) = &judged.result else {
            return true;
        };
        let code = message.split(':').next().unwrap_or_default();
        self.curator.is_alone()
            && !matches!(code, "deadline" | "fuel" | "memory" | "table" | "output")
    }
}

/// Sends rows through the steps; returns how many verdicts were remembered.
pub(crate) fn judge(rows: &mut [Row], steps: &[Running<'_>]) -> u64 {
    let mut remembered = 0;
    for (index, step) in steps.iter().enumerate() {
        let is_on =
            |row: &&mut Row| row.has_text && row.duplicate_of.is_none() && row.dropped_by.is_none();
        let is_passed_by = |row: &Row| step.only == Some(Only::Train) && row.is_held_out;
        let (passed_by, mut on): (Vec<&mut Row>, Vec<&mut Row>) = rows
            .iter_mut()
            .filter(is_on)
            .partition(|row| is_passed_by(row));
        for row in passed_by {
            row.judged.push(None);
        }
        let digests: Vec<[u8; 32]> = on
            .iter()
            .map(|row| match row.is_rewritten {
                true => sample::digest(&row.sample),
                false => row.digest,
            })
            .collect();
        let mut known: Vec<Option<Judged<Verdict>>> = digests
            .iter()
            .map(|digest| step.memo.as_ref()?.get(digest))
            .collect();
        let asked: Vec<usize> = (0..on.len()).filter(|at| known[*at].is_none()).collect();
        remembered += (on.len() - asked.len()) as u64;
        // Moved there and back: a sample may be large.
        let samples: Vec<Sample> = asked
            .iter()
            .map(|at| std::mem::replace(&mut on[*at].sample, sample::empty()))
            .collect();
        let answers = match samples.is_empty() {
            true => Vec::new(),
            false => step.curator.curate(&samples),
        };
        let mut answers = answers.into_iter();
        for (at, sample) in asked.into_iter().zip(samples) {
            on[at].sample = sample;
            let judged = answers.next().unwrap_or_else(|| Judged {
                result: Err("invalid_output: gave no answer".to_owned()),
                fuel: 0,
            });
            if let Some(memo) = step.memo.as_ref().filter(|_| step.stands(&judged)) {
                memo.put(&digests[at], &judged);
            }
            known[at] = Some(judged);
        }
        for (row, judged) in on.into_iter().zip(known) {
            let Some(judged) = judged else { continue };
            take(row, index, step.on_error, judged);
            if row.is_apart {
                row.dropped_by = None;
            }
        }
    }
    remembered
}

/// What a verdict does to its row.
fn take(row: &mut Row, step: usize, on_error: OnError, judged: Judged<Verdict>) {
    match &judged.result {
        Ok(verdict) => match &verdict.decision {
            Decision::Keep => {}
            Decision::Drop { .. } => row.dropped_by = Some(step),
            Decision::Rewrite { edits, .. } => {
                sample::apply(&mut row.sample, edits);
                row.is_rewritten = true;
            }
        },
        Err(_) if on_error == OnError::Drop => row.dropped_by = Some(step),
        Err(_) => {}
    }
    row.judged.push(Some(judged));
}
