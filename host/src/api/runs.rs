use actix_web::http::header;
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpResponse, Responder};
use chrono::{DateTime, Utc};
use domain::{RunId, RunStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Run, RunFilter};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::submit;
use crate::error::AppError;
use crate::jobs::deletion;
use crate::state::{AppState, blocking};

/// A run and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunBody {
    /// UUID, version 7.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// queued, running, stopping, completed, stopped, failed or interrupted.
    pub status: String,
    /// Why it failed or was interrupted.
    pub error: Option<String>,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps in all, once known.
    pub total_steps: Option<u64>,
    /// Epochs done, as a fraction.
    pub epoch: f64,
    /// Training loss of the last step.
    pub last_loss: Option<f64>,
    /// Held-out loss of the last evaluation.
    pub eval_loss: Option<f64>,
    /// Speed of the last step.
    pub tokens_per_second: Option<f64>,
    /// What the run's curators made of its data, as in the `curated` event; null where it has none.
    pub curation: Option<Value>,
    /// Number of its newest event.
    pub last_event: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When a worker first took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The RUN.toml as JSON.
    pub config: Value,
}

impl From<Run> for RunBody {
    fn from(run: Run) -> Self {
        Self {
            id: run.id.0,
            name: run.name,
            status: run.status.to_string(),
            error: run.error,
            step: run.step,
            total_steps: run.total_steps,
            epoch: run.epoch,
            last_loss: run.last_loss,
            eval_loss: run.eval_loss,
            tokens_per_second: run.tokens_per_second,
            curation: run
                .curation
                .map(|summary| serde_json::to_value(summary).expect("plain data serializes")),
            last_event: run.event_seq,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            config: serde_json::to_value(&run.config).expect("a run config serializes"),
        }
    }
}

/// A page of runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunList {
    /// Newest first.
    pub runs: Vec<RunBody>,
    /// How many match in all.
    pub total: i64,
}

/// Which runs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub struct RunQuery {
    /// Only this status.
    #[serde(default)]
    pub status: String,
    /// Only names that contain this.
    #[serde(default)]
    pub search: String,
    /// At most so many; 100.
    pub limit: Option<i64>,
    /// Skip so many.
    pub offset: Option<i64>,
}

impl RunQuery {
    /// The store's filter.
    ///
    /// # Errors
    /// Under `status`, when it is no status.
    pub fn filter(&self) -> Result<RunFilter, AppError> {
        let status = match self.status.as_str() {
            "" => Vec::new(),
            word => vec![
                word.parse::<RunStatus>()
                    .map_err(|message| domain::FieldErrors::one("status", message))?,
            ],
        };
        Ok(RunFilter {
            status,
            search: Some(self.search.trim().to_owned()).filter(|text| !text.is_empty()),
            limit: self.limit.unwrap_or(100).clamp(1, 1000),
            offset: self.offset.unwrap_or(0).max(0),
            ..RunFilter::default()
        })
    }
}

/// A run to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// What to call it; made from model and data when left out.
    pub name: Option<String>,
    /// A RUN.toml as JSON; see the documentation. `train.output` is chosen by the studio.
    pub config: Value,
}

/// A new name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameRun {
    /// One line, at most 120 characters.
    pub name: String,
}

/// A saved state of a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckpointBody {
    /// The step that it holds.
    pub step: u64,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

type State = Data<AppState>;

/// Runs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(RunQuery),
    responses((status = 200, body = RunList), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn list(state: State, query: Query<RunQuery>) -> Result<Json<RunList>, AppError> {
    let filter = query.filter()?;
    let (runs, total) = state
        .store(move |store| Ok((store.list_runs(&filter)?, store.count_runs(&filter)?)))
        .await?;
    Ok(Json(RunList {
        runs: runs.into_iter().map(Into::into).collect(),
        total,
    }))
}

/// Puts a run into the queue; a worker takes it.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = CreateRun,
    responses((status = 201, body = RunBody), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn create(state: State, body: Json<CreateRun>) -> Result<impl Responder, AppError> {
    let body = body.into_inner();
    let run = submit::submit(&state, body.name.as_deref(), body.config).await?;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/api/v1/runs/{}", run.id)))
        .json(RunBody::from(run)))
}

/// The run of that id.
///
/// # Errors
/// 404 when there is none.
pub async fn find(state: &AppState, id: RunId) -> Result<Run, AppError> {
    state
        .store(move |store| store.find_run(id))
        .await?
        .ok_or_else(|| AppError::not_found(format!("There is no run {id}.")))
}

/// One run.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = Uuid, Path)),
    responses((status = 200, body = RunBody), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn get(state: State, id: Path<RunId>) -> Result<Json<RunBody>, AppError> {
    Ok(Json(find(&state, *id).await?.into()))
}

/// Gives a run another name.
#[utoipa::path(patch, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = Uuid, Path)), request_body = RenameRun,
    responses((status = 200, body = RunBody), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn rename(
    state: State,
    id: Path<RunId>,
    body: Json<RenameRun>,
) -> Result<Json<RunBody>, AppError> {
    let name = submit::name(&body.name)?;
    let run = state
        .store(move |store| store.rename_run(*id, &name))
        .await?;
    Ok(Json(run.into()))
}

/// Asks a run to stop; it ends within one step and saves.
#[utoipa::path(post, path = "/api/v1/runs/{id}/stop", tag = "runs", params(("id" = Uuid, Path)),
    responses((status = 202, body = RunBody), (status = 409, body = super::openapi::ErrorBody)))]
pub async fn stop(state: State, id: Path<RunId>) -> Result<impl Responder, AppError> {
    let run = state.store(move |store| store.request_stop(*id)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(run)))
}

/// Queues a stopped, failed or interrupted run again; it goes on from its last checkpoint.
#[utoipa::path(post, path = "/api/v1/runs/{id}/resume", tag = "runs", params(("id" = Uuid, Path)),
    responses((status = 202, body = RunBody), (status = 409, body = super::openapi::ErrorBody)))]
pub async fn resume(state: State, id: Path<RunId>) -> Result<impl Responder, AppError> {
    let run = state.store(move |store| store.requeue_run(*id)).await?;
    Ok(HttpResponse::Accepted().json(RunBody::from(run)))
}

/// Deletes a run that has ended, with its files.
#[utoipa::path(delete, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 409, body = super::openapi::ErrorBody)))]
pub async fn delete(state: State, id: Path<RunId>) -> Result<impl Responder, AppError> {
    remove(&state, *id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Deletes the row and the run's folder, both or neither.
///
/// # Errors
/// 404, or 409 while a worker may still write.
pub async fn remove(state: &AppState, id: RunId) -> Result<(), AppError> {
    let (paths, store) = (state.config.paths.clone(), state.store.clone());
    let removed = blocking(move || deletion::delete_run(&paths, &store, id)).await?;
    removed.map_err(|error| match error.downcast::<store::Error>() {
        Ok(error) => error.into(),
        Err(error) => error.into(),
    })
}

/// Checkpoints of a run, newest last.
#[utoipa::path(get, path = "/api/v1/runs/{id}/checkpoints", tag = "runs", params(("id" = Uuid, Path)),
    responses((status = 200, body = Vec<CheckpointBody>)))]
pub async fn checkpoints(
    state: State,
    id: Path<RunId>,
) -> Result<Json<Vec<CheckpointBody>>, AppError> {
    let run = find(&state, *id).await?;
    let saved = state
        .store(move |store| store.list_checkpoints(run.id))
        .await?;
    Ok(Json(
        saved
            .into_iter()
            .map(|checkpoint| CheckpointBody {
                step: checkpoint.step,
                created_at: checkpoint.created_at,
            })
            .collect(),
    ))
}
