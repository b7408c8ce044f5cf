//! Exports that the studio makes for its visitors: a job each, one at a time, in a process of its own.
//!
//! [`Exports`] knows them all; `process` runs `codetune export` and hears how far it is; [`archive`] hands a finished folder
//! out as one file. They lie on a [`Shelf`], under the data folder.

pub mod archive;
mod pace;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;
use uuid::Uuid;

use self::pace::Pace;
use crate::error::AppError;
use crate::shelf::{End, Piece, Shelf};

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
    /// How long the rest of that takes, as far as it can be told.
    #[serde(default)]
    pub seconds_left: Option<f64>,
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
        Piece::is_active(self)
    }
}

impl Piece for Export {
    const NOUN: &'static str = "export";
    const NOTE: &'static str = "export.json";

    fn id(&self) -> Uuid {
        self.id
    }

    fn is_active(&self) -> bool {
        matches!(self.status, ExportStatus::Waiting | ExportStatus::Running)
    }

    fn leave_behind(&mut self) {
        self.status = ExportStatus::Failed;
        self.error = Some("the studio ended before it was done".to_owned());
    }
}

/// All exports of the studio; clones share them.
#[derive(Debug, Clone)]
pub struct Exports(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    shelf: Shelf<Export>,
}

impl Exports {
    /// Finds what earlier processes made in `folder`; `program` is this one's own file.
    pub fn open(program: PathBuf, folder: PathBuf) -> Self {
        let shelf = Shelf::open(folder);
        Self(Arc::new(Shared { program, shelf }))
    }

    fn shelf(&self) -> &Shelf<Export> {
        &self.0.shelf
    }

    /// All of them, newest first.
    pub fn list(&self) -> Vec<Export> {
        self.shelf().list()
    }

    /// The export of that id.
    ///
    /// # Errors
    /// 404.
    pub fn find(&self, id: Uuid) -> Result<Export, AppError> {
        self.shelf().find(id)
    }

    /// Where the files of an export are.
    fn files(&self, export: &Export) -> PathBuf {
        self.shelf().folder(export.id).join(export.title())
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
            seconds_left: None,
            error: None,
            warnings: Vec::new(),
            checked: None,
            files: Vec::new(),
            created_at: Utc::now(),
        };
        self.shelf().check_room()?;
        let ended = self.shelf().add(export.clone())?;
        let (exports, id) = (self.clone(), export.id);
        tokio::spawn(async move { exports.make(id, new, ended).await });
        Ok(export)
    }

    async fn make(self, id: Uuid, new: NewExport, mut ended: oneshot::Receiver<End>) {
        let shelf = self.shelf();
        let Ok(_turn) = shelf.turn(&mut ended).await else {
            return shelf.remove(id);
        };
        let Ok(export) = self.find(id) else { return };
        shelf.change(id, |export| export.status = ExportStatus::Running);
        let output = self.files(&export);
        let mut pace = None;
        let mut tell = |stage: &str, share: f64| {
            let left = Pace::left(&mut pace, stage, share, Instant::now());
            shelf.change(id, |export| {
                export.stage = Some(stage.to_owned());
                export.progress = Some(share);
                export.seconds_left = left;
            });
        };
        let made = tokio::select! {
            made = process::run(&self.0.program, &new, &output, &mut tell) => made,
            // Deleted: dropping the process ends it, and the folder goes after it.
            _ = &mut ended => return shelf.remove(id),
        };
        shelf.change(id, |export| {
            (export.stage, export.progress, export.seconds_left) = (None, None, None);
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
        shelf.keep(id);
    }

    /// Ends an export, where it is not done, and removes all of it.
    ///
    /// # Errors
    /// 404.
    pub fn delete(&self, id: Uuid) -> Result<(), AppError> {
        self.find(id)?;
        self.shelf().delete(id);
        Ok(())
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
            seconds_left: None,
            error: None,
            warnings: Vec::new(),
            checked: None,
            files: Vec::new(),
            created_at: Utc::now(),
        };
        exports.shelf().add(export.clone()).unwrap();
        let stranger = folder.path().join("stranger");
        std::fs::create_dir(&stranger).unwrap();
        std::fs::copy(
            folder.path().join(export.id.to_string()).join(Export::NOTE),
            stranger.join(Export::NOTE),
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
