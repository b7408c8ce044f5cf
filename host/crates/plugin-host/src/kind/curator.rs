//! `codetune:plugin/curator`: samples in, verdicts out.

use domain::{Decision, Reason, Sample, SampleEdit, Score, Signature, Verdict};
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::{MOST_SCORES, clean, word};
use crate::call::CallState;
use crate::outcome::Failure;
use crate::sanitize;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
    wasmtime::component::bindgen!({ path: "../../../wit/0.1.2", world: "curator-ability" });
}

use bindings::exports::codetune::plugin::curator as wit;

/// Values of one signature.
const MOST_VALUES: usize = 4096;
/// Reasons of one rewriting.
const MOST_REASONS: usize = 64;

/// A component that exports the ability, ready to be instantiated.
pub(crate) struct Curator {
    pre: bindings::CuratorAbilityPre<CallState>,
}

/// One instance.
pub(crate) struct Running(bindings::CuratorAbility);

impl Curator {
    /// # Errors
    /// When the export has another shape than the contract.
    pub(crate) fn new(pre: InstancePre<CallState>) -> wasmtime::Result<Self> {
        Ok(Self {
            pre: bindings::CuratorAbilityPre::new(pre)?,
        })
    }

    pub(crate) fn start(&self, store: &mut Store<CallState>) -> wasmtime::Result<Running> {
        Ok(Running(self.pre.instantiate(store)?))
    }
}

impl Running {
    /// Judges one sample and checks the answer.
    pub(crate) fn curate(
        &self,
        store: &mut Store<CallState>,
        sample: &Sample,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let parts = sample.parts.iter().map(|part| wit::Part {
            name: part.name.clone(),
            text: part.text.clone(),
            learned: part.learned,
        });
        let sent = wit::Sample {
            parts: parts.collect(),
            path: sample.path.clone(),
            language: sample.language.clone(),
        };
        let curator = self.0.codetune_plugin_curator();
        let mut answers = curator.call_curate(store, &[sent])?;
        let Some(answer) = answers.pop().filter(|_| answers.is_empty()) else {
            return Ok(Err(Failure::new(
                "invalid_output",
                "did not answer one sample with one verdict",
            )));
        };
        Ok(match answer {
            Ok(verdict) => checked(verdict, sample)
                .map_err(|message| Failure::new("invalid_output", sanitize::text(&message))),
            Err(message) => Err(Failure::new("plugin_error", clean(message))),
        })
    }
}

fn checked(verdict: wit::Verdict, sample: &Sample) -> Result<Verdict, String> {
    let decision = match verdict.decision {
        wit::Decision::Keep => Decision::Keep,
        wit::Decision::Drop(why) => Decision::Drop {
            reason: reason(why)?,
        },
        wit::Decision::Rewrite(rewriting) => rewrite(rewriting, sample)?,
    };
    if verdict.scores.len() > MOST_SCORES {
        return Err(format!("has more than {MOST_SCORES} scores"));
    }
    let scores = verdict
        .scores
        .into_iter()
        .map(|score| match score.value.is_finite() {
            true => Ok(Score {
                name: word("a score", score.name)?,
                value: score.value,
                reason: String::new(),
            }),
            false => Err(format!("the score {:?} is {}", score.name, score.value)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let signature = verdict.signature.map(|signature| {
        if signature.values.is_empty() || signature.values.len() > MOST_VALUES {
            return Err(format!(
                "a signature has {} values; 1 to {MOST_VALUES} are possible",
                signature.values.len()
            ));
        }
        Ok(Signature {
            name: word("a signature", signature.name)?,
            values: signature.values,
        })
    });
    Ok(Verdict {
        decision,
        scores,
        signature: signature.transpose()?,
    })
}

fn reason(reason: wit::Reason) -> Result<Reason, String> {
    Ok(Reason {
        code: word("a reason", reason.code)?,
        message: clean(reason.message),
    })
}

fn rewrite(rewriting: wit::Rewriting, sample: &Sample) -> Result<Decision, String> {
    if rewriting.edits.is_empty() || rewriting.reasons.is_empty() {
        return Err("a rewriting has no edit or no reason".to_owned());
    }
    if rewriting.reasons.len() > MOST_REASONS {
        return Err(format!("a rewriting has more than {MOST_REASONS} reasons"));
    }
    let mut reasons: Vec<Reason> = Vec::with_capacity(rewriting.reasons.len());
    for found in rewriting.reasons {
        let found = reason(found)?;
        if reasons.iter().any(|before| before.code == found.code) {
            return Err(format!("a rewriting names {:?} twice", found.code));
        }
        reasons.push(found);
    }
    let mut edits = Vec::with_capacity(rewriting.edits.len());
    // Where the edit before ended.
    let (mut part, mut end) = (0, 0);
    for mut edit in rewriting.edits {
        let Some(text) = sample.parts.get(edit.part as usize) else {
            return Err(format!(
                "an edit is in part {}; the sample has {}",
                edit.part,
                sample.parts.len()
            ));
        };
        let text = &text.text;
        // `get` is none outside the text, backwards, and within a character.
        if text.get(edit.start as usize..edit.end as usize).is_none() {
            return Err(format!(
                "an edit at {}..{} does not lie in the {} bytes of part {}",
                edit.start,
                edit.end,
                text.len(),
                edit.part
            ));
        }
        if edit.part < part || edit.part == part && edit.start < end {
            return Err("edits overlap or are out of order".to_owned());
        }
        (part, end) = (edit.part, edit.end);
        sanitize::string(&mut edit.replacement);
        edits.push(SampleEdit {
            part: edit.part,
            start: edit.start,
            end: edit.end,
            replacement: edit.replacement,
        });
    }
    Ok(Decision::Rewrite { edits, reasons })
}
