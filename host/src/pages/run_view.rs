use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;
use store::Run;

/// A run as pages show it.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) is_final: bool,
    can_resume: bool,
    can_stop: bool,
    error: Option<String>,
    pub(super) step: u64,
    total_steps: Option<u64>,
    /// 0 to 1, once the number of steps is known.
    progress: Option<f64>,
    epoch: f64,
    pub(super) last_loss: Option<f64>,
    pub(super) eval_loss: Option<f64>,
    tokens_per_second: Option<f64>,
    eta_seconds: Option<f64>,
    elapsed_seconds: Option<f64>,
    event_seq: i64,
    pub(super) created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    worker: Option<String>,
    pub(super) model: String,
    pub(super) data: String,
    method: String,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let status = run.status;
        let until = run.finished_at.unwrap_or_else(Utc::now);
        let elapsed_seconds = run
            .started_at
            .map(|from| (until - from).num_milliseconds() as f64 / 1000.0);
        let progress = run
            .total_steps
            .filter(|total| *total > 0)
            .map(|total| (run.step as f64 / total as f64).min(1.0));
        // A resumed run's clock counts the pause too; the page corrects it after the first live steps.
        let eta_seconds = match (elapsed_seconds, progress) {
            (Some(elapsed), Some(progress)) if !status.is_final() && progress > 0.0 => {
                Some(elapsed * (1.0 - progress) / progress)
            }
            _ => None,
        };
        let source = |path: &Option<String>, repo: &Option<String>| {
            repo.clone()
                .or_else(|| {
                    let path = Path::new(path.as_deref()?);
                    Some(path.file_name()?.to_string_lossy().into_owned())
                })
                .unwrap_or_default()
        };
        let mut data = source(&run.config.data.path, &run.config.data.repo);
        let parts = [&run.config.data.subset, &run.config.data.split];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        if !parts.is_empty() {
            data.push_str(&format!(" ({})", parts.join(", ")));
        }
        for name in run.config.data.mix.keys() {
            data.push_str(&format!(" + {name}"));
        }
        Self {
            id: run.id.to_string(),
            status: status.as_str(),
            is_final: status.is_final(),
            can_resume: status.can_resume(),
            can_stop: matches!(
                status,
                domain::RunStatus::Queued | domain::RunStatus::Running
            ),
            error: run.error,
            step: run.step,
            total_steps: run.total_steps,
            progress,
            epoch: run.epoch,
            last_loss: run.last_loss,
            eval_loss: run.eval_loss,
            tokens_per_second: run.tokens_per_second,
            eta_seconds,
            elapsed_seconds,
            event_seq: run.event_seq,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            worker: run.worker,
            model: source(&run.config.model.path, &run.config.model.repo),
            data,
            method: serde_json::to_value(run.config.train.method)
                .ok()
                .and_then(|word| word.as_str().map(str::to_owned))
                .unwrap_or_default(),
            name: run.name,
        }
    }
}
