use std::path::PathBuf;
use std::sync::Arc;

use domain::{CurationSummary, FieldErrors, FinishReason, IntervalStrategy, RunConfig, RunEvent};

use super::check::check_device;
use super::checkpoint::State;
use super::compute::{Chosen, Compute};
use super::feed::Feed;
use super::scoring::{Questions, ScoreTexts};
use super::setup::{Setup, log};
use super::starting::With;
use super::{Report, TrainOptions, check_config, together};
use crate::distributed::{self, Collective};
use crate::estimate::{Lengths, Place, Plan, Shape, plan};
use crate::optim::{Optimizer, Schedule};
use crate::{Error, Result, StopFlag};

/// A run: what it has loaded, and where it stands. `starting` brings it there, `stepping` goes on by a step.
pub(super) struct Trainer<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) output: PathBuf,
    pub(super) setup: Setup,
    pub(super) feed: Feed,
    pub(super) schedule: Schedule,
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
        together::check_world(config, world)?;
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
    let local_rank = options.world.as_ref().map(|world| world.local_rank);
    let chosen = Chosen::of_run(config, local_rank)?;
    let plan = arrange(config, chosen.place)?;
    let arranged = plan.as_ref().map(|plan| plan.apply(config));
    let config = arranged.as_ref().unwrap_or(config);
    let with = With { group, chosen };
    let mut trainer = Trainer::begin(with, config, options, output, emit)?;
    trainer.keep_layers(plan, emit)?;
    let reason = trainer.steps(stop, emit)?;
    trainer.finish(reason, emit)
}

/// Chooses how a run stays under its limit, by the data that it will train on; `None` where it has no limit.
pub(super) fn arrange(config: &RunConfig, place: Place) -> Result<Option<Plan>> {
    if config.model.memory_limit.is_none() {
        return Ok(None);
    }
    plan(config, &Lengths::of_run(config)?, place).map(Some)
}

impl Trainer<'_> {
    /// Has as many layers' activations kept at a time as was planned, and on a device no more than its memory is expected to
    /// hold.
    ///
    /// # Errors
    /// The run was planned for a device that it did not fit on, and is too large for the processor as it was planned.
    pub(super) fn keep_layers(
        &mut self,
        plan: Option<Plan>,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<()> {
        let plan = match plan {
            Some(plan) if self.compute.is_cpu() && plan.place != Place::Processor => {
                Some(self.planned_here()?)
            }
            plan => plan,
        };
        let planned = plan.map_or(0, |plan| plan.estimate.segment);
        self.setup.decoder.segment = planned;
        plan.iter().for_each(|plan| log(emit, plan.sentence()));
        let (config, setup) = (self.config, &self.setup);
        let shape = || match &setup.preference {
            Some(_) => Shape::of_pairs(config, &setup.pairs, &setup.eval_pairs),
            None => Shape::of_samples(config, &setup.train, &setup.eval),
        };
        let limit = plan.and_then(|plan| plan.limit);
        let fewer = self.compute.fit(&setup.decoder, limit, planned, shape)?;
        fewer.into_iter().for_each(|how| log(emit, how));
        Ok(())
    }

    /// A plan for the processor with the micro-batches of another.
    fn planned_here(&self) -> Result<Plan> {
        let batch = self.config.train.batch_size;
        let here = plan(
            self.config,
            &Lengths::of_run(self.config)?,
            Place::Processor,
        )?;
        if here.estimate.batch_size == batch {
            return Ok(here);
        }
        let message = "is too small for this run on the CPU, which the GPU has no memory for: set model.device to cpu, and the \
                       micro-batches are chosen for that";
        Err(FieldErrors::one("model.memory_limit", message).into())
    }

    /// Steps until something ends the run.
    fn steps(&mut self, stop: &StopFlag, emit: &mut dyn FnMut(RunEvent)) -> Result<FinishReason> {
        let train = &self.config.train;
        if train.evaluates_on_the_way() && self.state.step == 0 {
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
            // What ends with the run is evaluated and saved in any case; a stream would have to read on to know.
            let ends_epoch = !last && train.counts_epochs() && self.feed.ends_epoch(step)?;
            let is_due =
                |strategy: IntervalStrategy, steps| strategy.is_due(step, steps, ends_epoch);
            if is_due(train.eval_strategy, train.eval_steps) || last {
                self.evaluate(stop, emit)?;
            }
            let best = train.load_best_model_at_end && self.state.best_step == Some(step);
            if (best || is_due(train.save_strategy, train.save_steps)) && !last {
                self.save(emit)?;
            }
        }
        Ok(if train.max_steps > 0 {
            FinishReason::MaxSteps
        } else {
            FinishReason::Completed
        })
    }

    /// Which checkpoint is good, as half a sentence.
    pub(super) fn kept(&self) -> String {
        match self.saved {
            Some(step) => format!("checkpoint-{step} is kept"),
            None => "no checkpoint had been written".into(),
        }
    }
}
