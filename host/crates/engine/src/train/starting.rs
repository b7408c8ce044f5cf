//! From a config to a run that can step: loads, goes on from a checkpoint, and says how it begins.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{Method, Optim, RunConfig, RunEvent};

use super::checkpoint::{self, Checkpoint, Cursor, State};
use super::compute::{Chosen, Compute};
use super::feed::Feed;
use super::scoring::Questions;
use super::setup::{log, set_up};
use super::trainer::Trainer;
use super::{TrainOptions, together};
use crate::distributed::{self, Collective};
use crate::model::Stored;
use crate::optim::{Optimizer, Schedule};
use crate::{Error, Result};

/// What a run computes with.
pub(super) struct With {
    pub(super) group: Arc<dyn Collective>,
    pub(super) chosen: Chosen,
}

impl<'a> Trainer<'a> {
    /// Sets a run up. What there is to log about that comes after `started`, which opens a run, or before the error.
    pub(super) fn begin(
        with: With,
        config: &'a RunConfig,
        options: &TrainOptions,
        output: PathBuf,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<Self> {
        let mut held = Vec::new();
        let mut started = None;
        let trainer = Self::start(with, config, options, output, &mut |event| match event {
            RunEvent::Started { .. } => started = Some(event),
            other => held.push(other),
        });
        started.into_iter().chain(held).for_each(emit);
        trainer
    }

    fn start(
        with: With,
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
        let saves = with.group.rank() == 0;
        if saves {
            checkpoint::remove_leftovers(&output)?;
        }
        // A kill between a save and this left one too many. Not beside a damaged one, which counts as a checkpoint too.
        if let Some(checkpoint) = found.as_ref().filter(|_| all_whole && saves) {
            let limit = config.train.save_total_limit;
            checkpoint::remove_oldest(&output, limit, checkpoint.state.best_step)?;
        }
        Self::prepare(with, config, options, output, found, emit)
    }

    /// Loads what a run needs, and goes on from a checkpoint where one is given. An empty `output` stands for none.
    pub(super) fn prepare(
        With { group, chosen }: With,
        config: &'a RunConfig,
        options: &TrainOptions,
        output: PathBuf,
        found: Option<Checkpoint>,
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
                Method::Cpo => "cpo",
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
            base_sha256: setup.base.digest.clone(),
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
        let compute = Compute::of_run(config, &setup.decoder, &optimizer, chosen, emit)?;
        if group.size() > 1 {
            distributed::agree(
                &*group,
                &together::fingerprint(&setup, &state)?,
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
