use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use candle_core::DType;
use domain::{CurationSummary, FieldErrors, FinishReason, Method, Optim, RunConfig, RunEvent};
use sha2::{Digest, Sha256};

use super::check::check_device;
use super::checkpoint::{self, Cursor, State};
use super::compute::Compute;
use super::feed::{Drawn, Feed};
use super::preference::{Tally, Totals};
use super::scoring::{Questions, ScoreTexts};
use super::setup::{Setup, log, set_up};
use super::{Report, StopFlag, TrainOptions, check_config};
use crate::data::{Pair, Sample};
use crate::distributed::{self, Collective};
use crate::estimate::{Lengths, Plan, Shape, plan};
use crate::model::{Batch, Stored};
use crate::optim::{Optimizer, Schedule, clip_factor};
use crate::{Error, Result, ops};

pub(super) struct Trainer<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) output: PathBuf,
    pub(super) setup: Setup,
    feed: Feed,
    schedule: Schedule,
    pub(super) optimizer: Optimizer,
    pub(super) compute: Compute,
    pub(super) state: State,
    /// Step of the newest checkpoint.
    pub(super) saved: Option<u64>,
    pub(super) save_pause: std::time::Duration,
    pub(super) curation: Option<CurationSummary>,
    pub(super) scorer: Option<Arc<dyn ScoreTexts>>,
    /// What the scorer is shown answers to.
    pub(super) questions: Option<Questions>,
    /// The processes that train together.
    pub(super) group: Arc<dyn Collective>,
}

/// What one optimizer step found.
struct Found {
    loss: f64,
    supervised: usize,
    tokens: usize,
    /// Of this process's part.
    operations: f64,
    metrics: BTreeMap<String, f64>,
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
    check_device(config)?;
    if let Some(world) = &options.world {
        check_world(config, world)?;
    }
    let group = distributed::join(options.world.as_ref(), stop)?;
    let result = run_in(group.clone(), config, options, stop, emit);
    if let Err(error) = &result {
        group.fail(&error.to_string());
    }
    result
}

/// The run of one of the processes that train together.
fn run_in(
    group: Arc<dyn Collective>,
    config: &RunConfig,
    options: &TrainOptions,
    stop: &StopFlag,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Report> {
    // Options are done or refused: a caller that knows no plugins must not train as if there were none.
    if config.is_curated() && options.curation.is_none() {
        let message = "name curators, but the data has not been through them";
        return Err(FieldErrors::one("plugins", message).into());
    }
    if config.is_scored() && options.scorer.is_none() {
        let message = "name scorers, but nobody has brought them";
        return Err(FieldErrors::one("plugins", message).into());
    }
    let output = PathBuf::from(&config.train.output);
    std::fs::create_dir_all(&output).map_err(Error::io("create", &output))?;
    let plan = arrange(config)?;
    let arranged = plan.as_ref().map(|plan| plan.apply(config));
    let config = arranged.as_ref().unwrap_or(config);
    let mut trainer = start(group, config, options, output, emit)?;
    if let Some(plan) = plan {
        trainer.setup.decoder.segment = plan.estimate.segment;
        trainer.compute.set_segment(plan.estimate.segment);
        log(emit, plan.sentence());
    } else if trainer.setup.preference.is_none() {
        let (setup, compute) = (&trainer.setup, &mut trainer.compute);
        let shape = || Shape::of_samples(config, &setup.train, &setup.eval);
        let chosen = compute.fit(&setup.decoder, shape)?;
        chosen.into_iter().for_each(|how| log(emit, how));
    }
    let reason = trainer.steps(stop, emit)?;
    trainer.finish(reason, emit)
}

/// Chooses how a run stays under its limit, by the data that it will train on; `None` where it has no limit.
pub(super) fn arrange(config: &RunConfig) -> Result<Option<Plan>> {
    if config.model.memory_limit.is_none() {
        return Ok(None);
    }
    plan(config, &Lengths::of_run(config)?).map(Some)
}

/// Sets a run up. What there is to log about that comes after `started`, which opens a run, or before the error.
fn start<'a>(
    group: Arc<dyn Collective>,
    config: &'a RunConfig,
    options: &TrainOptions,
    output: PathBuf,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Trainer<'a>> {
    let mut held = Vec::new();
    let mut started = None;
    let trainer = Trainer::start(group, config, options, output, &mut |event| match event {
        RunEvent::Started { .. } => started = Some(event),
        other => held.push(other),
    });
    started.into_iter().chain(held).for_each(emit);
    trainer
}

impl<'a> Trainer<'a> {
    fn start(
        group: Arc<dyn Collective>,
        config: &'a RunConfig,
        options: &TrainOptions,
        output: PathBuf,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<Self> {
        let (found, skipped) = match options.resume {
            true => checkpoint::last_good(&output)?,
            false => (None, Vec::new()),
        };
        let all_whole = skipped.is_empty();
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
        let saves = group.rank() == 0;
        if saves {
            checkpoint::remove_leftovers(&output)?;
        }
        // A kill between a save and this left one too many. Not beside a damaged one, which counts as a checkpoint too.
        if let Some(checkpoint) = found.as_ref().filter(|_| all_whole && saves) {
            let limit = config.train.save_total_limit;
            checkpoint::remove_oldest(&output, limit, checkpoint.state.best_step)?;
        }
        Self::prepare(group, config, options, output, found, emit)
    }

    /// Loads what a run needs, and goes on from a checkpoint where one is given. An empty `output` stands for none.
    pub(super) fn prepare(
        group: Arc<dyn Collective>,
        config: &'a RunConfig,
        options: &TrainOptions,
        output: PathBuf,
        found: Option<checkpoint::Checkpoint>,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<Self> {
        let mut setup = set_up(config, found.as_ref(), emit)?;
        let mut feed = Feed::new(config, &setup.lengths(), setup.stream.take(), group.clone());
        let total_steps = feed.total_steps(config);
        let cursor = Cursor {
            method: match config.train.method {
                Method::Lora => "lora",
                Method::Full => "full",
                Method::Dpo => "dpo",
                Method::Orpo => "orpo",
            }
            .into(),
            optim: match config.train.optim {
                Optim::Adamw => "adamw",
                Optim::Lion => "lion",
                Optim::Sgd => "sgd",
                Optim::Adafactor => "adafactor",
            }
            .into(),
            seed: config.train.seed,
            shuffle: config.data.shuffle,
            batch_size: config.train.batch_size,
            gradient_accumulation_steps: config.train.gradient_accumulation_steps,
            samples: setup.examples(),
            data_sha256: setup.data_digest.clone(),
        };
        let (optimizer, state) = match &found {
            Some(checkpoint) => {
                checkpoint.check(&cursor)?;
                feed.seek(checkpoint.state.step, emit)?;
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
                if group.rank() == 0 {
                    move_aside(&output, emit)?;
                }
                let state = State {
                    run: options.run.clone(),
                    step: 0,
                    total_steps,
                    epoch: 0.0,
                    learning_rate: 0.0,
                    loss: None,
                    first_loss: None,
                    best_eval_loss: None,
                    best_eval_loss_bits: None,
                    best_step: None,
                    eval_loss: None,
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
            supervised_tokens_per_epoch: setup.supervised_tokens(),
            total_steps,
        });
        let questions = match options.scorer {
            Some(_) => Some(Questions::of(config, &setup)?),
            None => None,
        };
        let local_rank = options.world.as_ref().map(|world| world.local_rank);
        let compute = Compute::of_run(config, &setup.decoder, &optimizer, local_rank, emit)?;
        if group.size() > 1 {
            distributed::agree(
                &*group,
                &fingerprint(&setup, &state)?,
                "model, data or checkpoint",
            )?;
            compute.join(&*group, emit)?;
        }
        Ok(Self {
            compute,
            schedule: Schedule::new(&config.train, total_steps),
            saved: found.map(|checkpoint| checkpoint.state.step),
            config,
            output,
            setup,
            feed,
            optimizer,
            state,
            save_pause: options.save_pause,
            curation: options.curation.clone(),
            scorer: options.scorer.clone(),
            questions,
            group,
        })
    }

    /// Steps until something ends the run.
    fn steps(&mut self, stop: &StopFlag, emit: &mut dyn FnMut(RunEvent)) -> Result<FinishReason> {
        let train = &self.config.train;
        if train.eval_steps > 0 && self.state.step == 0 {
            self.evaluate(stop, emit)?;
        }
        let patience = train.early_stopping_patience;
        while self.state.step < self.state.total_steps {
            // Here rather than behind the evaluation: a run may go on from a checkpoint that had run out of patience.
            if patience > 0 && self.state.evals_without_gain >= patience {
                return Ok(FinishReason::EarlyStop);
            }
            // Several processes stop within a step, which they then drop together.
            let alone = self.group.size() == 1;
            if (alone && stop.is_stopped()) || !self.step(stop, emit)? {
                return Ok(FinishReason::Stopped);
            }
            let step = self.state.step;
            let last = step == self.state.total_steps;
            let evaluated = train.eval_steps > 0 && step.is_multiple_of(train.eval_steps);
            if evaluated || last {
                self.evaluate(stop, emit)?;
            }
            let best = train.load_best_model_at_end && self.state.best_step == Some(step);
            let due = train.save_steps > 0 && step.is_multiple_of(train.save_steps);
            if (best || due) && !last {
                self.save(emit)?;
            }
        }
        Ok(if train.max_steps > 0 {
            FinishReason::MaxSteps
        } else {
            FinishReason::Completed
        })
    }

    /// One optimizer step at the schedule's rate; false when the stop flag was raised in the middle, and nothing was changed.
    fn step(&mut self, stop: &StopFlag, emit: &mut dyn FnMut(RunEvent)) -> Result<bool> {
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
                        return Err(error);
                    };
                    log(emit, format!("{error}; {how}, and the step begins anew"));
                }
                found => break found?,
            }
        };
        let Some(mut found) = self.together(found)? else {
            return Ok(false);
        };
        let trainable = self.setup.decoder.trainable();
        self.compute.sum_gradients(&trainable, &*self.group)?;
        // Process 0's, so that all clip alike on whatever machine.
        let mut norm = [match self.group.rank() {
            0 => self.compute.gradient_norm(&trainable)?,
            _ => 0.0,
        }];
        self.group.sum(&mut norm)?;
        let [norm] = norm;
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

    /// What all processes found in a step; `None` where one of them was stopped.
    fn together(&self, mine: Option<Found>) -> Result<Option<Found>> {
        let (loss, tokens) = mine
            .as_ref()
            .map_or((0.0, 0.0), |found| (found.loss, found.tokens as f64));
        let mut sums = [f64::from(u8::from(mine.is_none())), loss, tokens];
        self.group.sum(&mut sums)?;
        let [stopped, loss, tokens] = sums;
        Ok(mine.filter(|_| stopped == 0.0).map(|mine| Found {
            loss,
            tokens: tokens as usize,
            ..mine
        }))
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
            let mut tally = Tally::default();
            for (micro, indices) in micro_batches.iter().enumerate() {
                if stop.is_stopped() {
                    return Ok(None);
                }
                let draw = draw(micro);
                preference.gradient(&setup.decoder, &pairs(indices), totals, draw, &mut tally)?;
                if !tally.is_finite() {
                    return Err(self.not_finite("loss", index + 1, indices));
                }
            }
            let (supervised, tokens) = (tally.supervised, tally.tokens);
            let (loss, metrics) = tally.finish();
            return Ok(Some(Found {
                loss,
                supervised,
                tokens,
                operations: 0.0,
                metrics,
            }));
        }
        let samples = |indices: &[usize]| -> Vec<&Sample> {
            indices.iter().map(|&i| &setup.train[i]).collect()
        };
        let all = samples(&drawn.all);
        let supervised: usize = all.iter().map(|sample| sample.supervised_tokens()).sum();
        let own = samples(&micro_batches.concat());
        let adapter = setup.decoder.trainable().iter().map(|one| one.len()).sum();
        let operations = setup.decoder.description.operations(
            own.iter().map(|sample| sample.input_ids.len()),
            own.iter().map(|sample| sample.supervised_tokens()).sum(),
            adapter,
        );
        let (mut loss, mut tokens) = (0f64, 0usize);
        for (micro, indices) in micro_batches.iter().enumerate() {
            if stop.is_stopped() {
                return Ok(None);
            }
            let batch = Batch::new(samples(indices))?;
            let scale = 1.0 / supervised as f32;
            loss += self
                .compute
                .loss_and_gradient(&setup.decoder, &batch, scale, draw(micro))?;
            if !loss.is_finite() {
                return Err(self.not_finite("loss", index + 1, indices));
            }
            tokens += batch.tokens;
        }
        Ok(Some(Found {
            loss: loss / supervised as f64,
            supervised,
            tokens,
            operations,
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

    /// Which checkpoint is good, as half a sentence.
    pub(super) fn kept(&self) -> String {
        match self.saved {
            Some(step) => format!("checkpoint-{step} is kept"),
            None => "no checkpoint had been written".into(),
        }
    }
}

/// Refuses what several processes cannot do, and numbers that fit no world.
fn check_world(config: &RunConfig, world: &distributed::World) -> Result<()> {
    let train = &config.train;
    let rows = u64::from(train.batch_size) * u64::from(train.gradient_accumulation_steps);
    if world.rank >= world.size {
        let (rank, size) = (world.rank, world.size);
        return Err(Error::Input(format!(
            "RANK={rank} with WORLD_SIZE={size}: ranks go from 0 to one less than their number"
        )));
    }
    if world.size > 1 && matches!(train.method, Method::Dpo | Method::Orpo) {
        let message = "dpo and orpo are not done by several processes; start one";
        return Err(FieldErrors::one("train.method", message).into());
    }
    if rows < world.size as u64 {
        let message = format!(
            "times gradient_accumulation_steps makes {rows} sequences a step, which cannot be shared out among {} processes; \
             raise one of the two",
            world.size
        );
        return Err(FieldErrors::one("train.batch_size", message).into());
    }
    Ok(())
}

/// What must be the same at the start in all processes of a run: data, settings of the order, step, and what trains.
fn fingerprint(setup: &Setup, state: &State) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(&state.cursor).unwrap_or_default());
    for number in [state.step, state.total_steps] {
        hasher.update(number.to_le_bytes());
    }
    for parameter in setup.decoder.trainable() {
        hasher.update(parameter.name.as_bytes());
        let values = parameter.value.flatten_all()?.to_dtype(DType::F32)?;
        for value in values.to_vec1::<f32>()? {
            hasher.update(value.to_le_bytes());
        }
    }
    Ok(crate::files::hex(&hasher.finalize()))
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
