//! Curations that the studio makes for its visitors: a job each, one at a time, in a process of its own.
//!
//! [`Curations`] knows them all; `process` runs `codetune dataset curate` and hears how far it is. Everything of a curation
//! lies in one folder under the data folder, named by its id: the pipeline in `curate.toml`, what is known of the job in
//! `job.json`, and in `curated` what the command writes, so that one that was stopped goes on where it was.

mod process;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context;
use chrono::{DateTime, Utc};
use curation::{Pipeline, Report};
use serde::{Deserialize, Serialize};
use store::{NewDataset, Store};
use tokio::sync::{Semaphore, oneshot};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::config::Config;
use crate::error::AppError;

/// Curations that may wait at a time.
const MOST_WAITING: usize = 16;
/// What is known of a curation, in its folder.
const NOTE: &str = "job.json";
const PIPELINE: &str = "curate.toml";
/// What the command writes, in the curation's folder.
const OUTPUT: &str = "curated";

/// What is to be curated.
#[derive(Debug, Clone)]
pub struct NewCuration {
    /// What people call the result.
    pub name: String,
    /// File or folder of the dataset.
    pub path: PathBuf,
    /// A word of `data.format`.
    pub format: String,
    /// What its rows go through; its plugins are known to be usable.
    pub pipeline: Pipeline,
}

/// A curation and how far it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Curation {
    /// What requests name it by.
    pub id: Uuid,
    /// What people call the result.
    pub name: String,
    /// File or folder of the dataset.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// A word of `data.format`.
    pub format: String,
    /// The plugins of its pipeline, in their order.
    pub plugins: Vec<String>,
    /// How it stands.
    pub status: CurationStatus,
    /// Rows behind it.
    pub rows: u64,
    /// Of these, rows that are kept.
    pub kept: u64,
    /// Seconds of this part of it.
    pub seconds: Option<f64>,
    /// Seconds until its end, where the size of the data is known.
    pub seconds_left: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// How a curation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CurationStatus {
    /// Another one is being made.
    Waiting,
    /// It is being made.
    Running,
    /// Somebody asked it to stop, or the studio ended: it can go on.
    Stopped,
    /// Its data, report and provenance are there.
    Done,
    /// It came to nothing.
    Failed,
}

impl Curation {
    /// It is not at its end.
    pub fn is_active(&self) -> bool {
        matches!(
            self.status,
            CurationStatus::Waiting | CurationStatus::Running
        )
    }

    /// It can be gone on with.
    pub fn can_resume(&self) -> bool {
        matches!(
            self.status,
            CurationStatus::Stopped | CurationStatus::Failed
        )
    }

    /// Share that is done, 0 to 1, as far as time tells.
    pub fn progress(&self) -> Option<f64> {
        let (done, left) = (self.seconds?, self.seconds_left?);
        (done + left > 0.0).then(|| done / (done + left))
    }
}

/// All curations of the studio; clones share them.
#[derive(Clone)]
pub struct Curations(Arc<Shared>);

struct Shared {
    config: Config,
    folder: PathBuf,
    store: Store,
    jobs: Mutex<Vec<Job>>,
    turn: Semaphore,
}

struct Job {
    curation: Curation,
    /// Says what to do to whoever makes it; none while nobody does.
    end: Option<oneshot::Sender<End>>,
}

/// How a job is ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// What is done stays.
    Stop,
    /// All of it goes.
    Delete,
}

impl Curations {
    /// Finds what earlier processes made in the data folder.
    pub fn open(config: &Config, store: Store) -> Self {
        let folder = config.paths.curations();
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut jobs: Vec<Job> = entries
            .filter_map(|entry| {
                let text = std::fs::read_to_string(entry.path().join(NOTE)).ok()?;
                let mut curation: Curation = serde_json::from_str(&text).ok()?;
                if entry.file_name().to_str() != Some(&curation.id.to_string()) {
                    return None;
                }
                if curation.is_active() {
                    curation.status = CurationStatus::Stopped;
                }
                Some(Job {
                    curation,
                    end: None,
                })
            })
            .collect();
        jobs.sort_by_key(|job| job.curation.id);
        Self(Arc::new(Shared {
            config: config.clone(),
            folder,
            store,
            jobs: Mutex::new(jobs),
            turn: Semaphore::new(1),
        }))
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Job>> {
        self.0
            .jobs
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// All of them, newest first.
    pub fn list(&self) -> Vec<Curation> {
        let jobs = self.jobs();
        jobs.iter().rev().map(|job| job.curation.clone()).collect()
    }

    /// The curation of that id.
    ///
    /// # Errors
    /// 404.
    pub fn find(&self, id: Uuid) -> Result<Curation, AppError> {
        let jobs = self.jobs();
        jobs.iter()
            .find(|job| job.curation.id == id)
            .map(|job| job.curation.clone())
            .ok_or_else(|| AppError::not_found(format!("There is no curation {id}.")))
    }

    fn folder(&self, id: Uuid) -> PathBuf {
        self.0.folder.join(id.to_string())
    }

    /// The pipeline as it was asked for, as TOML.
    ///
    /// # Errors
    /// 404, or a file that cannot be read.
    pub fn pipeline(&self, id: Uuid) -> Result<String, AppError> {
        self.find(id)?;
        let path = self.folder(id).join(PIPELINE);
        let text = std::fs::read_to_string(&path);
        Ok(text.with_context(|| path.display().to_string())?)
    }

    /// The report of a finished curation.
    ///
    /// # Errors
    /// 404, 409 where it is not done, or a file that cannot be read.
    pub fn report(&self, id: Uuid) -> Result<Report, AppError> {
        let path = self.file(id, "report.json")?;
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let report = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
        Ok(report)
    }

    /// A file of a finished curation: `data.jsonl`, `held-out.jsonl`, `provenance.jsonl`, `report.json` or `curation.json`.
    ///
    /// # Errors
    /// 404, or 409 where it is not done.
    pub fn file(&self, id: Uuid, name: &str) -> Result<PathBuf, AppError> {
        let curation = self.find(id)?;
        if curation.status != CurationStatus::Done {
            return Err(AppError::Conflict(
                "This curation is not done yet.".to_owned(),
            ));
        }
        Ok(self.folder(id).join(OUTPUT).join(name))
    }

    /// Begins a curation; it is made when its turn comes.
    ///
    /// # Errors
    /// Too many wait already, or the data folder cannot be written.
    pub fn start(&self, new: NewCuration) -> Result<Curation, AppError> {
        let curation = Curation {
            id: Uuid::now_v7(),
            name: new.name,
            path: new.path,
            format: new.format,
            plugins: new
                .pipeline
                .steps
                .iter()
                .map(|step| step.name.clone())
                .collect(),
            status: CurationStatus::Waiting,
            rows: 0,
            kept: 0,
            seconds: None,
            seconds_left: None,
            error: None,
            created_at: Utc::now(),
        };
        self.check_room()?;
        let folder = self.folder(curation.id);
        let text = toml::to_string(&new.pipeline).context("a pipeline serializes")?;
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(PIPELINE), text))
            .with_context(|| format!("cannot write {}", folder.display()))?;
        self.note(&curation)?;
        self.jobs().push(Job {
            curation: curation.clone(),
            end: None,
        });
        self.run(curation.id);
        Ok(curation)
    }

    /// Goes on with a curation that was stopped or failed.
    ///
    /// # Errors
    /// 404, or 409 where there is nothing to go on with.
    pub fn resume(&self, id: Uuid) -> Result<Curation, AppError> {
        if !self.find(id)?.can_resume() {
            return Err(AppError::Conflict(
                "This curation is not stopped.".to_owned(),
            ));
        }
        self.check_room()?;
        self.change(id, |curation| {
            curation.status = CurationStatus::Waiting;
            curation.error = None;
        });
        self.run(id);
        self.find(id)
    }

    fn check_room(&self) -> Result<(), AppError> {
        let jobs = self.jobs();
        if jobs.iter().filter(|job| job.curation.is_active()).count() >= MOST_WAITING {
            return Err(AppError::Conflict(format!(
                "{MOST_WAITING} curations are waiting already; wait for them, or delete some."
            )));
        }
        Ok(())
    }

    fn run(&self, id: Uuid) {
        let (end, ended) = oneshot::channel();
        if let Some(job) = self.jobs().iter_mut().find(|job| job.curation.id == id) {
            job.end = Some(end);
        }
        let curations = self.clone();
        tokio::spawn(async move { curations.make(id, ended).await });
    }

    async fn make(self, id: Uuid, mut ended: oneshot::Receiver<End>) {
        // The turn is held to the end of the work.
        let _turn = tokio::select! {
            turn = self.0.turn.acquire() => turn,
            end = &mut ended => return self.ended_early(id, end.unwrap_or(End::Delete)),
        };
        let Ok(curation) = self.find(id) else { return };
        self.change(id, |curation| curation.status = CurationStatus::Running);
        let folder = self.folder(id);
        let task = process::Task {
            config: &self.0.config,
            path: &curation.path,
            format: &curation.format,
            pipeline: &folder.join(PIPELINE),
            out: &folder.join(OUTPUT),
        };
        let mut tell = |said: process::Said| {
            self.change(id, |curation| {
                (curation.rows, curation.kept) = (said.rows, said.kept);
                (curation.seconds, curation.seconds_left) = (Some(said.seconds), said.seconds_left);
            });
        };
        let made = process::run(&task, &mut tell, &mut ended).await;
        match made {
            process::Made::Ended(end) => self.ended_early(id, end),
            process::Made::Finished => {
                self.change(id, |curation| {
                    curation.status = CurationStatus::Done;
                    curation.seconds_left = None;
                });
                let curations = self.clone();
                let noted = tokio::task::spawn_blocking(move || curations.finish(id)).await;
                if let Ok(Err(error)) = noted {
                    tracing::warn!(%id, "curation: {error:#}");
                }
            }
            process::Made::Failed(message) => {
                tracing::warn!(%id, "curation failed: {message}");
                self.change(id, |curation| {
                    curation.status = CurationStatus::Failed;
                    curation.seconds_left = None;
                    curation.error = Some(message);
                });
            }
        }
        if let Ok(curation) = self.find(id)
            && let Err(error) = self.note(&curation)
        {
            tracing::warn!(%id, "curation: {error:#}");
        }
    }

    fn ended_early(&self, id: Uuid, end: End) {
        match end {
            End::Delete => remove(&self.folder(id)),
            End::Stop => self.change(id, |curation| {
                curation.status = CurationStatus::Stopped;
                curation.seconds_left = None;
            }),
        }
        if let Ok(curation) = self.find(id) {
            let _ = self.note(&curation);
        }
    }

    /// The result is a dataset that runs can use.
    fn finish(&self, id: Uuid) -> anyhow::Result<()> {
        let folder = self.folder(id).join(OUTPUT);
        let summary = curation::summary(&folder)?;
        let Ok(found) = self.find(id) else {
            return Ok(());
        };
        self.change(id, |curation| {
            (curation.rows, curation.kept) = (summary.rows, summary.kept);
        });
        let path = std::path::absolute(folder.join("data.jsonl"))?;
        self.0.store.record_dataset(&NewDataset {
            name: found.name,
            description: format!(
                "curated out of {} by {}",
                found.path.display(),
                found.plugins.join(", ")
            ),
            path,
            format: "auto".to_owned(),
            samples: Some(summary.kept),
            digest: None,
        })?;
        Ok(())
    }

    fn change(&self, id: Uuid, change: impl FnOnce(&mut Curation)) {
        if let Some(job) = self.jobs().iter_mut().find(|job| job.curation.id == id) {
            change(&mut job.curation);
        }
    }

    fn note(&self, curation: &Curation) -> anyhow::Result<()> {
        let folder = self.folder(curation.id);
        let text = serde_json::to_string_pretty(curation).context("a curation serializes")?;
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(NOTE), text))
            .with_context(|| format!("cannot write {}", folder.display()))
    }

    /// Asks a curation to stop; what is done stays, and [`Self::resume`] goes on from there.
    ///
    /// # Errors
    /// 404, or 409 where it has ended.
    pub fn stop(&self, id: Uuid) -> Result<Curation, AppError> {
        let curation = self.find(id)?;
        if !curation.is_active() {
            return Err(AppError::Conflict("This curation has ended.".to_owned()));
        }
        self.end(id, End::Stop);
        Ok(curation)
    }

    /// Ends a curation, where it is not done, and removes all of it, also from the list of datasets.
    ///
    /// # Errors
    /// 404, or a database that fails.
    pub fn delete(&self, id: Uuid) -> Result<(), AppError> {
        let curation = self.find(id)?;
        let is_made = self.end(id, End::Delete);
        self.jobs().retain(|job| job.curation.id != id);
        let data = std::path::absolute(self.folder(id).join(OUTPUT).join("data.jsonl"));
        if let (CurationStatus::Done, Ok(data)) = (curation.status, data) {
            let datasets = self.0.store.list_datasets()?;
            if let Some(dataset) = datasets.into_iter().find(|dataset| dataset.path == data) {
                self.0.store.delete_dataset(dataset.id)?;
            }
        }
        // Whoever makes it removes its folder, once the process writes there no more.
        if !is_made {
            remove(&self.folder(id));
        }
        Ok(())
    }

    /// Tells whoever makes it; false when nobody does.
    fn end(&self, id: Uuid, end: End) -> bool {
        let mut jobs = self.jobs();
        let job = jobs.iter_mut().find(|job| job.curation.id == id);
        let sender = job
            .filter(|job| job.curation.is_active())
            .and_then(|job| job.end.take());
        sender.is_some_and(|sender| sender.send(end).is_ok())
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("{}: cannot be removed: {error}", folder.display());
    }
}
