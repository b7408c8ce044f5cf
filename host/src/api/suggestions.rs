//! What the user says of the suggestions that plugins make.

use actix_web::web::{Data, Json, Path};
use domain::{ExecutionOutcome, FieldErrors};
use serde::{Deserialize, Serialize};
use store::SuggestionVerdict;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::AppError;
use crate::state::AppState;

type State = Data<AppState>;

/// The user's word on one suggestion.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeSuggestion {
    /// Where it stands in the answer, as a JSON pointer: `/diagnostics/3/suggestion`.
    pub pointer: String,
    /// `accepted` or `rejected`.
    #[schema(value_type = String)]
    pub verdict: SuggestionVerdict,
}

/// A suggestion that was judged.
#[derive(Debug, Serialize, ToSchema)]
pub struct SuggestionBody {
    /// Where it stands in the answer.
    pub pointer: String,
    /// What the user said.
    #[schema(value_type = String)]
    pub verdict: SuggestionVerdict,
    /// When.
    pub updated_at: chrono::DateTime<chrono::Utc>,
}

/// Keeps the user's word on a suggestion of a past call, in place of the one before.
///
/// # Errors
/// 404 for another plugin's call; under `pointer`, what does not stand in its answer.
pub async fn judge(
    state: &AppState,
    plugin: &str,
    execution: Uuid,
    judged: JudgeSuggestion,
) -> Result<SuggestionBody, AppError> {
    find(state, plugin, execution, Some(&judged.pointer)).await?;
    let kept = state
        .store(move |store| store.judge_suggestion(execution, &judged.pointer, judged.verdict))
        .await?;
    Ok(SuggestionBody {
        pointer: kept.pointer,
        verdict: kept.verdict,
        updated_at: kept.updated_at,
    })
}

async fn find(
    state: &AppState,
    plugin: &str,
    id: Uuid,
    pointer: Option<&str>,
) -> Result<(), AppError> {
    let found = state.store(move |store| store.find_execution(id)).await?;
    let call = found
        .filter(|found| found.execution.plugin == plugin)
        .ok_or_else(|| AppError::not_found(format!("The plugin {plugin} has no call {id}.")))?;
    let Some(pointer) = pointer else {
        return Ok(());
    };
    let stands_there = match &call.execution.outcome {
        ExecutionOutcome::Ok { output } => output.pointer(pointer).is_some(),
        ExecutionOutcome::Failed { .. } => false,
    };
    match stands_there {
        true => Ok(()),
        false => Err(FieldErrors::one(
            "pointer",
            format!("must be a place in the answer of that call, not {pointer:?}"),
        )
        .into()),
    }
}

/// Says of one suggestion whether it was accepted.
#[utoipa::path(put, path = "/api/v1/plugins/{name}/executions/{id}/suggestions", tag = "plugins",
    params(("name" = String, Path), ("id" = Uuid, Path)), request_body = JudgeSuggestion,
    responses((status = 200, body = SuggestionBody), (status = 404, body = super::openapi::ErrorBody),
    (status = 422, body = super::openapi::ErrorBody)))]
pub async fn set(
    state: State,
    path: Path<(String, Uuid)>,
    body: Json<JudgeSuggestion>,
) -> Result<Json<SuggestionBody>, AppError> {
    let (name, id) = path.into_inner();
    Ok(Json(judge(&state, &name, id, body.into_inner()).await?))
}

/// Every suggestion of a call that was judged.
#[utoipa::path(get, path = "/api/v1/plugins/{name}/executions/{id}/suggestions", tag = "plugins",
    params(("name" = String, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Vec<SuggestionBody>), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn list(
    state: State,
    path: Path<(String, Uuid)>,
) -> Result<Json<Vec<SuggestionBody>>, AppError> {
    let (name, id) = path.into_inner();
    find(&state, &name, id, None).await?;
    let rows = state.store(move |store| store.list_suggestions(id)).await?;
    Ok(Json(
        rows.into_iter()
            .map(|row| SuggestionBody {
                pointer: row.pointer,
                verdict: row.verdict,
                updated_at: row.updated_at,
            })
            .collect(),
    ))
}
