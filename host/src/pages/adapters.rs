use actix_web::HttpResponse;
use actix_web::web::Query;
use domain::FieldError;
use serde::{Deserialize, Serialize};

use super::exports::ExportsFragment;
use crate::api::models::{self, Adapter, Model};
use crate::error::{AppError, HtmlResult};
use crate::state::blocking;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct AdaptersPage {
    adapters: Vec<Row<Adapter>>,
    models: Vec<Row<Model>>,
    /// What is chosen to be exported: `adapter:ID` or `model:ID`.
    chosen: String,
    /// The format and the weight type that are chosen.
    format: String,
    dtype: String,
    /// Why the last choice cannot be exported.
    errors: Vec<FieldError>,
    #[serde(flatten)]
    exports: ExportsFragment,
}

/// What to begin with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Start {
    export: String,
}

impl Page for AdaptersPage {
    const TEMPLATE: &'static str = "adapters.html";
}

#[derive(Serialize)]
struct Row<T> {
    #[serde(flatten)]
    item: T,
    folder: String,
    bytes: u64,
    rank: Option<u64>,
    targets: String,
}

/// What the form says: nothing at first, else what it said when it was refused.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) export: String,
    pub(super) format: String,
    pub(super) dtype: String,
    pub(super) errors: Vec<FieldError>,
}

/// `GET /adapters`.
pub async fn list(view: View, start: Query<Start>) -> HtmlResult {
    let asked = Asked {
        export: start.into_inner().export,
        ..Asked::default()
    };
    view.page(&page(&view, asked).await?)
}

/// The page once more, for an export that was refused.
pub(super) async fn show_refused(view: &View, asked: Asked) -> Result<HttpResponse, AppError> {
    view.refused(&page(view, asked).await?)
}

async fn page(view: &View, asked: Asked) -> Result<AdaptersPage, AppError> {
    let known = models::known(&view.state).await?;
    let exports = ExportsFragment::of(view.state.exports.list());
    let is_model = asked.export.starts_with("model:") || known.adapters.is_empty();
    blocking(move || AdaptersPage {
        exports,
        // Only an adapter can be a PEFT folder.
        format: if asked.format.is_empty() && is_model {
            "safetensors".to_owned()
        } else {
            asked.format
        },
        dtype: asked.dtype,
        errors: asked.errors,
        chosen: asked.export,
        adapters: known
            .adapters
            .into_iter()
            .map(|adapter| row(adapter.path.clone(), adapter))
            .collect(),
        models: known
            .models
            .into_iter()
            .map(|model| row(model.path.clone(), model))
            .collect(),
    })
    .await
}

fn row<T>(folder: std::path::PathBuf, item: T) -> Row<T> {
    let bytes = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|data| data.is_file())
        .map(|data| data.len())
        .sum();
    let config: serde_json::Value = std::fs::read_to_string(folder.join("adapter_config.json"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let targets = match &config["target_modules"] {
        serde_json::Value::Array(names) => names
            .iter()
            .filter_map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        serde_json::Value::String(pattern) => pattern.clone(),
        _ => String::new(),
    };
    Row {
        folder: folder.display().to_string(),
        bytes,
        rank: config["r"].as_u64(),
        targets,
        item,
    }
}
