use actix_files::NamedFile;
use actix_web::http::header::{
    self, ContentDisposition, ContentEncoding, DispositionParam, DispositionType,
};
use actix_web::web::{Bytes, Data, Json, Path};
use actix_web::{HttpResponse, Responder};
use domain::FieldErrors;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use store::AdapterKind;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;
use uuid::Uuid;

use super::models;
use crate::error::AppError;
use crate::exports::{Export, NewExport, archive};
use crate::state::{AppState, blocking};

/// Formats, and whether one needs an adapter.
pub const FORMATS: [(&str, bool); 4] = [
    ("peft", true),
    ("safetensors", false),
    ("gguf", false),
    ("gguf-lora", true),
];
/// Types of the weights.
pub const DTYPES: [&str; 5] = ["f32", "f16", "bf16", "q8_0", "q4_k"];

/// An export to be made: of an adapter with its model, or of a model as it is.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateExport {
    /// Id of an adapter, from `/api/v1/models`.
    pub adapter: Option<String>,
    /// Id of a model, where there is no adapter.
    pub model: Option<String>,
    /// peft, safetensors, gguf or gguf-lora.
    pub format: String,
    /// f32, f16 or bf16, in a gguf also q8_0 and q4_k; the base's own where it is left out.
    pub dtype: Option<String>,
}

/// Exports.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExportList {
    /// Newest first.
    pub exports: Vec<Export>,
}

/// Checks what is asked for, and begins it.
///
/// # Errors
/// Field by field, what is unknown, or that too many wait.
pub async fn begin(state: &AppState, body: CreateExport) -> Result<Export, AppError> {
    let mut errors = FieldErrors::default();
    let needs_adapter = FORMATS
        .iter()
        .find(|(format, _)| *format == body.format)
        .map(|(_, needs)| *needs);
    match needs_adapter {
        None => errors.push(
            "format",
            format!(
                "must be peft, safetensors, gguf or gguf-lora, not {:?}",
                body.format
            ),
        ),
        Some(true) if body.adapter.is_none() => {
            errors.push("format", "holds an adapter and nothing else; choose one");
        }
        Some(_) => {}
    }
    if let Some(dtype) = &body.dtype {
        let packed = matches!(dtype.as_str(), "q8_0" | "q4_k");
        let message = if !DTYPES.contains(&dtype.as_str()) {
            Some(format!(
                "must be f32, f16, bf16, q8_0 or q4_k, not {dtype:?}"
            ))
        } else if body.format == "peft" {
            Some("has no meaning for peft: the adapter keeps its own".to_owned())
        } else if packed && body.format != "gguf" {
            Some(format!("{dtype} is for the format gguf"))
        } else if dtype == "bf16" && body.format == "gguf-lora" {
            Some("of a GGUF LoRA is f32 or f16".to_owned())
        } else {
            None
        };
        message
            .into_iter()
            .for_each(|message| errors.push("dtype", message));
    }
    if body.adapter.is_some() == body.model.is_some() {
        errors.push("adapter", "give an adapter or a model, one of both");
    }
    errors.into_result()?;
    let known = models::known(state).await?;
    let (name, model, adapter) = match (&body.adapter, &body.model) {
        (Some(id), _) => {
            let adapter = known.adapter(id)?;
            let model = base_of(state, id, known.model(&adapter.model).ok()).await?;
            (adapter.name.clone(), model, Some(adapter.path.clone()))
        }
        (None, id) => {
            let model = known.model(id.as_deref().unwrap_or_default())?;
            (model.name.clone(), model.path.display().to_string(), None)
        }
    };
    state.exports.start(NewExport {
        name,
        model,
        adapter,
        format: body.format,
        dtype: body.dtype,
    })
}

/// Folder of an adapter's base, or its repository of the hub.
async fn base_of(
    state: &AppState,
    id: &str,
    known: Option<&models::Model>,
) -> Result<String, AppError> {
    if let Some(model) = known {
        return Ok(model.path.display().to_string());
    }
    let missing = || {
        AppError::Conflict(
            "The model that this adapter belongs on is not there any more; it cannot be exported."
                .to_owned(),
        )
    };
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let (row, run) = state
        .store(move |store| {
            let row = store.find_adapter(id)?;
            let run = match row.as_ref().and_then(|row| row.run_id) {
                Some(run) => store.find_run(run)?,
                None => None,
            };
            Ok((row, run))
        })
        .await?;
    let repo = run.and_then(|run| {
        let model = run.config.model;
        let repo = model.repo?;
        Some(match model.revision {
            Some(revision) => format!("{repo}@{revision}"),
            None => repo,
        })
    });
    let noted = row
        .filter(|row| row.kind == AdapterKind::Adapter)
        .and_then(|row| row.base_model)
        .filter(|base| std::path::Path::new(base).is_dir());
    repo.or(noted).ok_or_else(missing)
}

/// Begins an export. It is made in a process of its own, one at a time.
#[utoipa::path(post, path = "/api/v1/exports", tag = "exports", request_body = CreateExport,
    responses((status = 202, body = Export), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn create(
    state: Data<AppState>,
    body: Json<CreateExport>,
) -> Result<impl Responder, AppError> {
    let export = begin(&state, body.into_inner()).await?;
    Ok(HttpResponse::Accepted().json(export))
}

/// All exports that were not deleted.
#[utoipa::path(get, path = "/api/v1/exports", tag = "exports", responses((status = 200, body = ExportList)))]
pub async fn list(state: Data<AppState>) -> Json<ExportList> {
    Json(ExportList {
        exports: state.exports.list(),
    })
}

/// An export and how far it is.
#[utoipa::path(get, path = "/api/v1/exports/{id}", tag = "exports", params(("id" = Uuid, Path)),
    responses((status = 200, body = Export), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn get(state: Data<AppState>, id: Path<Uuid>) -> Result<Json<Export>, AppError> {
    Ok(Json(state.exports.find(*id)?))
}

/// Ends an export, where it is not done, and removes its files.
#[utoipa::path(delete, path = "/api/v1/exports/{id}", tag = "exports", params(("id" = Uuid, Path)),
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
    let exports = state.exports.clone();
    blocking(move || exports.delete(id)).await?
}

/// All files of a finished export as one tar, made while it is sent.
#[utoipa::path(get, path = "/api/v1/exports/{id}/archive", tag = "exports", params(("id" = Uuid, Path)),
    responses((status = 200, content_type = "application/x-tar", body = Vec<u8>), (status = 409, body = super::openapi::ErrorBody)))]
pub async fn archive(state: Data<AppState>, id: Path<Uuid>) -> Result<HttpResponse, AppError> {
    let (export, folder) = state.exports.folder(*id)?;
    let (title, length) = (export.title(), archive::size(&export.files));
    let modified = export.created_at.timestamp().unsigned_abs();
    // Before the answer begins: what is missing can still be said, and a deletion harms no download.
    let opened = blocking(move || archive::open(&folder, export.files)).await?;
    let opened = opened.map_err(|error| {
        tracing::warn!("export {id}: {error}");
        AppError::Conflict(format!(
            "The files of this export are not as they were: {error}"
        ))
    })?;
    let pieces = archive::stream(opened, &title, modified);
    let pieces = ReceiverStream::new(pieces).map(|piece| piece.map(Bytes::from));
    Ok(HttpResponse::Ok()
        .content_type("application/x-tar")
        .insert_header(saved_as(&format!("{title}.tar")))
        // A compressor would cost time and take the length away.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .no_chunking(length)
        .streaming(pieces))
}

/// One file of a finished export; parts of it, too (`Range`).
#[utoipa::path(get, path = "/api/v1/exports/{id}/files/{name}", tag = "exports",
    params(("id" = Uuid, Path), ("name" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn file(
    state: Data<AppState>,
    path: Path<(Uuid, String)>,
) -> Result<NamedFile, AppError> {
    let (id, name) = path.into_inner();
    let path = state.exports.file(id, &name)?;
    let file = NamedFile::open_async(&path).await.map_err(|error| {
        tracing::warn!("{}: {error}", path.display());
        AppError::not_found(format!("{name} is not there any more."))
    })?;
    Ok(file
        .set_content_encoding(ContentEncoding::Identity)
        .set_content_disposition(saved_as(&name)))
}

fn saved_as(name: &str) -> ContentDisposition {
    ContentDisposition {
        disposition: DispositionType::Attachment,
        parameters: vec![DispositionParam::Filename(name.to_owned())],
    }
}
