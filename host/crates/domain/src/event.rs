use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::CurationSummary;

/// What a run says while it works: one JSON object a line on `train --json`, one row in the store, one message
/// of the live page.
///
/// Numbers are always finite: a loss that is not ends the run with [`RunEvent::Error`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The data goes through the run's curators; told every so often.
    Curating {
        /// Rows behind us.
        rows: u64,
        /// Of these, rows that are kept.
        kept: u64,
        /// Since the curation began, or was taken up again.
        seconds: f64,
        /// Until its end, where the size of the data is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds_left: Option<f64>,
    },
    /// The data is curated, or was so already.
    Curated {
        /// The folder with the data, its report and its provenance.
        path: PathBuf,
        /// What the curation came to.
        #[serde(flatten)]
        summary: CurationSummary,
    },
    /// The model and the data are loaded and the first step is about to begin.
    Started {
        /// Id of the run.
        run: String,
        /// Parameters that the optimizer changes.
        trainable_parameters: u64,
        /// Parameters of model and adapter together.
        all_parameters: u64,
        /// Tokens of one epoch that carry a label.
        supervised_tokens_per_epoch: u64,
        /// Optimizer steps that the run will take in all.
        total_steps: u64,
    },
    /// One optimizer step.
    Step {
        /// Counts from 1 and goes on after a resume.
        step: u64,
        /// Epochs done, as a fraction.
        epoch: f64,
        /// Mean over this step's supervised tokens, before its update.
        loss: f64,
        /// Learning rate of this update.
        learning_rate: f64,
        /// Global gradient norm before clipping.
        grad_norm: f64,
        /// Supervised tokens of this step.
        supervised_tokens: u64,
        /// Tokens a second of this step, without padding.
        tokens_per_second: f64,
        /// Which of several processes says it, from 0; left out where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process_rank: Option<u64>,
        /// More figures of the run's method, as keys beside the others: `rewards/margins`, …
        #[serde(flatten)]
        metrics: BTreeMap<String, f64>,
    },
    /// One evaluation on held-out data.
    Eval {
        /// The step after which it was made.
        step: u64,
        /// Mean token loss.
        eval_loss: f64,
        /// Scores of plugins and metrics by name.
        #[serde(default)]
        scores: serde_json::Map<String, serde_json::Value>,
    },
    /// A checkpoint was written, verified and renamed into place.
    Checkpoint {
        /// The step that it holds.
        step: u64,
        /// Its folder.
        path: PathBuf,
    },
    /// One line for the run's log: what is being loaded, what was skipped and why.
    Log {
        /// The sentence.
        message: String,
    },
    /// The run ended by a fault; the last good checkpoint is kept.
    Error {
        /// A word to branch on: `non_finite_loss`, `no_supervised_token`, `bad_input`, …
        code: String,
        /// One sentence that names what, where and what to do.
        message: String,
    },
    /// The run ended.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// Optimizer steps done in all.
        steps: u64,
        /// Folder of the adapter (methods that train one).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adapter: Option<PathBuf>,
        /// Folder of the model (method full).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<PathBuf>,
    },
}

impl RunEvent {
    /// The value of the `event` key.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Curating { .. } => "curating",
            Self::Curated { .. } => "curated",
            Self::Started { .. } => "started",
            Self::Step { .. } => "step",
            Self::Eval { .. } => "eval",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Log { .. } => "log",
            Self::Error { .. } => "error",
            Self::Finished { .. } => "finished",
        }
    }
}

/// Why a run ended without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// All epochs are done.
    Completed,
    /// `train.max_steps` was reached.
    MaxSteps,
    /// The evaluation loss stopped falling.
    EarlyStop,
    /// Somebody asked it to stop; what was learned is saved.
    Stopped,
}
