//! Preference tuning: DPO, CPO with SimPO, and ORPO.
//!
//! Their losses (`loss`) are functions of the log-probabilities of whole completions. Over an optimizer step the loss is the mean
//! over its pairs, however they are spread over micro-batches. The likelihood term of ORPO is the mean over the tokens of all its
//! chosen sequences, prompts included, and that of CPO over those of the completions, as TRL computes both for one batch.

mod loss;
mod tally;

use candle_core::Tensor;
use domain::{Method, TrainConfig};

use loss::{Answers, Loss, softplus};

use crate::data::{IGNORED, Pair, Sample};
use crate::model::{Batch, Decoder, TokenLoss, Weigh, Work};
use crate::train::compute::Compute;
use crate::{Result, ops};

pub(super) use tally::{Tally, Totals};

/// What a run minimizes over pairs.
pub(super) struct Preference {
    loss: Loss,
    /// What the likelihood of the chosen answers weighs beside that.
    likelihood: f64,
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
        Some(Self {
            loss: Loss::of_run(train)?,
            likelihood: match train.method {
                Method::Orpo => 1.0,
                Method::Cpo => train.cpo_alpha,
                _ => 0.0,
            },
            reference,
        })
    }

    /// What nothing was added to yet of pairs with these totals.
    pub(super) fn tally(&self, totals: Totals) -> Tally {
        Tally::new(self.loss.is_orpo(), self.likelihood > 0.0, totals)
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
        let reference = match self.loss.has_reference() {
            true => decoder.description.forward_operations(work),
            false => 0.0,
        };
        decoder.operations(work) + reference
    }

    fn lay(&self, pairs: &[&Pair]) -> Result<Laid> {
        let (mut samples, mut completion) = (Vec::new(), Vec::new());
        let chosen = pairs.iter().map(|pair| (&pair.chosen, self.loss.is_orpo()));
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
        if !self.loss.has_reference() {
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
        // ORPO lays prompts too, CPO completions alone.
        let learned = match self.loss.is_orpo() {
            true => totals.chosen_tokens,
            false => totals.chosen_supervised,
        };
        let likelihood = self.likelihood / learned as f64;
        for pair in 0..pairs {
            let both = [pair, pair + pairs];
            let judged = self.loss.of(&Answers {
                logps: both.map(|sequence| sum(losses, sequence)),
                reference: both.map(|sequence| sum(reference.unwrap_or(losses), sequence)),
                tokens: both.map(count),
            });
            tally.loss += judged.loss / total;
            if let Some(mean) = &mut tally.nll {
                let rows = &losses[starts[pair]..starts[pair] + completion[pair].len()];
                let nll: f64 = rows.iter().map(|loss| f64::from(*loss)).sum();
                *mean += nll / learned as f64;
                tally.loss += likelihood * nll;
            }
            for (side, sequence) in both.into_iter().enumerate() {
                // A loss is minus its token's part of the log-probability.
                let weight = -judged.by_logp[side] / total;
                let whole = if side == 0 { likelihood } else { 0.0 };
                for (row, inside) in completion[sequence].iter().enumerate() {
                    let weight = if *inside { weight } else { 0.0 };
                    weights[starts[sequence] + row] = (weight + whole) as f32;
                }
            }
            if let Some(log_odds) = judged.log_odds {
                tally.add("log_odds_ratio", -softplus(-log_odds));
                tally.add("log_odds_chosen", log_odds);
            }
            let [chosen, rejected] = judged.rewards;
            tally.add("rewards/chosen", chosen);
            tally.add("rewards/rejected", rejected);
            tally.add("rewards/margins", chosen - rejected);
            tally.add("rewards/accuracies", f64::from(u8::from(chosen > rejected)));
            tally.add("logps/chosen", judged.logps[0]);
            tally.add("logps/rejected", judged.logps[1]);
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

#[cfg(test)]
mod tests;
