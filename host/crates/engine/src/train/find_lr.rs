use std::path::PathBuf;

use domain::{RunConfig, RunEvent};
use serde::Serialize;

use super::compute::Chosen;
use super::starting::With;
use super::trainer::{Trainer, arrange};
use super::{TrainOptions, check_config};
use crate::{Result, StopFlag};

/// How a learning rate is looked for.
#[derive(Debug, Clone, Copy)]
pub struct LrSearch {
    /// Rate of the first step.
    pub start: f64,
    /// Rate of the last step.
    pub end: f64,
    /// Steps from the first to the last, at least 2.
    pub steps: u64,
    /// Share of the old that a smoothed loss keeps.
    pub smoothing: f64,
}

impl Default for LrSearch {
    fn default() -> Self {
        Self {
            start: 1e-7,
            end: 1.0,
            steps: 100,
            smoothing: 0.9,
        }
    }
}

/// One step of the search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LrPoint {
    /// Counts from 1.
    pub step: u64,
    /// Rate of this update.
    pub learning_rate: f64,
    /// Loss before this update.
    pub loss: f64,
    /// The loss, smoothed over the steps before.
    pub smoothed_loss: f64,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSearchEnd {
    /// All steps were done.
    Completed,
    /// The loss rose to four times its lowest, or stopped being a number.
    Diverged,
    /// Somebody asked it to stop.
    Stopped,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LrFound {
    /// Where the smoothed loss falls steepest over the logarithm of the rate, before its lowest; none where it never fell.
    pub suggestion: Option<f64>,
    /// Where it was lowest.
    pub lowest: Option<f64>,
    /// Why the search ended.
    pub reason: LrSearchEnd,
    /// The steps.
    pub points: Vec<LrPoint>,
}

/// Times the lowest smoothed loss at which a search has seen enough.
const DIVERGED: f64 = 4.0;

/// Looks for a learning rate: steps over the run's data while the rate rises exponentially (L. Smith, arXiv 1506.01186,
/// with the smoothing and the end of fastai's `lr_find`). Nothing is written: no adapter, no checkpoint.
///
/// # Errors
/// As [`super::train`]; a loss that stops being a number ends the search instead.
pub fn find_lr(
    config: &RunConfig,
    search: LrSearch,
    stop: &StopFlag,
    on_point: &mut dyn FnMut(LrPoint),
) -> Result<LrFound> {
    crate::memory::keep_freed_memory();
    config.validate()?;
    check_config(config)?;
    super::check::check_device(config)?;
    let quiet: &mut dyn FnMut(RunEvent) = &mut |_| {};
    let options = TrainOptions::default();
    let chosen = Chosen::of_run(config, None)?;
    let plan = arrange(config, chosen.place)?;
    let arranged = plan.as_ref().map(|plan| plan.apply(config));
    let config = arranged.as_ref().unwrap_or(config);
    let mut trainer = {
        let group = crate::distributed::alone();
        let with = With { group, chosen };
        Trainer::prepare(with, config, &options, PathBuf::new(), None, quiet)?
    };
    trainer.keep_layers(plan, quiet)?;
    let steps = search.steps.max(2);
    let (mut average, mut lowest) = (0.0, f64::INFINITY);
    let mut points = Vec::new();
    let mut reason = LrSearchEnd::Completed;
    for step in 0..steps {
        let share = step as f64 / (steps - 1) as f64;
        let rate = search.start * (search.end / search.start).powf(share);
        let mut loss = None;
        let outcome = trainer.step_at(rate, stop, &mut |event| {
            if let RunEvent::Step { loss: found, .. } = event {
                loss = Some(found);
            }
        });
        let loss = match (outcome, loss) {
            (Err(crate::Error::NonFiniteLoss { .. }), _) => {
                reason = LrSearchEnd::Diverged;
                break;
            }
            (Err(error), _) => return Err(error),
            (Ok(true), Some(loss)) => loss,
            (Ok(_), _) => {
                reason = LrSearchEnd::Stopped;
                break;
            }
        };
        average = search.smoothing * average + (1.0 - search.smoothing) * loss;
        let smoothed_loss = average / (1.0 - search.smoothing.powi(step as i32 + 1));
        let point = LrPoint {
            step: step + 1,
            learning_rate: rate,
            loss,
            smoothed_loss,
        };
        points.push(point);
        on_point(point);
        lowest = smoothed_loss.min(lowest);
        if step > 0 && smoothed_loss > DIVERGED * lowest {
            reason = LrSearchEnd::Diverged;
            break;
        }
    }
    let lowest = points
        .iter()
        .min_by(|a, b| a.smoothed_loss.total_cmp(&b.smoothed_loss));
    Ok(LrFound {
        suggestion: lowest.and_then(|lowest| steepest(&points[..lowest.step as usize])),
        lowest: lowest.map(|point| point.learning_rate),
        reason,
        points,
    })
}

/// Rate of the steepest fall.
fn steepest(points: &[LrPoint]) -> Option<f64> {
    let slope = |pair: &[LrPoint]| {
        (pair[1].smoothed_loss - pair[0].smoothed_loss)
            / (pair[1].learning_rate / pair[0].learning_rate).ln()
    };
    let pairs = points.windows(2);
    let steepest = pairs.min_by(|a, b| slope(a).total_cmp(&slope(b)))?;
    (slope(steepest) < 0.0).then_some(steepest[1].learning_rate)
}
