//! Secrets for plugins: names come out, values only go in.

use actix_web::web::{Data, Json, Path};
use domain::FieldErrors;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::AppError;
use crate::secrets::Error;
use crate::state::{AppState, blocking};

type State = Data<AppState>;

/// A value, which no answer holds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// 8 bytes to 64 KiB; white space around it is taken off.
    value: String,
}

/// What there is.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretsBody {
    /// Names, in order.
    pub names: Vec<String>,
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(message) => FieldErrors::one("secret", message).into(),
            error @ Error::Io { .. } => Self::Internal(error.into()),
        }
    }
}

/// The names of all secrets.
///
/// # Errors
/// When the folder cannot be read.
pub async fn names(state: &AppState) -> Result<Vec<String>, AppError> {
    let secrets = state.secrets.clone();
    Ok(blocking(move || secrets.names()).await??)
}

/// Keeps a secret.
///
/// # Errors
/// Under `secret`, a name or value that will not do.
pub async fn keep(state: &AppState, name: &str, value: String) -> Result<(), AppError> {
    let (secrets, name) = (state.secrets.clone(), name.to_owned());
    Ok(blocking(move || secrets.set(&name, &value)).await??)
}

/// The names of all secrets.
#[utoipa::path(get, path = "/api/v1/secrets", tag = "plugins", responses((status = 200, body = SecretsBody)))]
pub async fn list(state: State) -> Result<Json<SecretsBody>, AppError> {
    let names = names(&state).await?;
    Ok(Json(SecretsBody { names }))
}

/// Keeps a secret, in place of the one before.
#[utoipa::path(put, path = "/api/v1/secrets/{name}", tag = "plugins", params(("name" = String, Path)),
    request_body = SetSecret, responses((status = 200, body = SecretsBody), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn set(
    state: State,
    name: Path<String>,
    body: Json<SetSecret>,
) -> Result<Json<SecretsBody>, AppError> {
    keep(&state, &name, body.into_inner().value).await?;
    list(state).await
}

/// Forgets a secret.
#[utoipa::path(delete, path = "/api/v1/secrets/{name}", tag = "plugins", params(("name" = String, Path)),
    responses((status = 200, body = SecretsBody), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn delete(state: State, name: Path<String>) -> Result<Json<SecretsBody>, AppError> {
    let (secrets, name) = (state.secrets.clone(), name.into_inner());
    blocking(move || secrets.remove(&name)).await??;
    list(state).await
}
