//! Exports that the studio makes for its visitors: a job each, one at a time, in a process of its own.
//!
//! [`Exports`] knows them all; `process` runs `codetune export` and hears how far it is; [`archive`] hands a finished folder
//! out as one file. Everything of an export lies in one folder under the data folder, named by its id, with what is known
//! of it in `export.json`, so that finished ones are there after a restart.

pub mod archive;
mod process;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::AppError;

/// Exports that may wait at a time.
const MOST_WAITING: usize = 16;
/// What is known of an export, in its folder.
const NOTE: &str = "export.json";

/// What is to be written.
#[derive(Debug, Clone)]
pub struct NewExport {
    /// What people call the adapter or model.
    pub name: String,
    /// A folder, or a repository of the hub (`owner/name@revision`).
    pub model: String,
    /// A PEFT folder.
    pub adapter: Option<PathBuf>,
    /// As `codetune export` takes it.
    pub format: String,
    /// As `codetune export` takes it; the base's own where it is left out.
    pub dtype: Option<String>,
}

/// An export and how far it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// What requests name it by.
    pub id: Uuid,
    /// Name of the adapter or model that it is of.
    pub name: String,
    /// peft, safetensors, gguf or gguf-lora.
    pub format: String,
    /// Type of the weights, where one was asked for.
    pub dtype: Option<String>,
    /// How it stands.
    pub status: ExportStatus,
    /// What it does now: write or check.
    pub stage: Option<String>,
    /// Share of that which is done, 0 to 1.
    pub progress: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
    /// What a user should know of the result.
    pub warnings: Vec<String>,
    /// What comparing the result with base and adapter showed.
    pub checked: Option<String>,
    /// What can be downloaded, once it is done.
    pub files: Vec<ExportFile>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// How an export stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportStatus {
    /// Another one is being made.
    Waiting,
    /// It is being made.
    Running,
    /// It can be downloaded.
    Done,
    /// It came to nothing.
    Failed,
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl Export {
    /// Name of its folder, and of the file that holds all of it.
    pub fn title(&self) -> String {
        let word: String = self
            .name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(60)
            .collect();
        let words: Vec<&str> = word.split('-').filter(|word| !word.is_empty()).collect();
        let name = if words.is_empty() {
            "model".to_owned()
        } else {
            words.join("-")
        };
        match &self.dtype {
            Some(dtype) => format!("{name}-{}-{dtype}", self.format),
            None => format!("{name}-{}", self.format),
        }
    }

    /// It is not at its end.
    pub fn is_active(&self) -> bool {
        matches!(self.status, ExportStatus::Waiting | ExportStatus::Running)
    }
}

/// All exports of the studio; clones share them.
#[derive(Debug, Clone)]
pub struct Exports(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    folder: PathBuf,
    jobs: Mutex<Vec<Job>>,
    turn: Semaphore,
}

#[derive(Debug)]
struct Job {
    export: Export,
    /// Dropped to end it early.
    _stop: Option<oneshot::Sender<()>>,
}

impl Exports {
    /// Finds what earlier processes made in `folder`; `program` is this one's own file.
    pub fn open(program: PathBuf, folder: PathBuf) -> Self {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut jobs: Vec<Job> = entries
            .filter_map(|entry| {
                let text = std::fs::read_to_string(entry.path().join(NOTE)).ok()?;
                let mut export: Export = serde_json::from_str(&text).ok()?;
                if entry.file_name().to_str() != Some(&export.id.to_string()) {
                    return None;
                }
                if export.is_active() {
                    export.status = ExportStatus::Failed;
                    export.error = Some("the studio ended before it was done".to_owned());
                }
                Some(Job {
                    export,
                    _stop: None,
                })
            })
            .collect();
        jobs.sort_by_key(|job| job.export.id);
        Self(Arc::new(Shared {
            program,
            folder,
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
    pub fn list(&self) -> Vec<Export> {
        let jobs = self.jobs();
        jobs.iter().rev().map(|job| job.export.clone()).collect()
    }

    /// The export of that id.
    ///
    /// # Errors
    /// 404.
    pub fn find(&self, id: Uuid) -> Result<Export, AppError> {
        let jobs = self.jobs();
        jobs.iter()
            .find(|job| job.export.id == id)
            .map(|job| job.export.clone())
            .ok_or_else(|| no_export(id))
    }

    /// Where the files of an export are.
    fn files(&self, export: &Export) -> PathBuf {
        let folder = self.0.folder.join(export.id.to_string());
        folder.join(export.title())
    }

    /// A file of a finished export.
    ///
    /// # Errors
    /// 404 for a name that is not among its files, 409 where it is not done.
    pub fn file(&self, id: Uuid, name: &str) -> Result<PathBuf, AppError> {
        let export = self.finished(id)?;
        let file = export.files.iter().find(|file| file.name == name);
        let file = file.ok_or_else(|| {
            AppError::not_found(format!("There is no file {name:?} in this export."))
        })?;
        Ok(self.files(&export).join(&file.name))
    }

    /// A finished export and its folder.
    ///
    /// # Errors
    /// 404, or 409 where it is not done.
    pub fn folder(&self, id: Uuid) -> Result<(Export, PathBuf), AppError> {
        let export = self.finished(id)?;
        let folder = self.files(&export);
        Ok((export, folder))
    }

    fn finished(&self, id: Uuid) -> Result<Export, AppError> {
        let export = self.find(id)?;
        match export.status {
            ExportStatus::Done => Ok(export),
            ExportStatus::Failed => Err(AppError::Conflict(format!(
                "This export failed: {}",
                export.error.unwrap_or_default()
            ))),
            _ => Err(AppError::Conflict(
                "This export is not done yet.".to_owned(),
            )),
        }
    }

    /// Begins an export; it is made when its turn comes.
    ///
    /// # Errors
    /// Too many wait already, or the data folder cannot be written.
    pub fn start(&self, new: NewExport) -> Result<Export, AppError> {
        let export = Export {
            id: Uuid::now_v7(),
            name: new.name.clone(),
            format: new.format.clone(),
            dtype: new.dtype.clone(),
            status: ExportStatus::Waiting,
            stage: None,
            progress: None,
            error: None,
            warnings: Vec::new(),
            checked: None,
            files: Vec::new(),
            created_at: Utc::now(),
        };
        let (stop, stopped) = oneshot::channel();
        {
            let mut jobs = self.jobs();
            if jobs.iter().filter(|job| job.export.is_active()).count() >= MOST_WAITING {
                return Err(AppError::Conflict(format!(
                    "{MOST_WAITING} exports are waiting already; wait for them, or delete some."
                )));
            }
            self.note(&export)?;
            jobs.push(Job {
                export: export.clone(),
                _stop: Some(stop),
            });
        }
        let (exports, id) = (self.clone(), export.id);
        tokio::spawn(async move { exports.make(id, new, stopped).await });
        Ok(export)
    }

    async fn make(self, id: Uuid, new: NewExport, mut stopped: oneshot::Receiver<()>) {
        // The turn is held to the end of the work.
        let _turn = tokio::select! {
            turn = self.0.turn.acquire() => turn,
            _ = &mut stopped => return,
        };
        let Ok(export) = self.find(id) else { return };
        self.change(id, |export| export.status = ExportStatus::Running);
        let output = self.files(&export);
        let mut tell = |stage: &str, share: f64| {
            self.change(id, |export| {
                export.stage = Some(stage.to_owned());
                export.progress = Some(share);
            });
        };
        let made = tokio::select! {
            made = process::run(&self.0.program, &new, &output, &mut tell) => made,
            // Deleted: dropping the process ends it, and the folder goes after it.
            _ = &mut stopped => return remove(&self.0.folder.join(id.to_string())),
        };
        self.change(id, |export| {
            (export.stage, export.progress) = (None, None);
            match made {
                Ok(made) => {
                    export.status = ExportStatus::Done;
                    export.warnings = made.warnings;
                    export.checked = made.checked;
                    export.files = made.files;
                }
                Err(message) => {
                    tracing::warn!(%id, "export failed: {message}");
                    export.status = ExportStatus::Failed;
                    export.error = Some(message);
                }
            }
        });
        // Whoever deletes it meanwhile waits: a note would bring its folder back.
        let jobs = self.jobs();
        match jobs.iter().find(|job| job.export.id == id) {
            Some(job) => {
                if let Err(error) = self.note(&job.export) {
                    tracing::warn!(%id, "export: {error}");
                }
            }
            None => remove(&self.0.folder.join(id.to_string())),
        }
    }

    fn change(&self, id: Uuid, change: impl FnOnce(&mut Export)) {
        if let Some(job) = self.jobs().iter_mut().find(|job| job.export.id == id) {
            change(&mut job.export);
        }
    }

    fn note(&self, export: &Export) -> anyhow::Result<()> {
        let folder = self.0.folder.join(export.id.to_string());
        let text = serde_json::to_string_pretty(export).context("an export serializes")?;
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join(NOTE), text))
            .with_context(|| format!("cannot write {}", folder.display()))
    }

    /// Ends an export, where it is not done, and removes all of it.
    ///
    /// # Errors
    /// 404.
    pub fn delete(&self, id: Uuid) -> Result<(), AppError> {
        let mut jobs = self.jobs();
        let place = jobs.iter().position(|job| job.export.id == id);
        let place = place.ok_or_else(|| no_export(id))?;
        let job = jobs.remove(place);
        drop(jobs);
        // Whoever makes it removes its folder, once the process writes there no more.
        if job.export.status != ExportStatus::Running {
            remove(&self.0.folder.join(id.to_string()));
        }
        Ok(())
    }
}

fn no_export(id: Uuid) -> AppError {
    AppError::not_found(format!("There is no export {id}."))
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("{}: cannot be removed: {error}", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_that_a_dead_studio_left_is_shown_as_failed_and_a_stranger_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let exports = Exports::open("codetune".into(), folder.path().to_owned());
        let mut export = Export {
            id: Uuid::now_v7(),
            name: "My Run: 2/3".into(),
            format: "gguf".into(),
            dtype: Some("q8_0".into()),
            status: ExportStatus::Running,
            stage: None,
            progress: None,
            error: None,
            warnings: Vec::new(),
            checked: None,
            files: Vec::new(),
            created_at: Utc::now(),
        };
        exports.note(&export).unwrap();
        let stranger = folder.path().join("stranger");
        std::fs::create_dir(&stranger).unwrap();
        std::fs::copy(
            folder.path().join(export.id.to_string()).join(NOTE),
            stranger.join(NOTE),
        )
        .unwrap();
        let exports = Exports::open("codetune".into(), folder.path().to_owned());
        let found = exports.list();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].status, ExportStatus::Failed);
        assert!(exports.folder(export.id).is_err());
        exports.delete(export.id).unwrap();
        assert!(!folder.path().join(export.id.to_string()).exists());
        assert_eq!(export.title(), "my-run-2-3-gguf-q8_0");
        (export.name, export.dtype) = ("../../é".into(), None);
        assert_eq!(export.title(), "model-gguf");
    }
}
