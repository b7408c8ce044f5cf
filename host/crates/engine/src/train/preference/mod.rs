//! Losses of preference tuning: DPO (arXiv 2305.18290, TRL's `sigmoid`) and ORPO (arXiv 2403.07691).
//!
//! Both are functions of the log-probabilities of whole completions. Over an optimizer step the loss is the mean over
//! its pairs, however they are spread over micro-batches; ORPO's likelihood term is the mean over the tokens of all its
//! chosen sequences, prompts included, as TRL computes it for one batch.

mod tally;

use candle_core::Tensor;
use domain::{Method, TrainConfig};

use crate::data::{IGNORED, Pair, Sample};
use crate::model::{Batch, Decoder, TokenLoss, Weigh, Work};
use crate::train::compute::Compute;
use crate::{Result, ops};

pub(super) use tally::{Tally, Totals};

/// What a run minimizes over pairs.
pub(super) struct Preference {
    orpo: bool,
    beta: f64,
    /// DPO: values of what trains at the start, where that was an adapter to go on from. Otherwise the reference is
    /// the base without the adapter.
    reference: Option<Vec<Tensor>>,
}

/// Pairs in one batch, the chosen sequences first, and where their rows are.
struct Laid {
    batch: Batch,
    /// Rows of each sequence, and which of them belong to the completion.
    completion: Vec<Vec<bool>>,
}

impl Preference {
    /// `None` for the methods without pairs.
    pub(super) fn of_run(train: &TrainConfig, reference: Option<Vec<Tensor>>) -> Option<Self> {
        let orpo = match train.method {
            Method::Orpo => true,
            Method::Dpo => false,
            _ => return None,
        };
        Some(Self {
            orpo,
            beta: train.beta,
            reference,
        })
    }

    /// What nothing was added to yet of pairs with these totals.
    pub(super) fn tally(&self, totals: Totals) -> Tally {
        Tally::new(self.orpo, totals)
    }

    /// Adds the figures of some pairs of a step to its tally, and their share of its gradient to all that trains.
    pub(super) fn gradient(
        &self,
        (compute, decoder): (&Compute, &Decoder),
        pairs: &[&Pair],
        draw: u64,
        tally: &mut Tally,
    ) -> Result<()> {
        let laid = self.lay(pairs)?;
        let reference = self.reference_losses((compute, decoder), &laid.batch)?;
        let mut weigh =
            |losses: &[f32]| Ok(self.judge(losses, reference.as_deref(), &laid.completion, tally));
        compute.weighted_gradient(decoder, &laid.batch, &mut Weigh::ByLosses(&mut weigh), draw)?;
        tally.tokens += laid.batch.tokens;
        Ok(())
    }

    /// The same without a gradient, for an evaluation.
    pub(super) fn measure(
        &self,
        (compute, decoder): (&Compute, &Decoder),
        pairs: &[&Pair],
        tally: &mut Tally,
    ) -> Result<()> {
        let laid = self.lay(pairs)?;
        let reference = self.reference_losses((compute, decoder), &laid.batch)?;
        let losses = losses(&compute.token_losses(decoder, &laid.batch, true)?);
        self.judge(&losses, reference.as_deref(), &laid.completion, tally);
        Ok(())
    }

    /// Operations of a step over some pairs, the reference's among them.
    pub(super) fn operations(&self, decoder: &Decoder, pairs: Vec<&Pair>) -> f64 {
        let sequences = || pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]);
        let lengths = sequences().map(|sample| sample.input_ids.len());
        let scored = sequences().map(|sample| sample.supervised_tokens()).sum();
        let work = Work::of(lengths, scored);
        let reference = match self.orpo {
            true => 0.0,
            false => decoder.description.forward_operations(work),
        };
        decoder.operations(work) + reference
    }

    fn lay(&self, pairs: &[&Pair]) -> Result<Laid> {
        let (mut samples, mut completion) = (Vec::new(), Vec::new());
        let chosen = pairs.iter().map(|pair| (&pair.chosen, self.orpo));
        let rejected = pairs.iter().map(|pair| (&pair.rejected, false));
        for (sample, whole) in chosen.chain(rejected) {
            let labelled = |label: &i64| *label != IGNORED;
            // ORPO also learns the whole chosen sequence, prompt and all.
            if whole {
                completion.push(sample.labels.iter().skip(1).map(labelled).collect());
                samples.push(Sample {
                    input_ids: sample.input_ids.clone(),
                    labels: sample.input_ids.iter().map(|id| i64::from(*id)).collect(),
                });
            } else {
                completion.push(vec![true; sample.supervised_tokens()]);
                samples.push(sample.clone());
            }
        }
        Ok(Laid {
            batch: Batch::new(&samples)?,
            completion,
        })
    }

    /// Losses of the reference, for DPO.
    fn reference_losses(
        &self,
        (compute, decoder): (&Compute, &Decoder),
        batch: &Batch,
    ) -> Result<Option<Vec<f32>>> {
        if self.orpo {
            return Ok(None);
        }
        let found = match &self.reference {
            None => compute.token_losses(decoder, batch, false)?,
            // One set of weights: the adapter as it began takes the place of the adapter for one forward.
            Some(reference) => compute.token_losses_with(reference, decoder, batch)?,
        };
        Ok(Some(losses(&found)))
    }

    /// The figures of some pairs from the losses of their tokens, and the derivative of the step's loss by each of
    /// those losses.
    fn judge(
        &self,
        losses: &[f32],
        reference: Option<&[f32]>,
        completion: &[Vec<bool>],
        tally: &mut Tally,
    ) -> Vec<f32> {
        let (pairs, totals) = (completion.len() / 2, tally.totals());
        let total = totals.pairs as f64;
        let mut starts = Vec::with_capacity(completion.len());
        let mut end = 0;
        for rows in completion {
            starts.push(end);
            end += rows.len();
        }
        // Log-probability of a completion.
        let sum = |losses: &[f32], sequence: usize| -> f64 {
            let rows = completion[sequence].iter().zip(&losses[starts[sequence]..]);
            -rows
                .filter(|(inside, _)| **inside)
                .map(|(_, loss)| f64::from(*loss))
                .sum::<f64>()
        };
        let count = |sequence: usize| completion[sequence].iter().filter(|x| **x).count() as f64;
        let mut weights = vec![0f32; losses.len()];
        for pair in 0..pairs {
            let both = [pair, pair + pairs];
            let (rewards, logps, by_logp);
            if self.orpo {
                logps = both.map(|sequence| sum(losses, sequence) / count(sequence));
                // log(1 - e^x) of each mean.
                let odds = logps.map(|logp| logp - (-logp.exp_m1()).ln());
                let log_odds = odds[0] - odds[1];
                let ratio = -softplus(-log_odds);
                let nll: f64 = losses[starts[pair]..starts[pair] + completion[pair].len()]
                    .iter()
                    .map(|loss| f64::from(*loss))
                    .sum();
                *tally.nll.get_or_insert_default() += nll / totals.chosen_tokens as f64;
                tally.loss += nll / totals.chosen_tokens as f64 - self.beta * ratio / total;
                tally.add("log_odds_ratio", ratio);
                tally.add("log_odds_chosen", log_odds);
                let slope = -self.beta / total * sigmoid(-log_odds);
                by_logp = [slope / -logps[0].exp_m1(), -slope / -logps[1].exp_m1()];
                rewards = logps.map(|logp| self.beta * logp);
            } else {
                logps = both.map(|sequence| sum(losses, sequence));
                let reference = reference.unwrap_or(losses);
                let score = |side: usize| self.beta * (logps[side] - sum(reference, both[side]));
                rewards = [score(0), score(1)];
                let margin = rewards[0] - rewards[1];
                tally.loss += softplus(-margin) / total;
                let slope = -self.beta / total * sigmoid(-margin);
                by_logp = [slope, -slope];
            }
            for side in 0..2 {
                let sequence = both[side];
                // A loss is minus its token's part of the log-probability, or of its mean.
                let weight = -by_logp[side] / if self.orpo { count(sequence) } else { 1.0 };
                let whole = if self.orpo && side == 0 {
                    1.0 / totals.chosen_tokens as f64
                } else {
                    0.0
                };
                for (row, inside) in completion[sequence].iter().enumerate() {
                    let weight = if *inside { weight } else { 0.0 };
                    weights[starts[sequence] + row] = (weight + whole) as f32;
                }
            }
            tally.add("rewards/chosen", rewards[0]);
            tally.add("rewards/rejected", rewards[1]);
            tally.add("rewards/margins", rewards[0] - rewards[1]);
            let better = f64::from(u8::from(rewards[0] > rewards[1]));
            tally.add("rewards/accuracies", better);
            tally.add("logps/chosen", logps[0]);
            tally.add("logps/rejected", logps[1]);
        }
        weights
    }
}

/// Values of what trains, to be a reference later.
pub(super) fn values(decoder: &Decoder) -> Result<Vec<Tensor>> {
    let trainable = decoder.trainable();
    trainable
        .iter()
        .map(|parameter| Ok(ops::copy(&parameter.value)?))
        .collect()
}

fn losses(tokens: &[TokenLoss]) -> Vec<f32> {
    tokens.iter().map(|token| token.loss).collect()
}

/// log(1 + e^x).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests;
