use domain::RunEvent;
use serde_json::{Map, Value};

use super::compute::too_small;
use super::preference::Totals;
use super::setup::log;
use super::together;
use super::trainer::Trainer;
use crate::data::{Pair, Sample};
use crate::evaluate::Matches;
use crate::model::Batch;
use crate::{Error, Result, StopFlag};

impl Trainer<'_> {
    /// Measures the held-out data, where there is any: its loss, and as scores what the method has beside that and what
    /// the run's scorers say of the answers to held-out prompts.
    pub(super) fn evaluate(
        &mut self,
        stop: &StopFlag,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<()> {
        let (eval_loss, mut scores) = match &self.setup.preference {
            Some(_) if self.setup.eval_pairs.is_empty() => return Ok(()),
            Some(_) => self.evaluate_pairs(emit)?,
            None if self.setup.eval.is_empty() => return Ok(()),
            None => self.evaluate_samples(emit)?,
        };
        let state = &mut self.state;
        if !eval_loss.is_finite() {
            return Err(Error::NonFiniteLoss {
                what: "evaluation loss",
                step: state.step,
                batch: "on the held-out data".into(),
                kept: self.kept(),
            });
        }
        state.eval_loss = Some(eval_loss);
        // As Transformers' EarlyStoppingCallback: the best is the best, but patience needs more than the threshold.
        let threshold = self.config.train.early_stopping_threshold;
        let best = state.best_eval_loss;
        // The evaluation before the first step has no checkpoint to go back to.
        if state.step > 0 {
            if best.is_none_or(|best| eval_loss < best && best - eval_loss > threshold) {
                state.evals_without_gain = 0;
            } else {
                state.evals_without_gain += 1;
            }
            if best.is_none_or(|best| eval_loss < best) {
                state.best_eval_loss = Some(eval_loss);
                state.best_eval_loss_bits = Some(eval_loss.to_bits());
                state.best_step = Some(state.step);
            }
        }
        if let (Some(questions), Some(scorer)) = (&self.questions, &self.scorer)
            && self.group.rank() == 0
        {
            let decoder = &self.setup.decoder;
            let written = match self.compute.answers(decoder, questions, stop) {
                // What training leaves of a device's memory can be too little for keys and values.
                Err(error @ Error::DeviceMemory(_)) => {
                    log(emit, format!("{error}; the CPU writes the answers"));
                    // Between saves a device leaves the processor's adapter behind.
                    self.compute
                        .pull(&mut self.optimizer, &decoder.trainable())?;
                    questions.answered(decoder, stop)?
                }
                written => written?,
            };
            if let Some(written) = written {
                questions.score(written, &**scorer, &mut scores, emit);
            }
        }
        emit(RunEvent::Eval {
            step: self.state.step,
            eval_loss,
            scores,
        });
        Ok(())
    }

    /// Does `f` with this process's batches of held-out data; with parts of them where a device has no memory for a whole one.
    fn in_batches<T>(
        &self,
        all: &[T],
        emit: &mut dyn FnMut(RunEvent),
        f: &mut dyn FnMut(&[T]) -> Result<()>,
    ) -> Result<()> {
        let mut at_once = self.config.train.batch_size as usize;
        // Processes take batches in turn.
        let (first, every) = (self.group.rank(), self.group.size());
        for mut left in all.chunks(at_once).skip(first).step_by(every) {
            while !left.is_empty() {
                let (some, later) = left.split_at(left.len().min(at_once));
                match f(some) {
                    Ok(()) => left = later,
                    Err(error @ Error::DeviceMemory(_)) if some.len() > 1 => {
                        at_once = some.len().div_ceil(2);
                        log(
                            emit,
                            format!("{error}; evaluations take {at_once} of a batch at a time"),
                        );
                    }
                    Err(error) => return Err(too_small(error)),
                }
            }
        }
        Ok(())
    }

    /// Mean token loss.
    fn evaluate_samples(
        &self,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<(f64, Map<String, Value>)> {
        let (mut loss, mut tokens) = (0f64, 0usize);
        let mut matches = Matches::new(&self.setup.tokenizer_folder);
        self.in_batches(&self.setup.eval, emit, &mut |samples| {
            let batch = Batch::new(samples)?;
            let losses = self
                .compute
                .token_losses(&self.setup.decoder, &batch, true)?;
            loss += losses
                .iter()
                .map(|token| f64::from(token.loss))
                .sum::<f64>();
            tokens += batch.supervised;
            let samples: Vec<&Sample> = samples.iter().collect();
            matches.add(&samples, &losses);
            Ok(())
        })?;
        let [completions, middles] = matches.counts_mut();
        let mut sums = [
            loss,
            tokens as f64,
            completions.0 as f64,
            completions.1 as f64,
            middles.0 as f64,
            middles.1 as f64,
        ];
        self.group.sum(&mut sums)?;
        let loss = sums[0] / sums[1].max(1.0);
        *completions = (sums[2] as usize, sums[3] as usize);
        *middles = (sums[4] as usize, sums[5] as usize);
        let mut scores = Map::new();
        let figures = [
            ("perplexity", Some(loss.exp())),
            ("exact_match", matches.exact_match()),
            ("fim_exact_match", matches.fim_exact_match()),
        ];
        for (name, value) in figures {
            // A perplexity can be too large for a number; JSON then goes without it.
            if let Some(value) = value.and_then(serde_json::Number::from_f64) {
                scores.insert(name.into(), Value::Number(value));
            }
        }
        Ok((loss, scores))
    }

    /// Mean loss over the pairs.
    fn evaluate_pairs(&self, emit: &mut dyn FnMut(RunEvent)) -> Result<(f64, Map<String, Value>)> {
        let setup = &self.setup;
        let Some(preference) = &setup.preference else {
            return Ok((0.0, Map::new()));
        };
        let totals = Totals::of(setup.eval_pairs.iter());
        let mut tally = preference.tally(totals);
        self.in_batches(&setup.eval_pairs, emit, &mut |pairs| {
            let pairs: Vec<&Pair> = pairs.iter().collect();
            preference.measure((&self.compute, &setup.decoder), &pairs, &mut tally)
        })?;
        let (mut loss, mut metrics) = tally.finish();
        let parts = std::iter::once(&mut loss).chain(metrics.values_mut());
        together::sum_each(&*self.group, parts)?;
        let scores = metrics
            .into_iter()
            .map(|(name, value)| (format!("eval_{name}"), Value::from(value)));
        Ok((loss, scores.collect()))
    }
}
