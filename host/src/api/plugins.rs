use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path, Query};
use domain::{Execution, PluginInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::ExecutionFilter;
use utoipa::{IntoParams, ToSchema};

use crate::error::AppError;
use crate::state::{AppState, blocking};

type State = Data<AppState>;

/// Input for a plugin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunPlugin {
    /// Fits the plugin's input schema.
    pub input: Value,
}

/// Whether a plugin may be called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetEnabled {
    /// `false` refuses every call, from everywhere.
    pub enabled: bool,
}

/// How many executions.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ExecutionsQuery {
    /// At most so many; 50.
    limit: Option<i64>,
}

/// One call.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunPluginBody {
    /// Names it in the history; none when it could not be kept there.
    pub id: Option<uuid::Uuid>,
    /// What happened: digest, duration, fuel, memory, log, outcome.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub execution: Execution,
}

/// One past call.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExecutionBody {
    /// Names it in other requests.
    pub id: uuid::Uuid,
    /// When it began.
    pub created_at: chrono::DateTime<chrono::Utc>,
    /// What happened: digest, duration, fuel, memory, log, outcome.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub execution: Execution,
}

/// The plugin of that name.
///
/// # Errors
/// 404 that names the ones that exist; 409 while some are still to come.
pub async fn find(state: &AppState, name: &str) -> Result<PluginInfo, AppError> {
    let wanted = name.to_owned();
    let (is_loading, found, all) = state
        // In this order: one that comes in between is found.
        .plugins(move |host| (host.is_loading(), host.get(&wanted), host.list()))
        .await?;
    if found.is_none() && is_loading {
        return Err(AppError::refused(
            StatusCode::CONFLICT,
            "plugins_loading",
            format!(
                "Plugins are still being compiled, once for this machine; {name:?} is not there yet. Try again in a moment."
            ),
        ));
    }
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|plugin| plugin.name.as_str()).collect();
        AppError::not_found(format!(
            "There is no plugin {name:?}; the studio has {}.",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        ))
    })
}

/// Calls a plugin and keeps the call in the history, also when it failed.
///
/// # Errors
/// 404, 409 when it is disabled or cannot be called now.
pub async fn execute(
    state: &AppState,
    name: &str,
    input: Value,
) -> Result<RunPluginBody, AppError> {
    find(state, name).await?;
    let (host, store) = (state.plugin_host.clone(), state.store.clone());
    let name = name.to_owned();
    blocking(move || {
        let execution = host.run(&name, &input)?;
        // The answer is worth more than its line in the history.
        let id = store
            .record_execution(&execution, None)
            .inspect_err(|error| {
                tracing::error!("the call of plugin {name} is missing in the history: {error}");
            });
        Ok(RunPluginBody {
            id: id.ok(),
            execution,
        })
    })
    .await?
}

/// Switches a plugin on or off, for good: the store remembers it and the host enforces it.
///
/// # Errors
/// 404.
pub async fn switch(state: &AppState, name: &str, enabled: bool) -> Result<PluginInfo, AppError> {
    find(state, name).await?;
    let (host, store) = (state.plugin_host.clone(), state.store.clone());
    let wanted = name.to_owned();
    blocking(move || {
        store.set_plugin_enabled(&wanted, enabled)?;
        host.set_enabled(&wanted, enabled);
        Ok::<_, store::Error>(())
    })
    .await??;
    find(state, name).await
}

/// Every plugin, with its health.
#[utoipa::path(get, path = "/api/v1/plugins", tag = "plugins", responses((status = 200, body = Vec<Object>)))]
pub async fn list(state: State) -> Result<Json<Vec<PluginInfo>>, AppError> {
    Ok(Json(state.plugins(|host| host.list()).await?))
}

/// One plugin.
#[utoipa::path(get, path = "/api/v1/plugins/{name}", tag = "plugins", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn get(state: State, name: Path<String>) -> Result<Json<PluginInfo>, AppError> {
    Ok(Json(find(&state, &name).await?))
}

/// Calls a plugin. What went wrong inside the plugin is an outcome, not an error.
#[utoipa::path(post, path = "/api/v1/plugins/{name}/run", tag = "plugins", params(("name" = String, Path)),
    request_body = RunPlugin, responses((status = 200, body = Object),
    (status = 404, body = super::openapi::ErrorBody), (status = 409, body = super::openapi::ErrorBody)))]
pub async fn run(
    state: State,
    name: Path<String>,
    body: Json<RunPlugin>,
) -> Result<Json<RunPluginBody>, AppError> {
    Ok(Json(execute(&state, &name, body.into_inner().input).await?))
}

/// Switches a plugin on or off.
#[utoipa::path(put, path = "/api/v1/plugins/{name}/enabled", tag = "plugins", params(("name" = String, Path)),
    request_body = SetEnabled, responses((status = 200, body = Object), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn set_enabled(
    state: State,
    name: Path<String>,
    body: Json<SetEnabled>,
) -> Result<Json<PluginInfo>, AppError> {
    Ok(Json(switch(&state, &name, body.enabled).await?))
}

/// Past calls of a plugin, newest first.
///
/// # Errors
/// When the database fails.
pub async fn history(
    state: &AppState,
    name: &str,
    limit: i64,
) -> Result<Vec<ExecutionBody>, AppError> {
    let filter = ExecutionFilter {
        plugin: Some(name.to_owned()),
        limit,
        ..ExecutionFilter::default()
    };
    let rows = state
        .store(move |store| store.list_executions(&filter))
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| ExecutionBody {
            id: row.id,
            created_at: row.created_at,
            execution: row.execution,
        })
        .collect())
}

/// Past calls of a plugin, newest first.
#[utoipa::path(get, path = "/api/v1/plugins/{name}/executions", tag = "plugins",
    params(("name" = String, Path), ExecutionsQuery), responses((status = 200, body = Vec<ExecutionBody>)))]
pub async fn executions(
    state: State,
    name: Path<String>,
    query: Query<ExecutionsQuery>,
) -> Result<Json<Vec<ExecutionBody>>, AppError> {
    find(&state, &name).await?;
    let limit = query.limit.unwrap_or(50).clamp(1, 500);
    Ok(Json(history(&state, &name, limit).await?))
}
