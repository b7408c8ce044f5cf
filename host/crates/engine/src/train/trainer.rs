use std::path::{Path, PathBuf};
use std::time::Instant;

use domain::{FinishReason, Method, RunConfig, RunEvent};

use super::checkpoint::{self, Cursor, State};
use super::order::Order;
use super::output::write_model;
use super::setup::{Setup, dtype, log, set_up};
use super::{Report, StopFlag, TrainOptions, check_config};
use crate::data::Sample;
use crate::lora::write_adapter;
use crate::model::{Batch, Stored};
use crate::optim::{Optimizer, Schedule, clip_factor, gradient_norm};
use crate::{Error, Result, files, ops};

struct Trainer<'a> {
    config: &'a RunConfig,
    output: PathBuf,
    setup: Setup,
    order: Order,
    schedule: Schedule,
    optimizer: Optimizer,
    state: State,
    /// Step of the newest checkpoint.
    saved: Option<u64>,
    eval_loss: Option<f64>,
}

/// The whole run, on a thread of its own.
pub(super) fn run(
    config: &RunConfig,
    options: &TrainOptions,
    stop: &StopFlag,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Report> {
    config.validate()?;
    check_config(config)?;
    let output = PathBuf::from(&config.train.output);
    std::fs::create_dir_all(&output).map_err(Error::io("create", &output))?;
    let mut trainer = start(config, options, output, emit)?;
    let reason = trainer.steps(stop, emit)?;
    trainer.finish(reason, emit)
}

/// Sets a run up. What there is to log about that comes after `started`, which opens a run, or before the error.
fn start<'a>(
    config: &'a RunConfig,
    options: &TrainOptions,
    output: PathBuf,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Trainer<'a>> {
    let mut held = Vec::new();
    let mut started = None;
    let trainer = Trainer::start(config, options, output, &mut |event| match event {
        RunEvent::Started { .. } => started = Some(event),
        other => held.push(other),
    });
    started.into_iter().chain(held).for_each(emit);
    trainer
}

impl<'a> Trainer<'a> {
    fn start(
        config: &'a RunConfig,
        options: &TrainOptions,
        output: PathBuf,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<Self> {
        let (found, skipped) = match options.resume {
            true => checkpoint::last_good(&output)?,
            false => (None, Vec::new()),
        };
        for message in skipped {
            log(emit, format!("skipped a damaged checkpoint: {message}"));
        }
        match &found {
            Some(checkpoint) => log(
                emit,
                format!("going on from {}", checkpoint.folder().display()),
            ),
            None if options.resume => log(
                emit,
                "there is no checkpoint to go on from; starting anew".into(),
            ),
            None => {}
        }
        let setup = set_up(config, found.as_ref(), emit)?;
        let order = Order::new(config, setup.train.len());
        let total_steps = order.total_steps(config);
        let cursor = Cursor {
            method: if config.train.method == Method::Full {
                "full"
            } else {
                "lora"
            }
            .into(),
            seed: config.train.seed,
            shuffle: config.data.shuffle,
            batch_size: config.train.batch_size,
            gradient_accumulation_steps: config.train.gradient_accumulation_steps,
            samples: setup.train.len(),
            data_sha256: setup.data_digest.clone(),
        };
        let (optimizer, state) = match &found {
            Some(checkpoint) => {
                checkpoint.check(&cursor)?;
                let state = State {
                    total_steps,
                    ..checkpoint.state.clone()
                };
                let trainable = setup.decoder.trainable();
                (
                    Optimizer::load(config, &trainable, &checkpoint.optimizer(), state.step)?,
                    state,
                )
            }
            None => {
                move_aside(&output, emit)?;
                let state = State {
                    run: options.run.clone(),
                    step: 0,
                    total_steps,
                    epoch: 0.0,
                    learning_rate: 0.0,
                    loss: None,
                    best_eval_loss: None,
                    evals_without_gain: 0,
                    cursor,
                };
                (Optimizer::new(config, &setup.decoder.trainable())?, state)
            }
        };
        let parameters = |all: Vec<&crate::model::Parameter>| {
            all.iter().map(|parameter| parameter.len()).sum::<u64>()
        };
        emit(RunEvent::Started {
            run: options.run.clone(),
            trainable_parameters: parameters(setup.decoder.trainable()),
            all_parameters: setup.decoder.base().iter().map(Stored::len).sum::<u64>()
                + parameters(setup.decoder.adapter_parameters()),
            supervised_tokens_per_epoch: setup
                .train
                .iter()
                .map(|sample| sample.supervised_tokens() as u64)
                .sum(),
            total_steps,
        });
        Ok(Self {
            schedule: Schedule::new(&config.train, total_steps),
            saved: found.map(|checkpoint| checkpoint.state.step),
            config,
            output,
            setup,
            order,
            optimizer,
            state,
            eval_loss: None,
        })
    }

    /// Steps until something ends the run.
    fn steps(&mut self, stop: &StopFlag, emit: &mut dyn FnMut(RunEvent)) -> Result<FinishReason> {
        let train = &self.config.train;
        if train.eval_steps > 0 && self.state.step == 0 {
            self.evaluate(emit)?;
        }
        while self.state.step < self.state.total_steps {
            if stop.is_stopped() || !self.step(stop, emit)? {
                return Ok(FinishReason::Stopped);
            }
            let step = self.state.step;
            let last = step == self.state.total_steps;
            let evaluated = train.eval_steps > 0 && step.is_multiple_of(train.eval_steps);
            if evaluated {
                self.evaluate(emit)?;
            }
            if train.save_steps > 0 && step.is_multiple_of(train.save_steps) && !last {
                self.save(emit)?;
            }
            let patience = train.early_stopping_patience;
            if evaluated && patience > 0 && self.state.evals_without_gain >= patience && !last {
                return Ok(FinishReason::EarlyStop);
            }
            if last && !evaluated {
                self.evaluate(emit)?;
            }
        }
        Ok(if train.max_steps > 0 {
            FinishReason::MaxSteps
        } else {
            FinishReason::Completed
        })
    }

    /// One optimizer step; false when the stop flag was raised in the middle, and nothing was changed.
    fn step(&mut self, stop: &StopFlag, emit: &mut dyn FnMut(RunEvent)) -> Result<bool> {
        let begun = Instant::now();
        let index = self.state.step;
        let (micro_batches, epoch) = self.order.step(index);
        let samples = |indices: &[usize]| {
            indices
                .iter()
                .map(|&i| &self.setup.train[i])
                .collect::<Vec<&Sample>>()
        };
        let supervised: usize = micro_batches
            .iter()
            .flatten()
            .map(|&i| self.setup.train[i].supervised_tokens())
            .sum();
        let decoder = &self.setup.decoder;
        let trainable = decoder.trainable();
        for grad in trainable
            .iter()
            .filter_map(|parameter| parameter.grad.as_ref())
        {
            ops::zero(grad)?;
        }
        let (mut loss, mut tokens) = (0f64, 0usize);
        for (micro, indices) in micro_batches.iter().enumerate() {
            if stop.is_stopped() {
                return Ok(false);
            }
            let batch = Batch::new(samples(indices))?;
            let draw = ops::seed_of(&[self.config.train.seed, index, micro as u64]);
            loss += decoder.loss_and_gradient(&batch, 1.0 / supervised as f32, Some(draw))?;
            tokens += batch.tokens;
        }
        let loss = loss / supervised as f64;
        let norm = gradient_norm(&trainable)?;
        for (what, value) in [("loss", loss), ("gradient", norm)] {
            if !value.is_finite() {
                return Err(Error::NonFiniteLoss {
                    what,
                    step: index + 1,
                    kept: self.kept(),
                });
            }
        }
        let rate = self.schedule.rate(index);
        self.optimizer.step(
            &trainable,
            rate,
            clip_factor(norm, self.config.train.max_grad_norm),
        )?;
        self.state.step = index + 1;
        self.state.epoch = epoch;
        self.state.loss = Some(loss);
        self.state.learning_rate = rate;
        emit(RunEvent::Step {
            step: index + 1,
            epoch,
            loss,
            learning_rate: rate,
            grad_norm: norm,
            supervised_tokens: supervised as u64,
            tokens_per_second: tokens as f64 / begun.elapsed().as_secs_f64().max(1e-9),
        });
        Ok(true)
    }

    /// Mean token loss on the held-out data, where there is any.
    fn evaluate(&mut self, emit: &mut dyn FnMut(RunEvent)) -> Result<()> {
        if self.setup.eval.is_empty() {
            return Ok(());
        }
        let (mut loss, mut tokens) = (0f64, 0usize);
        for samples in self
            .setup
            .eval
            .chunks(self.config.train.batch_size as usize)
        {
            let batch = Batch::new(samples)?;
            loss += self.setup.decoder.loss(&batch, true)?;
            tokens += batch.supervised;
        }
        let eval_loss = loss / tokens.max(1) as f64;
        if !eval_loss.is_finite() {
            return Err(Error::NonFiniteLoss {
                what: "evaluation loss",
                step: self.state.step,
                kept: self.kept(),
            });
        }
        if self
            .state
            .best_eval_loss
            .is_none_or(|best| eval_loss < best)
        {
            self.state.best_eval_loss = Some(eval_loss);
            self.state.evals_without_gain = 0;
        } else {
            self.state.evals_without_gain += 1;
        }
        self.eval_loss = Some(eval_loss);
        emit(RunEvent::Eval {
            step: self.state.step,
            eval_loss,
            scores: serde_json::Map::new(),
        });
        Ok(())
    }

    fn kept(&self) -> String {
        match self.saved {
            Some(step) => format!("checkpoint-{step} is kept"),
            None => "no checkpoint had been written".into(),
        }
    }

    fn save(&mut self, emit: &mut dyn FnMut(RunEvent)) -> Result<()> {
        let step = self.state.step;
        if self.saved == Some(step) {
            return Ok(());
        }
        let limit = self.config.train.save_total_limit;
        let path = checkpoint::save(
            &self.output,
            &self.setup,
            &self.optimizer,
            &self.state,
            limit,
        )?;
        self.saved = Some(step);
        emit(RunEvent::Checkpoint { step, path });
        Ok(())
    }

    /// Saves what was learned and says how the run ended.
    fn finish(mut self, reason: FinishReason, emit: &mut dyn FnMut(RunEvent)) -> Result<Report> {
        if self.state.step > 0 {
            self.save(emit)?;
        }
        let (adapter, model) = match &self.setup.lora {
            Some(settings) => {
                let path = self.output.join("adapter");
                files::replace_folder(&path, |fresh| {
                    write_adapter(fresh, &self.setup.decoder, settings, &self.setup.base)
                })?;
                (Some(path), None)
            }
            None => {
                let path = self.output.join("model");
                let dtype = dtype(self.config.model.dtype);
                write_model(&path, &self.setup.folder, &self.setup.decoder, dtype)?;
                (None, Some(path))
            }
        };
        let steps = self.state.step;
        emit(RunEvent::Finished {
            reason,
            steps,
            adapter: adapter.clone(),
            model: model.clone(),
        });
        Ok(Report {
            reason,
            steps,
            loss: self.state.loss,
            eval_loss: self.eval_loss,
            adapter,
            model,
        })
    }
}

/// A run that starts anew must not count an earlier run's checkpoints as its own, nor remove them.
fn move_aside(output: &Path, emit: &mut dyn FnMut(RunEvent)) -> Result<()> {
    let old = checkpoint::list(output)?;
    if old.is_empty() {
        return Ok(());
    }
    let aside = (1..)
        .map(|n| output.join(format!("earlier-{n}")))
        .find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| output.join("earlier"));
    std::fs::create_dir_all(&aside).map_err(Error::io("create", &aside))?;
    for (step, path) in old {
        let to = aside.join(format!("checkpoint-{step}"));
        std::fs::rename(&path, &to).map_err(Error::io("move", &path))?;
    }
    log(
        emit,
        format!(
            "moved the checkpoints of an earlier run to {}",
            aside.display()
        ),
    );
    Ok(())
}
