use std::collections::BTreeMap;

use engine::generate::{Generation, GenerationEnd};
use serde::{Deserialize, Serialize};

use crate::scoring::Scored;

/// What becomes of a prompt's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Make {
    /// The best answer: rows of the format completion.
    Completion,
    /// The best and the worst: rows of the format preference.
    Preference,
}

/// Which rows to make of ranked answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// What kind.
    pub make: Make,
    /// A chosen answer scores at least so much.
    pub min_score: f64,
    /// The chosen answer of a pair scores at least so much more than the rejected one, and never the same.
    pub min_margin: f64,
}

/// One answer, as provenance keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) text: String,
    seed: u64,
    tokens: usize,
    finish_reason: GenerationEnd,
    /// Mean of its scores; none where no plugin could score it.
    pub(super) score: Option<f64>,
    scores: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    failures: BTreeMap<String, String>,
}

impl Answer {
    pub(super) fn new(seed: u64, written: Generation, scored: Scored) -> Self {
        Self {
            text: written.text,
            seed,
            tokens: written.new_tokens,
            finish_reason: written.finish_reason,
            // A plugin that failed has not said that the answer is good: answers are compared by all or by none.
            score: scored.failures.is_empty().then(|| scored.mean()).flatten(),
            scores: scored.scores,
            failures: scored.failures,
        }
    }
}

/// A prompt's answers and what was decided about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ranked {
    pub(super) answers: Vec<Answer>,
    /// Place of the best answer; none where there is no row.
    pub(super) chosen: Option<usize>,
    /// Place of the worst, in pairs.
    pub(super) rejected: Option<usize>,
    /// Why there is no row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) without: Option<String>,
}

impl Ranking {
    /// Chooses by score; of equal answers the one that was drawn first.
    pub(super) fn rank(&self, answers: Vec<Answer>) -> Ranked {
        let (chosen, rejected, without) = match self.choose(&answers) {
            Ok((chosen, rejected)) => (Some(chosen), rejected, None),
            Err(why) => (None, None, Some(why.to_owned())),
        };
        Ranked {
            answers,
            chosen,
            rejected,
            without,
        }
    }

    fn choose(&self, answers: &[Answer]) -> Result<(usize, Option<usize>), &'static str> {
        let scored = answers.iter().enumerate();
        let scored: Vec<(usize, f64)> = scored
            .filter_map(|(index, answer)| Some((index, answer.score?)))
            .collect();
        // `max_by` takes the last of equals, `min_by` the first.
        let best = scored.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        let worst = scored.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let (Some(best), Some(worst)) = (best, worst) else {
            return Err("no answer could be scored");
        };
        if best.1 < self.min_score {
            return Err("the best answer scores too low");
        }
        if self.make == Make::Completion {
            return Ok((best.0, None));
        }
        let margin = best.1 - worst.1;
        if margin <= 0.0 || answers[best.0].text == answers[worst.0].text {
            return Err("all answers score the same");
        }
        if margin < self.min_margin {
            return Err("best and worst answer are too close");
        }
        Ok((best.0, Some(worst.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, score: Option<f64>) -> Answer {
        Answer {
            text: text.to_owned(),
            seed: 0,
            tokens: 1,
            finish_reason: GenerationEnd::Eos,
            score,
            scores: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    fn ranked(make: Make, scores: &[Option<f64>]) -> Ranked {
        let ranking = Ranking {
            make,
            min_score: 0.2,
            min_margin: 0.1,
        };
        let answers = scores.iter().enumerate();
        let answers = answers.map(|(n, score)| answer(&n.to_string(), *score));
        ranking.rank(answers.collect())
    }

    #[test]
    fn the_best_is_chosen_and_the_worst_rejected_the_first_of_equals_each_time() {
        let scores = [None, Some(0.5), Some(0.9), Some(0.9), Some(0.1), Some(0.1)];
        let pair = ranked(Make::Preference, &scores);
        assert_eq!((pair.chosen, pair.rejected), (Some(2), Some(4)));
        let best = ranked(Make::Completion, &scores);
        assert_eq!((best.chosen, best.rejected), (Some(2), None));
    }

    #[test]
    fn answers_that_say_nothing_make_no_row_and_say_why() {
        for (make, scores, part) in [
            (Make::Completion, &[None, None][..], "no answer"),
            (Make::Completion, &[Some(0.1)], "too low"),
            (Make::Preference, &[Some(0.5), Some(0.5)], "the same"),
            (Make::Preference, &[Some(0.5), Some(0.45)], "too close"),
        ] {
            let found = ranked(make, scores);
            assert_eq!(found.chosen, None);
            assert!(
                found
                    .without
                    .as_deref()
                    .is_some_and(|why| why.contains(part))
            );
        }
    }
}
