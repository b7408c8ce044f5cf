use std::collections::BTreeMap;

use crate::data::Pair;

/// Figures of some pairs.
#[derive(Debug, Default)]
pub(in crate::train) struct Tally {
    pub(in crate::train) tokens: usize,
    pub(in crate::train) supervised: usize,
    pub(super) loss: f64,
    pub(super) nll: f64,
    sums: BTreeMap<&'static str, f64>,
    pub(super) pairs: f64,
}

/// What the sums of a step are divided by.
#[derive(Debug, Clone, Copy)]
pub(in crate::train) struct Totals {
    pub(in crate::train) pairs: usize,
    /// Tokens of the chosen sequences that have something to be predicted from.
    pub(super) chosen_tokens: usize,
}

impl Totals {
    pub(in crate::train) fn of<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Self {
        let mut totals = Self {
            pairs: 0,
            chosen_tokens: 0,
        };
        for pair in pairs {
            totals.pairs += 1;
            totals.chosen_tokens += pair.chosen.input_ids.len().saturating_sub(1);
        }
        totals
    }
}

impl Tally {
    pub(super) fn add(&mut self, name: &'static str, value: f64) {
        *self.sums.entry(name).or_default() += value;
    }

    /// The loss of all pairs, and the means of the rest.
    pub(in crate::train) fn finish(self) -> (f64, BTreeMap<String, f64>) {
        let means = self.sums.into_iter();
        let mut metrics: BTreeMap<String, f64> = means
            .map(|(name, sum)| (name.to_owned(), sum / self.pairs))
            .collect();
        if self.nll > 0.0 {
            metrics.insert("nll_loss".into(), self.nll);
        }
        (self.loss, metrics)
    }

    pub(in crate::train) fn is_finite(&self) -> bool {
        self.loss.is_finite()
    }
}
