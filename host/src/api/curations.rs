use std::collections::BTreeMap;
use std::path::PathBuf;

use actix_files::NamedFile;
use actix_web::http::header::{
    ContentDisposition, ContentEncoding, DispositionParam, DispositionType,
};
use actix_web::web::{Data, Json, Path};
use actix_web::{HttpResponse, Responder};
use curation::{HoldOut, NearDuplicates, OnError, Pipeline, Report, Step};
use domain::{FieldErrors, Only, PluginKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::submit;
use crate::curations::{Curation, NewCuration};
use crate::error::AppError;
use crate::state::{AppState, blocking};

/// Rows that are held out, where a curation holds some out.
pub const HELD_OUT: &str = "held-out.jsonl";
/// Files of a finished curation that can be downloaded.
pub const FILES: [&str; 5] = [
    "data.jsonl",
    HELD_OUT,
    "provenance.jsonl",
    "report.json",
    "curation.json",
];

/// A curation to be made: a dataset through a pipeline of plugins.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCuration {
    /// What to call the result; made from the dataset's name when left out.
    pub name: Option<String>,
    /// File or folder of the dataset.
    pub path: String,
    /// Shape of a row, as `data.format` of a RUN.toml; `auto` when left out, source-tree for a folder of code.
    pub format: Option<String>,
    /// The plugins, in the order in which rows go through them.
    pub plugins: Vec<CurationPlugin>,
    /// Drop rows whose texts are those of an earlier row; true when left out.
    pub exact_duplicates: Option<bool>,
    /// From which estimated likeness on a row is a duplicate, 0 to 1; 0.7 when left out.
    pub near_duplicates_threshold: Option<f64>,
    /// Share of the rows that goes into `held-out.jsonl`, past plugins that are for training alone; up to 0.5, none when left
    /// out.
    pub hold_out_share: Option<f64>,
    /// Draws which rows are held out; 0 when left out.
    pub hold_out_seed: Option<u64>,
    /// Our names of columns to the dataset's: `{"text": "body"}`.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

/// One plugin of a pipeline.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CurationPlugin {
    /// Its name.
    pub name: String,
    /// What becomes of a row on which it fails: drop, or keep; drop when left out.
    pub on_error: Option<String>,
    /// `train`, for rows alone that are not held out; all rows when left out.
    pub only: Option<String>,
    /// Values for its config schema.
    #[serde(default)]
    pub config: BTreeMap<String, Value>,
}

/// Curations.
#[derive(Debug, Serialize, ToSchema)]
pub struct CurationList {
    /// Newest first.
    pub curations: Vec<Curation>,
}

/// Checks what is asked for, and begins it.
///
/// # Errors
/// Field by field, what cannot be used, or that too many wait.
pub async fn begin(state: &AppState, body: CreateCuration) -> Result<Curation, AppError> {
    let new = state.plugins(move |host| check(host, body)).await??;
    let curations = state.curations.clone();
    // The spawned job needs the runtime that this handler stands on.
    curations.start(new)
}

fn check(host: &plugin_host::PluginHost, body: CreateCuration) -> Result<NewCuration, FieldErrors> {
    let mut errors = FieldErrors::default();
    let path = PathBuf::from(body.path.trim());
    if body.path.trim().is_empty() || !path.exists() {
        errors.push("path", format!("there is no {:?}", body.path.trim()));
    }
    let path = std::path::absolute(&path).unwrap_or(path);
    let format = body.format.unwrap_or_else(|| "auto".to_owned());
    if serde_json::from_value::<domain::DataFormat>(json!(format)).is_err() {
        errors.push("format", format!("{format:?} is no format of rows"));
    }
    let mut steps = Vec::new();
    for (index, plugin) in body.plugins.into_iter().enumerate() {
        let on_error = match plugin.on_error.as_deref() {
            None | Some("drop") => OnError::Drop,
            Some("keep") => OnError::Keep,
            Some(other) => {
                let message = format!("must be drop or keep, not {other:?}");
                errors.push(format!("plugins.{index}.on_error"), message);
                continue;
            }
        };
        let only = match plugin.only.as_deref() {
            None => None,
            Some("train") => Some(Only::Train),
            Some(other) => {
                let message = format!("must be train, not {other:?}");
                errors.push(format!("plugins.{index}.only"), message);
                continue;
            }
        };
        if only.is_some() && body.hold_out_share.is_none() {
            errors.push(
                "hold_out_share",
                format!(
                    "is required, since {} is for rows to train on alone",
                    plugin.name
                ),
            );
        }
        if let Err(error) = host.job(&plugin.name, PluginKind::Curator, &plugin.config) {
            errors.push(format!("plugins.{index}"), error.to_string());
        }
        steps.push(Step {
            name: plugin.name,
            stage: "curate".to_owned(),
            on_error,
            only,
            config: plugin.config,
        });
    }
    let threshold = body.near_duplicates_threshold;
    let pipeline = Pipeline {
        exact_duplicates: body.exact_duplicates.unwrap_or(true),
        near_duplicates: NearDuplicates {
            threshold: threshold.unwrap_or(NearDuplicates::default().threshold),
            ..NearDuplicates::default()
        },
        hold_out: body.hold_out_share.map(|share| HoldOut {
            share,
            seed: body.hold_out_seed.unwrap_or(0),
        }),
        columns: body.columns,
        steps,
    };
    // By the same reader that the file will have.
    match toml::to_string(&pipeline) {
        Ok(text) => {
            if let Err(error) = Pipeline::parse(&text) {
                errors.push("plugins", error.to_string());
            }
        }
        // JSON has a null, TOML has none.
        Err(error) => errors.push("plugins", format!("a setting cannot be written: {error}")),
    }
    let name = match body.name.as_deref().map(str::trim) {
        Some(text) if !text.is_empty() => submit::name(text),
        _ => {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy());
            submit::name(&format!("{} curated", stem.unwrap_or("data".into())))
        }
    };
    let name = name.unwrap_or_else(|found| {
        errors.0.extend(found.0);
        String::new()
    });
    errors.into_result()?;
    Ok(NewCuration {
        name,
        path,
        format,
        pipeline,
    })
}

/// Begins a curation. It is made in a process of its own, one at a time.
#[utoipa::path(post, path = "/api/v1/curations", tag = "curations", request_body = CreateCuration,
    responses((status = 202, body = Curation), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn create(
    state: Data<AppState>,
    body: Json<CreateCuration>,
) -> Result<impl Responder, AppError> {
    let curation = begin(&state, body.into_inner()).await?;
    Ok(HttpResponse::Accepted().json(curation))
}

/// All curations that were not deleted.
#[utoipa::path(get, path = "/api/v1/curations", tag = "curations", responses((status = 200, body = CurationList)))]
pub async fn list(state: Data<AppState>) -> Json<CurationList> {
    Json(CurationList {
        curations: state.curations.list(),
    })
}

/// A curation and how far it is.
#[utoipa::path(get, path = "/api/v1/curations/{id}", tag = "curations", params(("id" = Uuid, Path)),
    responses((status = 200, body = Curation), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn get(state: Data<AppState>, id: Path<Uuid>) -> Result<Json<Curation>, AppError> {
    Ok(Json(state.curations.find(*id)?))
}

/// Asks a curation to stop; what is done stays.
#[utoipa::path(post, path = "/api/v1/curations/{id}/stop", tag = "curations", params(("id" = Uuid, Path)),
    responses((status = 202, body = Curation), (status = 409, body = super::openapi::ErrorBody)))]
pub async fn stop(state: Data<AppState>, id: Path<Uuid>) -> Result<impl Responder, AppError> {
    Ok(HttpResponse::Accepted().json(state.curations.stop(*id)?))
}

/// Goes on with a curation that was stopped or failed.
#[utoipa::path(post, path = "/api/v1/curations/{id}/resume", tag = "curations", params(("id" = Uuid, Path)),
    responses((status = 202, body = Curation), (status = 409, body = super::openapi::ErrorBody)))]
pub async fn resume(state: Data<AppState>, id: Path<Uuid>) -> Result<impl Responder, AppError> {
    Ok(HttpResponse::Accepted().json(state.curations.resume(*id)?))
}

/// Ends a curation, where it is not done, and removes its files.
#[utoipa::path(delete, path = "/api/v1/curations/{id}", tag = "curations", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn delete(state: Data<AppState>, id: Path<Uuid>) -> Result<impl Responder, AppError> {
    remove(&state, *id).await?;
    Ok(HttpResponse::NoContent())
}

/// As [`delete`], for the page.
///
/// # Errors
/// 404.
pub async fn remove(state: &AppState, id: Uuid) -> Result<(), AppError> {
    let curations = state.curations.clone();
    blocking(move || curations.delete(id)).await?
}

/// The report of a finished curation.
///
/// # Errors
/// 404, or 409 where it is not done.
pub async fn report_of(state: &AppState, id: Uuid) -> Result<Report, AppError> {
    let curations = state.curations.clone();
    blocking(move || curations.report(id)).await?
}

/// Counts by plugin and reason, examples, and histograms before and after.
#[utoipa::path(get, path = "/api/v1/curations/{id}/report", tag = "curations", params(("id" = Uuid, Path)),
    responses((status = 200, body = Value), (status = 409, body = super::openapi::ErrorBody)))]
pub async fn report(state: Data<AppState>, id: Path<Uuid>) -> Result<Json<Report>, AppError> {
    Ok(Json(report_of(&state, *id).await?))
}

/// A file of a finished curation: data.jsonl, held-out.jsonl where it holds rows out, provenance.jsonl, report.json or
/// curation.json; parts of it, too (`Range`).
#[utoipa::path(get, path = "/api/v1/curations/{id}/files/{name}", tag = "curations",
    params(("id" = Uuid, Path), ("name" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn file(
    state: Data<AppState>,
    path: Path<(Uuid, String)>,
) -> Result<NamedFile, AppError> {
    let (id, name) = path.into_inner();
    if !FILES.contains(&name.as_str()) {
        return Err(AppError::not_found(format!(
            "There is no file {name:?} in a curation."
        )));
    }
    let path = state.curations.file(id, &name)?;
    let file = NamedFile::open_async(&path).await.map_err(|error| {
        tracing::warn!("{}: {error}", path.display());
        AppError::not_found(format!("{name} is not there any more."))
    })?;
    Ok(file
        .set_content_encoding(ContentEncoding::Identity)
        .set_content_disposition(ContentDisposition {
            disposition: DispositionType::Attachment,
            parameters: vec![DispositionParam::Filename(name)],
        }))
}
