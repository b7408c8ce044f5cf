//! Curations that the studio makes for its visitors: a job each, one at a time, in a process of its own.
//!
//! [`Curations`] knows them all; `process` runs `codetune dataset curate` and hears how far it is. They lie on
//! a [`Shelf`] under the data folder: in each one's folder the pipeline in `curate.toml`, and in `curated` what the command
//! writes, so that one that was stopped goes on where it was.

mod process;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, Utc};
use curation::{Pipeline, Report};
use serde::{Deserialize, Serialize};
use store::{NewDataset, Store};
use tokio::sync::oneshot;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::config::Config;
use crate::error::AppError;
use crate::shelf::{End, Piece, Shelf};

/// The pipeline, in the curation's folder.
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
        Piece::is_active(self)
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

impl Piece for Curation {
    const NOUN: &'static str = "curation";
    const NOTE: &'static str = "job.json";

    fn id(&self) -> Uuid {
        self.id
    }

    fn is_active(&self) -> bool {
        matches!(
            self.status,
            CurationStatus::Waiting | CurationStatus::Running
        )
    }

    fn leave_behind(&mut self) {
        self.status = CurationStatus::Stopped;
    }
}

/// All curations of the studio; clones share them.
#[derive(Clone)]
pub struct Curations(Arc<Shared>);

struct Shared {
    config: Config,
    store: Store,
    shelf: Shelf<Curation>,
}

impl Curations {
    /// Finds what earlier processes made in the data folder.
    pub fn open(config: &Config, store: Store) -> Self {
        Self(Arc::new(Shared {
            config: config.clone(),
            store,
            shelf: Shelf::open(config.paths.curations()),
        }))
    }

    fn shelf(&self) -> &Shelf<Curation> {
        &self.0.shelf
    }

    /// All of them, newest first.
    pub fn list(&self) -> Vec<Curation> {
        self.shelf().list()
    }

    /// The curation of that id.
    ///
    /// # Errors
    /// 404.
    pub fn find(&self, id: Uuid) -> Result<Curation, AppError> {
        self.shelf().find(id)
    }

    fn folder(&self, id: Uuid) -> PathBuf {
        self.shelf().folder(id)
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
        self.shelf().check_room()?;
        let folder = self.folder(curation.id);
        let text = toml::to_string(&new.pipeline).context("a pipeline serializes")?;
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(PIPELINE), text))
            .with_context(|| format!("cannot write {}", folder.display()))?;
        let ended = self.shelf().add(curation.clone())?;
        self.run(curation.id, ended);
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
        self.shelf().check_room()?;
        self.shelf().change(id, |curation| {
            curation.status = CurationStatus::Waiting;
            curation.error = None;
        });
        self.run(id, self.shelf().again(id));
        self.find(id)
    }

    fn run(&self, id: Uuid, ended: oneshot::Receiver<End>) {
        let curations = self.clone();
        tokio::spawn(async move { curations.make(id, ended).await });
    }

    async fn make(self, id: Uuid, mut ended: oneshot::Receiver<End>) {
        let shelf = self.shelf();
        let _turn = match shelf.turn(&mut ended).await {
            Ok(turn) => turn,
            Err(end) => return self.ended_early(id, end),
        };
        let Ok(curation) = self.find(id) else { return };
        shelf.change(id, |curation| curation.status = CurationStatus::Running);
        let folder = self.folder(id);
        let task = process::Task {
            config: &self.0.config,
            path: &curation.path,
            format: &curation.format,
            pipeline: &folder.join(PIPELINE),
            out: &folder.join(OUTPUT),
        };
        let mut tell = |said: process::Said| {
            shelf.change(id, |curation| {
                (curation.rows, curation.kept) = (said.rows, said.kept);
                (curation.seconds, curation.seconds_left) = (Some(said.seconds), said.seconds_left);
            });
        };
        let made = process::run(&task, &mut tell, &mut ended).await;
        match made {
            process::Made::Ended(end) => self.ended_early(id, end),
            process::Made::Finished => {
                shelf.change(id, |curation| {
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
                shelf.change(id, |curation| {
                    curation.status = CurationStatus::Failed;
                    curation.seconds_left = None;
                    curation.error = Some(message);
                });
            }
        }
        shelf.keep(id);
    }

    fn ended_early(&self, id: Uuid, end: End) {
        match end {
            End::Delete => self.shelf().remove(id),
            End::Stop => {
                self.shelf().change(id, |curation| {
                    curation.status = CurationStatus::Stopped;
                    curation.seconds_left = None;
                });
                self.shelf().keep(id);
            }
        }
    }

    /// The result is a dataset that runs can use.
    fn finish(&self, id: Uuid) -> anyhow::Result<()> {
        let folder = self.folder(id).join(OUTPUT);
        let summary = curation::summary(&folder)?;
        let Ok(found) = self.find(id) else {
            return Ok(());
        };
        self.shelf().change(id, |curation| {
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

    /// Asks a curation to stop; what is done stays, and [`Self::resume`] goes on from there.
    ///
    /// # Errors
    /// 404, or 409 where it has ended.
    pub fn stop(&self, id: Uuid) -> Result<Curation, AppError> {
        let curation = self.find(id)?;
        if !curation.is_active() {
            return Err(AppError::Conflict("This curation has ended.".to_owned()));
        }
        self.shelf().end(id, End::Stop);
        Ok(curation)
    }

    /// Ends a curation, where it is not done, and removes all of it, also from the list of datasets.
    ///
    /// # Errors
    /// 404, or a database that fails.
    pub fn delete(&self, id: Uuid) -> Result<(), AppError> {
        let curation = self.find(id)?;
        let data = std::path::absolute(self.folder(id).join(OUTPUT).join("data.jsonl"));
        if let (CurationStatus::Done, Ok(data)) = (curation.status, data) {
            let datasets = self.0.store.list_datasets()?;
            if let Some(dataset) = datasets.into_iter().find(|dataset| dataset.path == data) {
                self.0.store.delete_dataset(dataset.id)?;
            }
        }
        self.shelf().delete(id);
        Ok(())
    }
}
