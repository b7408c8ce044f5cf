//! `codetune:plugin/scorer`: what a model wrote in, scores from 0 to 1 out.

use domain::{Completion, Score};
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::{MOST_SCORES, clean, word};
use crate::call::CallState;
use crate::outcome::Failure;
use crate::sanitize;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
    wasmtime::component::bindgen!({ path: "../../../wit/0.1.2", world: "scorer-ability" });
}

use bindings::exports::codetune::plugin::scorer as wit;

/// A component that exports the ability, ready to be instantiated.
pub(crate) struct Scorer {
    pre: bindings::ScorerAbilityPre<CallState>,
}

/// One instance.
pub(crate) struct Running(bindings::ScorerAbility);

impl Scorer {
    /// # Errors
    /// When the export has another shape than the contract.
    pub(crate) fn new(pre: InstancePre<CallState>) -> wasmtime::Result<Self> {
        Ok(Self {
            pre: bindings::ScorerAbilityPre::new(pre)?,
        })
    }

    pub(crate) fn start(&self, store: &mut Store<CallState>) -> wasmtime::Result<Running> {
        Ok(Running(self.pre.instantiate(store)?))
    }
}

impl Running {
    /// Scores one completion and checks the answer.
    pub(crate) fn score(
        &self,
        store: &mut Store<CallState>,
        completion: &Completion,
    ) -> wasmtime::Result<Result<Vec<Score>, Failure>> {
        let sent = wit::Completion {
            prompt: completion.prompt.clone(),
            text: completion.text.clone(),
            reference: completion.reference.clone(),
            language: completion.language.clone(),
        };
        let scorer = self.0.codetune_plugin_scorer();
        let mut answers = scorer.call_score_completions(store, &[sent])?;
        let Some(answer) = answers.pop().filter(|_| answers.is_empty()) else {
            return Ok(Err(Failure::new(
                "invalid_output",
                "did not answer one completion with one list of scores",
            )));
        };
        Ok(match answer {
            Ok(scores) => checked(scores)
                .map_err(|message| Failure::new("invalid_output", sanitize::text(&message))),
            Err(message) => Err(Failure::new("plugin_error", clean(message))),
        })
    }
}

fn checked(scores: Vec<wit::Score>) -> Result<Vec<Score>, String> {
    if scores.is_empty() || scores.len() > MOST_SCORES {
        return Err(format!(
            "gave {} scores; 1 to {MOST_SCORES} are possible",
            scores.len()
        ));
    }
    let mut checked: Vec<Score> = Vec::with_capacity(scores.len());
    for score in scores {
        let name = word("a score", score.name)?;
        // Not a number is in no range.
        if !(0.0..=1.0).contains(&score.value) {
            return Err(format!(
                "the score {name} is {}, not in 0 to 1",
                score.value
            ));
        }
        if checked.iter().any(|before| before.name == name) {
            return Err(format!("gave the score {name} twice"));
        }
        checked.push(Score {
            name,
            value: score.value,
            reason: clean(score.reason),
        });
    }
    Ok(checked)
}
