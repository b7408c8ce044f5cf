//! Losses of preference tuning: DPO (arXiv 2305.18290, TRL's `sigmoid`) and ORPO (arXiv 2403.07691).
//!
//! Both are functions of the log-probabilities of whole completions. Over an optimizer step the loss is the mean over
//! its pairs, however they are spread over micro-batches; ORPO's likelihood term is the mean over the tokens of all its
//! chosen sequences, prompts included, as TRL computes it for one batch.

use std::collections::BTreeMap;

use candle_core::Tensor;
use domain::{Method, TrainConfig};

use crate::data::{IGNORED, Pair, Sample};
use crate::model::{Batch, Decoder, Weigh};
use crate::{Result, ops};

/// What a run minimizes over pairs.
pub(super) struct Preference {
    orpo: bool,
    beta: f64,
    /// DPO: values of what trains at the start, where that was an adapter to go on from. Otherwise the reference is
    /// the base without the adapter.
    reference: Option<Vec<Tensor>>,
}

/// Figures of some pairs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) tokens: usize,
    pub(super) supervised: usize,
    loss: f64,
    nll: f64,
    sums: BTreeMap<&'static str, f64>,
    pairs: f64,
}

/// What the sums of a step are divided by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) pairs: usize,
    /// Tokens of the chosen sequences that have something to be predicted from.
    chosen_tokens: usize,
}

impl Totals {
    pub(super) fn of<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Self {
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
    fn add(&mut self, name: &'static str, value: f64) {
        *self.sums.entry(name).or_default() += value;
    }

    /// The loss of all pairs, and the means of the rest.
    pub(super) fn finish(self) -> (f64, BTreeMap<String, f64>) {
        let means = self.sums.into_iter();
        let mut metrics: BTreeMap<String, f64> = means
            .map(|(name, sum)| (name.to_owned(), sum / self.pairs))
            .collect();
        if self.nll > 0.0 {
            metrics.insert("nll_loss".into(), self.nll);
        }
        (self.loss, metrics)
    }

    pub(super) fn is_finite(&self) -> bool {
        self.loss.is_finite()
    }
}

/// Pairs in one batch, the chosen sequences first, and where their rows are.
struct Laid {
    batch: Batch,
    /// Rows of each sequence, and which of them belong to the completion.
    completion: Vec<Vec<bool>>,
    /// Rows of completions.
    supervised: usize,
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

    /// Adds the figures of some pairs of a step to its tally, and their share of its gradient to all that trains.
    pub(super) fn gradient(
        &self,
        decoder: &Decoder,
        pairs: &[&Pair],
        totals: Totals,
        dropout: u64,
        tally: &mut Tally,
    ) -> Result<()> {
        let laid = self.lay(pairs)?;
        let reference = self.reference_losses(decoder, &laid.batch)?;
        let mut weigh = |losses: &[f32]| {
            Ok(self.judge(
                losses,
                reference.as_deref(),
                &laid.completion,
                totals,
                tally,
            ))
        };
        decoder.weighted_loss_and_gradient(
            &laid.batch,
            &mut Weigh::ByLosses(&mut weigh),
            Some(dropout),
        )?;
        tally.tokens += laid.batch.tokens;
        tally.supervised += laid.supervised;
        Ok(())
    }

    /// The same without a gradient, for an evaluation.
    pub(super) fn measure(
        &self,
        decoder: &Decoder,
        pairs: &[&Pair],
        totals: Totals,
        tally: &mut Tally,
    ) -> Result<()> {
        let laid = self.lay(pairs)?;
        let reference = self.reference_losses(decoder, &laid.batch)?;
        let losses = losses(decoder, &laid.batch, true)?;
        self.judge(
            &losses,
            reference.as_deref(),
            &laid.completion,
            totals,
            tally,
        );
        Ok(())
    }

    fn lay(&self, pairs: &[&Pair]) -> Result<Laid> {
        let (mut samples, mut completion, mut supervised) = (Vec::new(), Vec::new(), 0);
        let chosen = pairs.iter().map(|pair| (&pair.chosen, self.orpo));
        let rejected = pairs.iter().map(|pair| (&pair.rejected, false));
        for (sample, whole) in chosen.chain(rejected) {
            let labelled = |label: &i64| *label != IGNORED;
            supervised += sample.supervised_tokens();
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
            supervised,
        })
    }

    /// Losses of the reference, for DPO.
    fn reference_losses(&self, decoder: &Decoder, batch: &Batch) -> Result<Option<Vec<f32>>> {
        if self.orpo {
            return Ok(None);
        }
        let Some(reference) = &self.reference else {
            return losses(decoder, batch, false).map(Some);
        };
        // One set of weights: the adapter as it began takes the place of the adapter for one forward.
        let trainable = decoder.trainable();
        let current = trainable
            .iter()
            .map(|parameter| Ok(ops::copy(&parameter.value)?))
            .collect::<Result<Vec<_>>>()?;
        for (parameter, value) in trainable.iter().zip(reference) {
            overwrite(&parameter.value, value)?;
        }
        let found = losses(decoder, batch, true);
        for (parameter, value) in trainable.iter().zip(&current) {
            overwrite(&parameter.value, value)?;
        }
        found.map(Some)
    }

    /// The figures of some pairs from the losses of their tokens, and the derivative of the step's loss by each of
    /// those losses.
    fn judge(
        &self,
        losses: &[f32],
        reference: Option<&[f32]>,
        completion: &[Vec<bool>],
        totals: Totals,
        tally: &mut Tally,
    ) -> Vec<f32> {
        let pairs = completion.len() / 2;
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
                tally.nll += nll / totals.chosen_tokens as f64;
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
            tally.pairs += 1.0;
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

fn losses(decoder: &Decoder, batch: &Batch, adapter: bool) -> Result<Vec<f32>> {
    let tokens = decoder.token_losses(batch, adapter)?;
    Ok(tokens.iter().map(|token| token.loss).collect())
}

fn overwrite(value: &Tensor, with: &Tensor) -> Result<()> {
    let flat = (1, value.elem_count());
    Ok(ops::assign(&value.reshape(flat)?, &with.reshape(flat)?)?)
}

/// log(1 + e^x).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::DType;
    use domain::DataConfig;

    use super::*;
    use crate::data::load_pairs;
    use crate::lora::read_adapter;
    use crate::model::{Loading, Weights};

    /// The first step of TRL's trainers from adapter_init: DPO against the bare base, and ORPO.
    #[test]
    fn loss_rewards_and_every_gradient_are_those_of_trl() {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
        let folder = goldens.join("preference");
        let golden: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
        let data = DataConfig {
            path: Some(folder.join("rows.jsonl").display().to_string()),
            ..DataConfig::default()
        };
        let (pairs, _) = load_pairs(&data, &folder.join("tokenizer"), 0).unwrap();
        assert_eq!(pairs.len(), 4);
        for (method, name, first) in [
            (Method::Dpo, "dpo", "dpo_base_reference"),
            (Method::Orpo, "orpo", "orpo_first"),
        ] {
            let mut decoder = Decoder::load(
                &goldens.join("qwen2/model"),
                Loading {
                    dtype: DType::F32,
                    trainable: false,
                    random: None,
                    quantize: None,
                },
            )
            .unwrap();
            read_adapter(&mut decoder, &folder.join("adapter_init"), true).unwrap();
            let train = TrainConfig {
                method,
                beta: 0.3,
                ..TrainConfig::default()
            };
            let preference = Preference::of_run(&train, None).unwrap();
            let totals = Totals::of(pairs.iter());
            let mut tally = Tally::default();
            // In two micro-batches: the step's loss does not depend on how its pairs are spread.
            for half in pairs.chunks(2) {
                let half: Vec<&Pair> = half.iter().collect();
                preference
                    .gradient(&decoder, &half, totals, 0, &mut tally)
                    .unwrap();
            }
            let (loss, metrics) = tally.finish();
            let expected = &golden[first];
            let near = |got: f64, expected: f64, what: &str| {
                assert!(
                    (got - expected).abs() < 2e-5 * expected.abs().max(0.05),
                    "{name} {what}: {got}, expected {expected}"
                );
            };
            near(loss, expected["loss"].as_f64().unwrap(), "loss");
            for (key, value) in &metrics {
                near(*value, expected[key].as_f64().unwrap(), key);
            }
            assert_eq!(metrics.len(), if method == Method::Orpo { 9 } else { 6 });
            let mut weights = Weights::open(&[folder.join("gradients.safetensors")]).unwrap();
            for parameter in decoder.trainable() {
                let key = format!("{name}.{}", parameter.name);
                let expected = weights
                    .take(&key, parameter.value.dims(), DType::F32)
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .to_vec1::<f32>()
                    .unwrap();
                let grad = parameter.grad.as_ref().unwrap().flatten_all().unwrap();
                let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
                assert!(size > 0.0, "{key}");
                for (got, expected) in grad.to_vec1::<f32>().unwrap().iter().zip(&expected) {
                    assert!(
                        (got - expected).abs() < 1e-4 * size,
                        "{key}: {got} {expected}"
                    );
                }
            }
        }
    }
}
