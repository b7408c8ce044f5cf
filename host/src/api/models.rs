use std::path::{Path, PathBuf};

use actix_web::web::{Data, Json};
use domain::FieldErrors;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::{AdapterKind, RunFilter};
use utoipa::ToSchema;

use super::submit::{self, SAMPLE};
use crate::error::AppError;
use crate::safety::keys::hex;
use crate::state::AppState;

/// A model that the studio knows: the sample's, a run's base, or what a run of method full wrote.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Model {
    /// What requests name it by.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// It came with the studio and is tiny.
    pub is_sample: bool,
    /// Its folder; never part of an answer or a request.
    #[serde(skip)]
    pub path: PathBuf,
}

/// An adapter that a run wrote.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Adapter {
    /// What requests name it by.
    pub id: String,
    /// Name of its run.
    pub name: String,
    /// The run that wrote it.
    pub run: Option<String>,
    /// Id of the model that it belongs on.
    pub model: String,
    /// When it was written.
    pub created_at: chrono::DateTime<chrono::Utc>,
    /// Its folder; never part of an answer or a request.
    #[serde(skip)]
    pub path: PathBuf,
}

/// What can be talked to.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Models {
    /// Models, the sample's first.
    pub models: Vec<Model>,
    /// Adapters, newest first.
    pub adapters: Vec<Adapter>,
}

/// A model's folder, and that of an adapter, which may bring a tokenizer of its own.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The model's.
    pub model: PathBuf,
    /// The adapter's.
    pub adapter: Option<PathBuf>,
}

impl Models {
    /// The model of that id.
    ///
    /// # Errors
    /// 404 that says what to choose from.
    pub fn model(&self, id: &str) -> Result<&Model, AppError> {
        self.models
            .iter()
            .find(|model| model.id == id)
            .ok_or_else(|| {
                let known: Vec<_> = self.models.iter().map(|model| model.id.as_str()).collect();
                AppError::not_found(format!(
                    "There is no model {id:?}; the studio knows {}.",
                    if known.is_empty() {
                        "none yet".to_owned()
                    } else {
                        known.join(", ")
                    }
                ))
            })
    }

    /// The adapter of that id.
    ///
    /// # Errors
    /// 404.
    pub fn adapter(&self, id: &str) -> Result<&Adapter, AppError> {
        self.adapters
            .iter()
            .find(|adapter| adapter.id == id)
            .ok_or_else(|| AppError::not_found(format!("There is no adapter {id:?}.")))
    }

    /// The folders of a model and of an adapter on it, by their ids.
    ///
    /// # Errors
    /// As [`Self::model`] and [`Self::adapter`], and an adapter of another model.
    pub fn folders(&self, model: &str, adapter: Option<&str>) -> Result<Folders, AppError> {
        let adapter = match adapter.filter(|id| !id.is_empty()) {
            Some(id) => Some(self.adapter(id)?),
            None => None,
        };
        if let Some(adapter) = adapter.filter(|adapter| adapter.model != model) {
            let message = format!("{} is of another model", adapter.name);
            return Err(FieldErrors::one("adapter", message).into());
        }
        Ok(Folders {
            model: self.model(model)?.path.clone(),
            adapter: adapter.map(|adapter| adapter.path.clone()),
        })
    }

    fn add(&mut self, path: PathBuf, name: Option<String>) -> String {
        if let Some(known) = self.models.iter().find(|model| model.path == path) {
            return known.id.clone();
        }
        let id = hex(&Sha256::digest(path.as_os_str().as_encoded_bytes()))[..12].to_owned();
        if path.join("config.json").is_file() {
            self.models.push(Model {
                name: name.unwrap_or_else(|| file_name(&path)),
                id: id.clone(),
                is_sample: false,
                path,
            });
        }
        id
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Everything that can be talked to now; what is gone from the disk is left out.
///
/// # Errors
/// When the database fails.
pub async fn known(state: &AppState) -> Result<Models, AppError> {
    let sample = submit::sample(&state.config.paths).ok();
    state
        .store(move |store| {
            let mut known = Models::default();
            if let Some(path) = sample.as_ref().and_then(sample_model) {
                known.models.push(Model {
                    id: SAMPLE.to_owned(),
                    name: "Sample model (tiny)".to_owned(),
                    is_sample: true,
                    path,
                });
            }
            let runs = store.list_runs(&RunFilter {
                limit: 1000,
                ..RunFilter::default()
            })?;
            let mut bases = std::collections::HashMap::new();
            for run in &runs {
                if let Some(path) = &run.config.model.path {
                    // What a run of method full starts from may be a mere description.
                    let id = known.add(PathBuf::from(path), None);
                    bases.insert(run.id, id);
                }
            }
            for row in store.list_adapters()? {
                let path = row.path;
                if row.kind == AdapterKind::Model {
                    known.add(path, Some(row.name));
                } else if path.join("adapter_config.json").is_file() {
                    let model = match &row.base_model {
                        Some(base) => known.add(PathBuf::from(base), None),
                        None => row
                            .run_id
                            .and_then(|run| bases.get(&run).cloned())
                            .unwrap_or_default(),
                    };
                    known.adapters.push(Adapter {
                        id: row.id.to_string(),
                        name: row.name,
                        model,
                        run: row.run_id.map(|run| run.to_string()),
                        created_at: row.created_at,
                        path,
                    });
                }
            }
            // Random weights answer nothing.
            known.models.retain(|model| has_weights(&model.path));
            Ok(known)
        })
        .await
}

fn sample_model(config: &Value) -> Option<PathBuf> {
    config.pointer("/model/path")?.as_str().map(PathBuf::from)
}

fn has_weights(folder: &Path) -> bool {
    folder.join("model.safetensors").is_file()
        || folder.join("model.safetensors.index.json").is_file()
}

/// Models and adapters that can be talked to.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", responses((status = 200, body = Models)))]
pub async fn list(state: Data<AppState>) -> Result<Json<Models>, AppError> {
    Ok(Json(known(&state).await?))
}
