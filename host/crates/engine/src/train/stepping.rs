//! One optimizer step: its batches' gradients, together with the other processes', and the update.

use std::collections::BTreeMap;
use std::time::Instant;

use domain::RunEvent;

use super::compute::too_small;
use super::feed::Drawn;
use super::preference::Totals;
use super::setup::log;
use super::together;
use super::trainer::Trainer;
use crate::data::{Pair, Sample};
use crate::model::{Batch, Parameter, Work};
use crate::optim::clip_factor;
use crate::{Error, Result, StopFlag, ops};

/// What one optimizer step found.
pub(super) struct Found {
    pub(super) loss: f64,
    pub(super) supervised: usize,
    pub(super) tokens: usize,
    /// Of this process's part.
    pub(super) operations: f64,
    /// Of the gradient, where it is known already: the processes of a group add up theirs first.
    pub(super) norm: Option<f64>,
    pub(super) metrics: BTreeMap<String, f64>,
}

impl Trainer<'_> {
    /// One optimizer step at the schedule's rate; false when the stop flag was raised in the middle, and nothing was changed.
    pub(super) fn step(&mut self, stop: &StopFlag, emit: &mut dyn FnMut(RunEvent)) -> Result<bool> {
        self.step_at(self.schedule.rate(self.state.step), stop, emit)
    }

    /// One optimizer step at a rate of the caller's.
    pub(super) fn step_at(
        &mut self,
        rate: f64,
        stop: &StopFlag,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<bool> {
        let begun = Instant::now();
        let index = self.state.step;
        let mut drawn = self.feed.step(index, &mut self.setup.train)?;
        let found = loop {
            self.compute.zero(&self.setup.decoder.trainable())?;
            match self.gradient(index, &drawn, stop) {
                Err(error @ Error::DeviceMemory(_)) => {
                    let Some(how) = self.take_less(&mut drawn.micro_batches) else {
                        return Err(too_small(error));
                    };
                    log(emit, format!("{error}; {how}, and the step begins anew"));
                }
                found => break found?,
            }
        };
        let Some(mut found) = together::sum(&*self.group, found)? else {
            return Ok(false);
        };
        let trainable = self.setup.decoder.trainable();
        self.compute.sum_gradients(&trainable, &*self.group)?;
        let norm = match found.norm {
            Some(norm) => norm,
            None => self.norm(&trainable)?,
        };
        if !norm.is_finite() {
            return Err(self.not_finite("gradient", index + 1, &drawn.all));
        }
        let clip = clip_factor(norm, self.config.train.max_grad_norm);
        self.compute
            .update(&mut self.optimizer, &trainable, rate, clip)?;
        self.state.step = index + 1;
        self.state.epoch = drawn.epoch;
        self.state.first_loss = self.state.first_loss.or(Some(found.loss));
        self.state.loss = Some(found.loss);
        self.state.learning_rate = rate;
        let seconds = begun.elapsed().as_secs_f64().max(1e-9);
        self.compute
            .figures(found.operations, seconds, &mut found.metrics)?;
        emit(RunEvent::Step {
            step: index + 1,
            epoch: drawn.epoch,
            loss: found.loss,
            learning_rate: rate,
            grad_norm: norm,
            supervised_tokens: found.supervised as u64,
            tokens_per_second: found.tokens as f64 / seconds,
            process_rank: (self.group.size() > 1).then_some(self.group.rank() as u64),
            metrics: found.metrics,
        });
        Ok(true)
    }

    /// Norm of the gradient that all processes have added up: process 0's, so that all clip alike on whatever machine.
    fn norm(&self, trainable: &[&Parameter]) -> Result<f64> {
        let mut norm = [0.0];
        if self.group.rank() == 0 {
            let losses = self.compute.losses(0)?;
            let measured = self.compute.measured(losses, Some(trainable))?;
            norm = [measured.norm.unwrap_or(f64::NAN)];
        }
        self.group.sum(&mut norm)?;
        Ok(norm[0])
    }

    /// This process's part of a step's loss and gradient; `None` when the stop flag was raised.
    fn gradient(&self, index: u64, drawn: &Drawn, stop: &StopFlag) -> Result<Option<Found>> {
        let setup = &self.setup;
        let micro_batches = &drawn.micro_batches;
        // Each process drops out other activations.
        let first = (self.group.rank() as u64) << 32;
        let draw =
            |micro: usize| ops::seed_of(&[self.config.train.seed, index, first + micro as u64]);
        if let Some(preference) = &setup.preference {
            let pairs = |indices: &[usize]| -> Vec<&Pair> {
                indices.iter().map(|&i| &setup.pairs[i]).collect()
            };
            let totals = Totals::of(pairs(&drawn.all).into_iter());
            let mut tally = preference.tally(totals);
            for (micro, indices) in micro_batches.iter().enumerate() {
                if stop.is_stopped() {
                    return Ok(None);
                }
                let (on, pairs) = ((&self.compute, &setup.decoder), pairs(indices));
                preference.gradient(on, &pairs, draw(micro), &mut tally)?;
                if !tally.is_finite() {
                    return Err(self.not_finite("loss", index + 1, indices));
                }
            }
            let tokens = tally.tokens;
            let operations = preference.operations(&setup.decoder, pairs(&micro_batches.concat()));
            let (loss, metrics) = tally.finish();
            return Ok(Some(Found {
                loss,
                supervised: totals.supervised,
                tokens,
                operations,
                norm: None,
                metrics,
            }));
        }
        let samples = |indices: &[usize]| -> Vec<&Sample> {
            indices.iter().map(|&i| &setup.train[i]).collect()
        };
        let all = samples(&drawn.all);
        let supervised: usize = all.iter().map(|sample| sample.supervised_tokens()).sum();
        let own = samples(&micro_batches.concat());
        let operations = setup.decoder.operations(Work::of(
            own.iter().map(|sample| sample.input_ids.len()),
            own.iter().map(|sample| sample.supervised_tokens()).sum(),
        ));
        let mut losses = self.compute.losses(micro_batches.len())?;
        let mut tokens = 0usize;
        for (micro, indices) in micro_batches.iter().enumerate() {
            if stop.is_stopped() {
                return Ok(None);
            }
            let batch = Batch::new(samples(indices))?;
            let scale = 1.0 / supervised as f32;
            let (decoder, draw) = (&setup.decoder, draw(micro));
            self.compute
                .loss_and_gradient(decoder, &batch, scale, draw, &mut losses)?;
            tokens += batch.tokens;
        }
        let trainable = setup.decoder.trainable();
        let alone = (self.group.size() == 1).then_some(&*trainable);
        let measured = self.compute.measured(losses, alone)?;
        let mut loss = 0f64;
        for (one, indices) in measured.losses.iter().zip(micro_batches) {
            loss += one;
            if !loss.is_finite() {
                return Err(self.not_finite("loss", index + 1, indices));
            }
        }
        Ok(Some(Found {
            loss: loss / supervised as f64,
            supervised,
            tokens,
            operations,
            norm: measured.norm,
            metrics: BTreeMap::new(),
        }))
    }

    /// Makes a step that did not fit into a device's memory smaller, its loss unchanged: by the layers that are kept at a
    /// time, then by halves of the micro-batches. Says how, or `None` where nothing is left to halve.
    fn take_less(&mut self, micro_batches: &mut Vec<Vec<usize>>) -> Option<String> {
        if let Some(how) = self.compute.keep_less(&self.setup.decoder) {
            return Some(how);
        }
        let most = micro_batches.iter().map(Vec::len).max().unwrap_or(0);
        if most < 2 {
            return None;
        }
        let halves = micro_batches
            .iter()
            .flat_map(|batch| batch.chunks(most.div_ceil(2)));
        *micro_batches = halves.map(<[usize]>::to_vec).collect();
        let half = most.div_ceil(2);
        Some(format!("its micro-batches are halved to {half} sequences"))
    }

    fn not_finite(&self, what: &'static str, step: u64, samples: &[usize]) -> Error {
        let samples: Vec<String> = samples.iter().map(ToString::to_string).collect();
        Error::NonFiniteLoss {
            what,
            step,
            batch: format!(
                "samples {} of the training data, counted from 0",
                samples.join(", ")
            ),
            kept: self.kept(),
        }
    }
}
