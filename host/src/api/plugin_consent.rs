//! What plugins may use, with which settings, and what they used.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use actix_web::web::{Data, Json, Path, Query};
use domain::{Capability, CapabilityUse, FieldErrors, Grants, PluginInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::models;
use super::plugins::find;
use crate::error::AppError;
use crate::state::{AppState, blocking};

type State = Data<AppState>;

/// What a version of a plugin may use; what is left out is not granted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetGrants {
    /// The version that the consent is for, the one that answers or the one that waits.
    pub digest: String,
    /// What it may use; what it does not ask for is refused.
    #[schema(value_type = Vec<String>)]
    pub capabilities: Vec<Capability>,
    /// Hosts: `https://api.example.com`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Private, loopback or link-local addresses that it may reach by the names of its hosts.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// The folder that each of its names is: `{"corpus": "/data/corpus"}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub folders: BTreeMap<String, PathBuf>,
    /// Secrets by name.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Tokens that one call may have the model write.
    #[serde(default)]
    pub tokens: u32,
    /// Id of the model, from `/api/v1/models`; absent for the one that is loaded.
    #[serde(default)]
    pub model: Option<String>,
    /// Id of an adapter on it.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Also for later components that ask for no more and import no more.
    #[serde(default)]
    pub updates: bool,
}

/// Values of a plugin's settings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// Fits the plugin's config schema, laid over what its manifest sets; empty takes all back.
    #[schema(value_type = Object)]
    pub config: BTreeMap<String, Value>,
}

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
pub struct UsesQuery {
    /// At most so many; 100.
    limit: Option<i64>,
}

/// One thing that one call used.
#[derive(Debug, Serialize, ToSchema)]
pub struct UseBody {
    /// When.
    pub created_at: chrono::DateTime<chrono::Utc>,
    /// Of which version.
    pub digest: String,
    /// Capability, target, times, refused, bytes, tokens.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub used: CapabilityUse,
}

/// Grants what a version of a plugin asks for, or takes it back. A version that waited for it takes its place.
///
/// # Errors
/// 404; 409 when another version is there by now; by field, what it does not ask for.
pub async fn consent(
    state: &AppState,
    name: &str,
    grants: SetGrants,
) -> Result<PluginInfo, AppError> {
    find(state, name).await?;
    let known = models::known(state).await?;
    let model = match grants.model.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Some(known.model(id)?.path.clone()),
        None => None,
    };
    let adapter = match grants.adapter.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Some(known.adapter(id)?.path.clone()),
        None => None,
    };
    let digest = grants.digest;
    let grants = Grants {
        capabilities: grants.capabilities,
        hosts: grants.hosts,
        addresses: grants.addresses,
        folders: grants.folders,
        secrets: grants.secrets,
        tokens: grants.tokens,
        // A folder that a run named may be relative to where the studio works.
        model: model.map(absolute),
        adapter: adapter.map(absolute),
        updates: grants.updates,
        imports: Vec::new(),
    };
    let (host, store) = (state.plugin_host.clone(), state.store.clone());
    let wanted = name.to_owned();
    blocking(move || {
        let grants = host
            .check_grants(&wanted, &digest, grants)
            .map_err(|(field, message)| match field {
                "digest" => AppError::Conflict(message),
                field => FieldErrors::one(field, message).into(),
            })?;
        store.set_plugin_grants(&wanted, &digest, &grants)?;
        host.set_grants(&wanted, &digest, grants);
        Ok::<_, AppError>(())
    })
    .await??;
    find(state, name).await
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Sets the user's values for a plugin's settings.
///
/// # Errors
/// 404; under `config`, what does not fit its schema.
pub async fn configure(
    state: &AppState,
    name: &str,
    config: BTreeMap<String, Value>,
) -> Result<PluginInfo, AppError> {
    find(state, name).await?;
    let (host, store) = (state.plugin_host.clone(), state.store.clone());
    let wanted = name.to_owned();
    blocking(move || {
        if !config.is_empty() {
            host.check_config(&wanted, &config)
                .map_err(|error| FieldErrors::one("config", error.to_string()))?;
        }
        store.set_plugin_config(&wanted, &config)?;
        host.set_config(&wanted, config);
        Ok::<_, AppError>(())
    })
    .await??;
    find(state, name).await
}

/// What a plugin used of what it is lent, newest first.
///
/// # Errors
/// When the database fails.
pub async fn audit(state: &AppState, name: &str, limit: i64) -> Result<Vec<UseBody>, AppError> {
    let name = name.to_owned();
    let rows = state
        .store(move |store| store.list_uses(&name, limit))
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| UseBody {
            created_at: row.created_at,
            digest: row.digest,
            used: row.used,
        })
        .collect())
}

/// Grants what a version of a plugin asks for, or takes it back.
#[utoipa::path(put, path = "/api/v1/plugins/{name}/grants", tag = "plugins", params(("name" = String, Path)),
    request_body = SetGrants, responses((status = 200, body = Object), (status = 409, body = super::openapi::ErrorBody),
    (status = 422, body = super::openapi::ErrorBody)))]
pub async fn set_grants(
    state: State,
    name: Path<String>,
    body: Json<SetGrants>,
) -> Result<Json<PluginInfo>, AppError> {
    Ok(Json(consent(&state, &name, body.into_inner()).await?))
}

/// The user's values for a plugin's settings.
#[utoipa::path(get, path = "/api/v1/plugins/{name}/config", tag = "plugins", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn get_config(
    state: State,
    name: Path<String>,
) -> Result<Json<BTreeMap<String, Value>>, AppError> {
    find(&state, &name).await?;
    let name = name.into_inner();
    Ok(Json(state.plugins(move |host| host.config(&name)).await?))
}

/// Sets the user's values for a plugin's settings.
#[utoipa::path(put, path = "/api/v1/plugins/{name}/config", tag = "plugins", params(("name" = String, Path)),
    request_body = SetConfig, responses((status = 200, body = Object), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn set_config(
    state: State,
    name: Path<String>,
    body: Json<SetConfig>,
) -> Result<Json<PluginInfo>, AppError> {
    Ok(Json(
        configure(&state, &name, body.into_inner().config).await?,
    ))
}

/// What a plugin used of what it is lent, newest first.
#[utoipa::path(get, path = "/api/v1/plugins/{name}/uses", tag = "plugins",
    params(("name" = String, Path), UsesQuery), responses((status = 200, body = Vec<UseBody>)))]
pub async fn uses(
    state: State,
    name: Path<String>,
    query: Query<UsesQuery>,
) -> Result<Json<Vec<UseBody>>, AppError> {
    find(&state, &name).await?;
    let limit = query.limit.unwrap_or(100).clamp(1, 1000);
    Ok(Json(audit(&state, &name, limit).await?))
}
