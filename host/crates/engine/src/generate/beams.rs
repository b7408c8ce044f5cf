//! Beam search, step for step as `_beam_search` of Transformers 5 does it for one prompt.

use super::logits::{log_softmax, process};
use super::model::step_of;
use super::sample::refuse_nan;
use super::{EarlyStopping, GenerateRequest, TextModel};
use crate::Result;

/// What stands for a beam that is not there: below every log-probability.
const NONE: f32 = -1e9;

/// A text that is followed, or a whole one.
#[derive(Clone)]
struct Beam {
    /// Prompt and text.
    ids: Vec<u32>,
    score: f32,
    finished: bool,
}

/// One continuation of a beam.
struct Candidate {
    parent: usize,
    token: u32,
    score: f32,
    ends: bool,
}

/// What to search with.
pub(super) struct Search<'a, M> {
    pub(super) model: &'a M,
    pub(super) request: &'a GenerateRequest,
    /// Tokens that end a text.
    pub(super) ends: &'a [u32],
    /// Most tokens to write.
    pub(super) limit: usize,
}

impl<M: TextModel> Search<'_, M> {
    /// The new tokens of the best text. `stops` tells whether new tokens end by a stop text; `goes_on` is asked at every
    /// step, and `None` comes back where it says no.
    pub(super) fn run(
        &self,
        prompt: &[u32],
        stops: &dyn Fn(&[u32]) -> Result<bool>,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Vec<u32>>> {
        let Self {
            model,
            request,
            limit,
            ..
        } = *self;
        let beams = request.num_beams;
        let mut first = model.cache(prompt.len() + limit)?;
        let logits = model.read(&mut first, prompt, request.use_adapter)?;
        let mut caches = vec![first];
        while caches.len() < beams {
            let copy = model.copied(&caches[0])?;
            caches.push(copy);
        }
        let mut logits = vec![logits; beams];
        let beam = |score| Beam {
            ids: prompt.to_vec(),
            score,
            finished: false,
        };
        // All beams begin alike: only the first one's continuations count.
        let mut running: Vec<Beam> = (0..beams)
            .map(|index| beam(if index == 0 { 0.0 } else { NONE }))
            .collect();
        let mut whole: Vec<Beam> = vec![beam(NONE); beams];
        let mut may_improve = true;
        for new in 1..=limit {
            if !goes_on() {
                return Ok(None);
            }
            let candidates = self.candidates(&running, &mut logits, new, prompt.len(), stops)?;
            whole = self.merged(whole, &running, &candidates, new, may_improve);
            let next = chosen(candidates.iter().enumerate().map(|(index, candidate)| {
                let hidden = if candidate.ends { NONE } else { 0.0 };
                (index, candidate.score + hidden)
            }));
            let parents: Vec<usize> = next[..beams]
                .iter()
                .map(|&(index, _)| candidates[index].parent)
                .collect();
            running = next[..beams]
                .iter()
                .map(|&(index, score)| continued(&running, &candidates[index], score))
                .collect();
            may_improve &= self.may_improve(&running, &whole, new);
            let full = whole.iter().all(|beam| beam.finished)
                && request.early_stopping == EarlyStopping::First;
            if !may_improve || full || candidates.iter().all(|candidate| candidate.ends) {
                break;
            }
            caches = reordered(model, caches, &parents)?;
            let texts: Vec<&[u32]> = running.iter().map(|beam| &beam.ids[..]).collect();
            let mut all: Vec<&mut M::Cache> = caches.iter_mut().collect();
            logits = step_of(model, &mut all, &texts, request.use_adapter)?;
        }
        let best = whole.swap_remove(0);
        Ok(Some(best.ids[prompt.len()..].to_vec()))
    }

    /// The likeliest continuations of all beams: enough that some go on even when all the best ones end.
    fn candidates(
        &self,
        running: &[Beam],
        logits: &mut [Vec<f32>],
        new: usize,
        prompt: usize,
        stops: &dyn Fn(&[u32]) -> Result<bool>,
    ) -> Result<Vec<Candidate>> {
        let keep = (1 + self.ends.len()).max(2) * self.request.num_beams;
        let mut all = Vec::new();
        for (parent, (beam, logits)) in running.iter().zip(logits).enumerate() {
            refuse_nan(logits)?;
            log_softmax(logits);
            process(logits, self.request, &beam.ids, new - 1, self.ends);
            let scores = logits.iter().map(|logit| logit + beam.score).enumerate();
            // Each beam can give no more than all that are kept.
            let mut own = chosen(scores);
            own.truncate(keep);
            all.extend(own.into_iter().map(|(token, score)| (parent, token, score)));
        }
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        all.truncate(keep);
        all.into_iter()
            .map(|(parent, token, score)| {
                let token = token as u32;
                let mut ends = self.ends.contains(&token) || new >= self.limit;
                if !ends && !self.request.stop.is_empty() {
                    let text = [&running[parent].ids[prompt..], &[token]].concat();
                    ends = stops(&text)?;
                }
                Ok(Candidate {
                    parent,
                    token,
                    score,
                    ends,
                })
            })
            .collect()
    }

    /// The best whole texts after this step.
    fn merged(
        &self,
        whole: Vec<Beam>,
        running: &[Beam],
        candidates: &[Candidate],
        new: usize,
        may_improve: bool,
    ) -> Vec<Beam> {
        let full = whole.iter().all(|beam| beam.finished)
            && self.request.early_stopping == EarlyStopping::First;
        let power = (new as f64).powf(self.request.length_penalty) as f32;
        let mut all = whole;
        let beams = all.len();
        for (index, candidate) in candidates.iter().enumerate() {
            let counts = candidate.ends && index < beams;
            let mut score = candidate.score / power;
            for out in [full, !may_improve, !counts] {
                if out {
                    score += NONE;
                }
            }
            let mut beam = continued(running, candidate, score);
            beam.finished = counts;
            all.push(beam);
        }
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(beams);
        all
    }

    /// Whether the best running beam could still beat the worst whole text.
    fn may_improve(&self, running: &[Beam], whole: &[Beam], new: usize) -> bool {
        let penalty = self.request.length_penalty;
        let length = match self.request.early_stopping {
            EarlyStopping::Never if penalty > 0.0 => self.limit,
            _ => new,
        };
        let best = running[0].score / (length as f64).powf(penalty) as f32;
        let worst = whole
            .iter()
            .map(|beam| beam.score)
            .fold(f32::INFINITY, f32::min);
        whole
            .iter()
            .any(|beam| best > if beam.finished { worst } else { NONE })
    }
}

fn continued(running: &[Beam], candidate: &Candidate, score: f32) -> Beam {
    let mut ids = running[candidate.parent].ids.clone();
    ids.push(candidate.token);
    Beam {
        ids,
        score,
        finished: false,
    }
}

/// Scores in falling order; of equals the first comes first.
fn chosen(scores: impl Iterator<Item = (usize, f32)>) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = scores.collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// Caches for the beams that go on from `parents`; one that goes on once only is moved, not copied.
fn reordered<M: TextModel>(
    model: &M,
    caches: Vec<M::Cache>,
    parents: &[usize],
) -> Result<Vec<M::Cache>> {
    let mut left: Vec<usize> = vec![0; caches.len()];
    for &parent in parents {
        left[parent] += 1;
    }
    let mut caches: Vec<Option<M::Cache>> = caches.into_iter().map(Some).collect();
    parents
        .iter()
        .map(|&parent| {
            left[parent] -= 1;
            let cache = match left[parent] {
                0 => caches[parent].take(),
                _ => caches[parent]
                    .as_ref()
                    .map(|cache| model.copied(cache))
                    .transpose()?,
            };
            Ok(cache.expect("taken by the last beam that goes on from it"))
        })
        .collect()
}
