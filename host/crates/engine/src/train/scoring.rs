//! What the model in training writes after held-out prompts, for whoever scores it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use domain::{Completion, RunConfig};
use serde_json::{Map, Value};

use super::setup::{Setup, log};
use crate::data::{IGNORED, Sample};
use crate::evaluate::Matches;
use crate::generate::{GenerateRequest, TextModel, complete};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, StopFlag};

/// Scores what a model wrote: what plugins are to the engine.
pub trait ScoreTexts: Debug + Send + Sync {
    /// Scores completions; it may take its time, since training waits for it.
    fn score(&self, completions: &[Completion]) -> MeanScores;
}

/// Scores over some completions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MeanScores {
    /// Means over those completions that got the score, by the names of the scores.
    pub means: BTreeMap<String, f64>,
    /// What the run's log should hold: completions that could not be scored, and why.
    pub notes: Vec<String>,
}

/// Held-out prompts that are answered at each evaluation: always the same, greedily.
pub(crate) struct Questions {
    prompts: Vec<Vec<u32>>,
    /// Prompt and reference of each; the text is what the model writes.
    asked: Vec<Completion>,
    tokenizer: Tokenizer,
    /// Tokens that end an answer.
    ends: Vec<u32>,
    request: GenerateRequest,
}

impl Questions {
    /// Takes the first `train.score_prompts` held-out samples that leave room for an answer.
    ///
    /// What is learned of a sample behind its last prompt is the reference; a sample without a prompt is asked for its
    /// second half.
    pub(super) fn of(config: &RunConfig, setup: &Setup) -> Result<Self> {
        let adapter = config.lora.init_adapter.as_deref().map(Path::new);
        let tokenizer = Tokenizer::of(&setup.folder, adapter)?;
        let description = &setup.decoder.description;
        let mut ends = tokenizer.eos_ids().to_vec();
        ends.extend(
            description
                .eos
                .iter()
                .filter(|id| !tokenizer.eos_ids().contains(id)),
        );
        // The one language that a source tree was asked for is that of the answers.
        let language = match &config.data.languages[..] {
            [one] => Some(one.clone()),
            _ => None,
        };
        let matches = Matches::new(&setup.tokenizer_folder);
        let chosen = setup.eval_pairs.iter().map(|pair| &pair.chosen);
        let (mut prompts, mut asked) = (Vec::new(), Vec::new());
        for sample in setup.eval.iter().chain(chosen) {
            if prompts.len() == config.train.score_prompts as usize {
                break;
            }
            let Some((prompt, reference)) = cut(sample, &matches) else {
                continue;
            };
            if prompt.len() >= description.max_positions {
                continue;
            }
            asked.push(Completion {
                prompt: tokenizer.decode(prompt, true)?,
                text: String::new(),
                reference: Some(tokenizer.decode(reference, true)?),
                language: language.clone(),
            });
            prompts.push(prompt.to_vec());
        }
        if prompts.is_empty() {
            return Err(Error::Input(
                "plugins: no held-out sample has a prompt that leaves room for an answer; the run's scorers have \
                 nothing to score"
                    .into(),
            ));
        }
        Ok(Self {
            prompts,
            asked,
            tokenizer,
            ends,
            request: GenerateRequest {
                max_new_tokens: config.train.score_max_new_tokens as usize,
                ..GenerateRequest::default()
            },
        })
    }

    /// What the model writes after each prompt; `None` when the stop flag was raised meanwhile.
    pub(super) fn answered<M: TextModel>(
        &self,
        model: &M,
        stop: &StopFlag,
    ) -> Result<Option<Vec<String>>> {
        let (tokenizer, prompts) = (&self.tokenizer, &self.prompts);
        complete(
            model,
            tokenizer,
            &self.ends,
            prompts,
            &self.request,
            &|| stop.is_stopped(),
        )
    }

    /// Has what was written after the prompts scored, and adds the scores.
    pub(super) fn score(
        &self,
        written: Vec<String>,
        scorer: &dyn ScoreTexts,
        scores: &mut Map<String, Value>,
        emit: &mut dyn FnMut(domain::RunEvent),
    ) {
        let answered = self.asked.iter().zip(written);
        let completions: Vec<Completion> = answered
            .map(|(asked, text)| Completion {
                text,
                ..asked.clone()
            })
            .collect();
        let found = scorer.score(&completions);
        found.notes.into_iter().for_each(|note| log(emit, note));
        for (name, mean) in found.means {
            if let Some(mean) = serde_json::Number::from_f64(mean) {
                scores.insert(name, Value::Number(mean));
            }
        }
    }
}

/// A sample's tokens before its last answer, and those of the answer.
fn cut<'a>(sample: &'a Sample, matches: &Matches) -> Option<(&'a [u32], &'a [u32])> {
    let ids = &sample.input_ids;
    let end = 1 + sample.labels.iter().rposition(|label| *label != IGNORED)?;
    let start = matches.answer(sample).unwrap_or(end / 2);
    (0 < start && start < end).then(|| (&ids[..start], &ids[start..end]))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sample(labels: &[i64]) -> Sample {
        let ids = 0..labels.len() as u32;
        Sample {
            input_ids: ids.map(|id| id + 10).collect(),
            labels: labels.to_vec(),
        }
    }

    #[test]
    fn the_last_answer_is_the_reference_and_a_text_without_a_prompt_is_cut_in_half() {
        let matches = Matches::new(Path::new("no such folder"));
        let parts = |labels: &[i64]| {
            let sample = sample(labels);
            cut(&sample, &matches).map(|(prompt, answer)| (prompt.to_vec(), answer.to_vec()))
        };
        let no = IGNORED;
        assert_eq!(
            parts(&[no, 1, no, 1, 1, no]),
            Some((vec![10, 11, 12], vec![13, 14]))
        );
        assert_eq!(parts(&[1, 1, 1, 1]), Some((vec![10, 11], vec![12, 13])));
        assert_eq!(parts(&[1]), None);
        assert_eq!(parts(&[no, no]), None);
    }
}
