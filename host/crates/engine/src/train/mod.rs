//! A run from its config to its adapter or model: [`train()`].
//!
//! `check` refuses what cannot be done before anything is read, `setup` loads model and data, `feed` hands out the
//! samples of each step, `starting` makes a run of that, `trainer` is its loop, `stepping` one step of it and `together`
//! what several processes share of one, `scoring` has held-out prompts answered, `checkpoint` makes a run survive, `output`
//! writes what stays.

mod check;
mod checkpoint;
mod compute;
#[cfg(test)]
mod compute_tests;
mod evaluation;
mod feed;
mod find_lr;
mod losses;
#[cfg(any(test, feature = "cuda"))]
mod on_device;
mod output;
mod preference;
mod saving;
mod scoring;
mod setup;
mod starting;
mod stepping;
mod together;
mod trainer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use domain::{CurationSummary, FinishReason, RunConfig, RunEvent};

use crate::distributed::World;
use crate::{Error, Result, StopFlag};

pub use check::check_config;
pub use find_lr::{LrFound, LrPoint, LrSearch, LrSearchEnd, find_lr};
pub use scoring::{MeanScores, ScoreTexts};

pub(crate) use compute::{Chosen, Compute};
pub(crate) use output::{
    COMPANIONS, FURTHER_TEMPLATES, copy_companions, copy_tokenizer, write_model,
};

/// What a run is told beside its config.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Id of the run, as it stands in its events.
    pub run: String,
    /// Go on from the last good checkpoint in `train.output`, where there is one.
    pub resume: bool,
    /// What the run's curators made of the data at `data.path`, where it names some.
    pub curation: Option<CurationSummary>,
    /// Scores what the model writes at evaluations, where the run names scorers.
    pub scorer: Option<Arc<dyn ScoreTexts>>,
    /// Pause before a write that failed at the end of the run is tried again.
    pub save_pause: Duration,
    /// The other processes that train this run, where there are any.
    pub world: Option<World>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            run: String::new(),
            resume: false,
            curation: None,
            scorer: None,
            save_pause: Duration::from_secs(5),
            world: None,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Why it ended.
    pub reason: FinishReason,
    /// Optimizer steps done in all.
    pub steps: u64,
    /// Loss of the last step.
    pub loss: Option<f64>,
    /// Loss on held-out data at the last evaluation.
    pub eval_loss: Option<f64>,
    /// Folder of the adapter.
    pub adapter: Option<PathBuf>,
    /// Folder of the model, for method full.
    pub model: Option<PathBuf>,
}

/// Events that may wait for a slow listener before training waits too.
const WAITING: usize = 256;

/// Trains as the config says, and tells what happens through `on_event`, which is called on this thread.
///
/// The adapter goes to `train.output/adapter` (method full: the model to `train.output/model`), checkpoints to
/// `train.output/checkpoint-N`. The same config, data and seed give the same bits.
///
/// # Errors
/// Whatever keeps the run from starting or going on; [`Error::code`] is the word for the `error` event, which is left
/// to the caller. Checkpoints written before stay.
pub fn train(
    config: &RunConfig,
    options: &TrainOptions,
    stop: &StopFlag,
    on_event: &mut dyn FnMut(RunEvent),
) -> Result<Report> {
    crate::memory::keep_freed_memory();
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let run = std::thread::Builder::new()
            .name("train".into())
            .stack_size(64 << 20)
            .spawn_scoped(scope, move || {
                // A listener that is gone is no reason to lose the run.
                let mut emit = |event| drop(sender.send(event));
                trainer::run(config, options, stop, &mut emit)
            })
            .map_err(|error| {
                Error::Compute(format!("cannot start the training thread: {error}"))
            })?;
        for event in receiver {
            on_event(event);
        }
        run.join().unwrap_or_else(|_| {
            Err(Error::Compute(
                "the training thread panicked; its message is in the log".into(),
            ))
        })
    })
}
