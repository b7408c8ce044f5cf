use std::collections::BTreeMap;

use crate::data::Pair;

/// Sums over some pairs, and what each process's part of them adds up to.
#[derive(Debug)]
pub(in crate::train) struct Tally {
    totals: Totals,
    pub(in crate::train) tokens: usize,
    pub(super) loss: f64,
    /// The likelihood term, where there is one.
    pub(super) nll: Option<f64>,
    sums: BTreeMap<&'static str, f64>,
}

/// What the sums of a step are divided by: those of all processes.
#[derive(Debug, Clone, Copy)]
pub(in crate::train) struct Totals {
    pub(in crate::train) pairs: usize,
    /// Tokens of completions.
    pub(in crate::train) supervised: usize,
    /// Tokens of the chosen sequences that have something to be predicted from.
    pub(super) chosen_tokens: usize,
    /// Those of the completions.
    pub(super) chosen_supervised: usize,
}

impl Totals {
    pub(in crate::train) fn of<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Self {
        let mut totals = Self {
            pairs: 0,
            supervised: 0,
            chosen_tokens: 0,
            chosen_supervised: 0,
        };
        for pair in pairs {
            totals.pairs += 1;
            totals.supervised += pair.chosen.supervised_tokens();
            totals.supervised += pair.rejected.supervised_tokens();
            totals.chosen_supervised += pair.chosen.supervised_tokens();
            totals.chosen_tokens += pair.chosen.input_ids.len().saturating_sub(1);
        }
        totals
    }
}

/// Figures of a pair.
const NAMES: [&str; 6] = [
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
];

impl Tally {
    /// Every figure that the method has is there from the start: a process that has no pair in a step adds nothing to each.
    pub(super) fn new(orpo: bool, likelihood: bool, totals: Totals) -> Self {
        let of_orpo = ["log_odds_ratio", "log_odds_chosen"];
        let own = of_orpo.into_iter().filter(|_| orpo);
        Self {
            totals,
            tokens: 0,
            loss: 0.0,
            nll: likelihood.then_some(0.0),
            sums: NAMES
                .into_iter()
                .chain(own)
                .map(|name| (name, 0.0))
                .collect(),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn add(&mut self, name: &'static str, value: f64) {
        *self.sums.entry(name).or_default() += value;
    }

    /// The loss of all pairs, and the means of the rest: of several processes each one's part of these.
    pub(in crate::train) fn finish(self) -> (f64, BTreeMap<String, f64>) {
        let pairs = self.totals.pairs.max(1) as f64;
        let means = self.sums.into_iter();
        let mut metrics: BTreeMap<String, f64> = means
            .map(|(name, sum)| (name.to_owned(), sum / pairs))
            .collect();
        metrics.extend(self.nll.map(|nll| ("nll_loss".to_owned(), nll)));
        (self.loss, metrics)
    }

    pub(in crate::train) fn is_finite(&self) -> bool {
        self.loss.is_finite()
    }
}
