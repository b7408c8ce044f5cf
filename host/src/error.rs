//! The one mapping from errors to HTTP: JSON for the API, a page for people, a fixed sentence for what is our fault.

use std::borrow::Cow;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::{JsonPayloadError, PathError, QueryPayloadError, UrlencodedError};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::web::{Data, Html};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use domain::{FieldError, FieldErrors};
use serde::Serialize;
use serde_json::json;

use crate::state::AppState;
use crate::templates::{Layout, Page};

const OUR_FAULT: &str =
    "Something went wrong in the studio. The log says what; what was saved is safe.";

/// Everything a handler can fail with.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No such run, plugin, page, …; holds the sentence.
    #[error("{0}")]
    NotFound(String),
    /// The input is at fault, field by field.
    #[error("{0}")]
    Invalid(#[from] FieldErrors),
    /// The request is fine, but not now: a run that is still going cannot be deleted.
    #[error("{0}")]
    Conflict(String),
    /// Refused with a status and a code of its own.
    #[error("{message}")]
    Refused {
        /// Below 500.
        status: StatusCode,
        /// A word to branch on.
        code: &'static str,
        /// What, where and what to do.
        message: Cow<'static, str>,
    },
    /// Our fault; the visitor learns nothing of the cause, the log does.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl AppError {
    /// A refusal with a status below 500 and a code of its own.
    pub fn refused(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Refused {
            status,
            code,
            message: message.into(),
        }
    }

    /// No such thing.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound(what.into())
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::Refused { status, code, .. } => (*status, code),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    pub(crate) fn message(&self) -> String {
        match self {
            Self::Internal(_) => OUR_FAULT.to_owned(),
            Self::Invalid(errors) if errors.0.len() == 1 => errors.0[0].message.clone(),
            other => other.to_string(),
        }
    }
}

impl From<store::Error> for AppError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NotFound { .. } => Self::NotFound(error.to_string()),
            store::Error::WrongStatus { .. } => Self::Conflict(error.to_string()),
            other => Self::Internal(other.into()),
        }
    }
}

impl From<plugin_host::Error> for AppError {
    fn from(error: plugin_host::Error) -> Self {
        use plugin_host::Error as Plugin;
        match &error {
            Plugin::Unknown { .. } => Self::NotFound(error.to_string()),
            Plugin::Disabled { .. }
            | Plugin::Broken { .. }
            | Plugin::Resting { .. }
            | Plugin::NotGranted { .. }
            | Plugin::NoAbility { .. }
            | Plugin::Config { .. } => {
                Self::refused(StatusCode::CONFLICT, error.code(), error.to_string())
            }
            Plugin::Busy { .. } => Self::refused(
                StatusCode::SERVICE_UNAVAILABLE,
                error.code(),
                error.to_string(),
            ),
            _ => Self::Internal(error.into()),
        }
    }
}

impl From<engine::Error> for AppError {
    fn from(error: engine::Error) -> Self {
        use engine::Error as Engine;
        match error {
            Engine::Fields(errors) => Self::Invalid(errors),
            Engine::Compute(_) => Self::Internal(error.into()),
            // What is wrong with a file that the user named is the user's to know.
            other => Self::refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                other.code(),
                other.to_string(),
            ),
        }
    }
}

impl ResponseError for AppError {
    fn status_code(&self) -> StatusCode {
        self.status_and_code().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, code) = self.status_and_code();
        if let Self::Internal(cause) = self {
            tracing::error!("{cause:#}");
        }
        let mut error = json!({ "code": code, "message": self.message() });
        if let Self::Invalid(errors) = self {
            if let [only] = errors.0.as_slice() {
                error["field"] = only.field.clone().into();
            }
            error["fields"] = json!(errors.0);
        }
        let mut response = HttpResponse::build(status).json(json!({ "error": error }));
        response.extensions_mut().insert(Shown {
            message: self.message(),
            fields: match self {
                Self::Invalid(errors) => errors.0.clone(),
                _ => Vec::new(),
            },
        });
        response
    }
}

/// What an error page needs of the error; travels beside the response.
#[derive(Debug, Clone)]
struct Shown {
    message: String,
    fields: Vec<FieldError>,
}

#[derive(Serialize)]
struct ErrorPage {
    status: u16,
    title: &'static str,
    message: String,
    fields: Vec<FieldError>,
}

impl Page for ErrorPage {
    const TEMPLATE: &'static str = "error.html";
}

#[derive(Serialize)]
struct ErrorFragment {
    message: String,
    fields: Vec<FieldError>,
}

impl Page for ErrorFragment {
    const TEMPLATE: &'static str = "fragments/error.html";
}

/// Turns an error's JSON into a page, or into a fragment where htmx asked, on every path but the API's.
pub async fn show_as_page(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let path = response.request().path();
    if path.starts_with("/api/") || path == "/metrics" || path == "/readyz" {
        return Ok(response);
    }
    let Some(shown) = response.response().extensions().get::<Shown>().cloned() else {
        return Ok(response);
    };
    let status = response.status();
    let request = response.request().clone();
    let body = page_of(&request, status, shown);
    let mut answer = HttpResponse::build(status);
    answer.insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"));
    if status == StatusCode::UNAUTHORIZED {
        // htmx then loads the page again.
        answer.insert_header(("hx-refresh", "true"));
    }
    Ok(ServiceResponse::new(request, answer.body(body)))
}

fn page_of(request: &HttpRequest, status: StatusCode, shown: Shown) -> String {
    let Shown { message, fields } = shown;
    let plain = message.clone();
    let Some(state) = request.app_data::<Data<AppState>>() else {
        return plain;
    };
    let layout = Layout::of(request, state);
    let rendered = if request.headers().contains_key("hx-request") {
        state
            .templates
            .render(&layout, &ErrorFragment { message, fields })
    } else {
        let title = match status.as_u16() {
            404 => "Not here",
            409 => "Not now",
            413 => "Too large",
            421 | 403 => "Refused",
            429 => "Too many tries",
            code if code >= 500 => "Our fault",
            _ => "That did not work",
        };
        let status = status.as_u16();
        state.templates.render(
            &layout,
            &ErrorPage {
                status,
                title,
                message,
                fields,
            },
        )
    };
    rendered.unwrap_or_else(|error| {
        tracing::error!("the error page itself: {error:#}");
        plain
    })
}

/// The answer to every path that nothing else answers.
pub async fn no_such_page(request: HttpRequest) -> Result<HttpResponse, AppError> {
    Err(AppError::not_found(format!(
        "There is nothing at {}.",
        request.path()
    )))
}

/// Errors of the extractors, in the same words as all others.
pub fn of_json(error: JsonPayloadError, _: &HttpRequest) -> actix_web::Error {
    match &error {
        JsonPayloadError::OverflowKnownLength { limit, .. }
        | JsonPayloadError::Overflow { limit } => too_large(*limit),
        JsonPayloadError::ContentType => AppError::refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "Send the body as Content-Type: application/json.",
        ),
        _ => FieldErrors::one("", format!("is not the JSON that belongs here: {error}")).into(),
    }
    .into()
}

/// Errors of a form body.
pub fn of_form(error: UrlencodedError, _: &HttpRequest) -> actix_web::Error {
    match &error {
        UrlencodedError::Overflow { limit, .. } => too_large(*limit),
        _ => AppError::refused(
            StatusCode::BAD_REQUEST,
            "form",
            format!("The form cannot be read: {error}."),
        ),
    }
    .into()
}

/// Errors of a query string.
pub fn of_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    AppError::refused(
        StatusCode::BAD_REQUEST,
        "query",
        format!("The query of this address cannot be read: {error}."),
    )
    .into()
}

/// A path whose parts are not what they must be names nothing.
pub fn of_path(_: PathError, request: &HttpRequest) -> actix_web::Error {
    AppError::not_found(format!("There is nothing at {}.", request.path())).into()
}

fn too_large(limit: usize) -> AppError {
    AppError::refused(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!(
            "The request is larger than the {} KiB that are taken here.",
            limit >> 10
        ),
    )
}

/// A page as an answer.
pub type HtmlResult = Result<Html, AppError>;

/// A redirect after a form, so that a reload does not send it again.
pub fn see_other(to: impl Into<String>) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, to.into()))
        .finish()
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    async fn body(error: AppError) -> (StatusCode, String) {
        let response = error.error_response();
        let status = response.status();
        let bytes = to_bytes(response.into_body()).await.unwrap();
        (status, String::from_utf8(bytes.into()).unwrap())
    }

    #[actix_web::test]
    async fn a_fault_of_ours_says_nothing_of_its_cause() {
        let cause = anyhow::anyhow!("postgres://user:canary@host").context("no such table: runs");
        let (status, text) = body(cause.into()).await;
        assert_eq!(status, 500);
        assert!(text.contains(OUR_FAULT), "{text}");
        assert!(
            !text.contains("canary") && !text.contains("table"),
            "{text}"
        );
    }

    #[actix_web::test]
    async fn one_wrong_field_is_named_and_many_are_listed() {
        let (status, text) = body(FieldErrors::one("lora.r", "must be above 0").into()).await;
        assert_eq!(status, 422);
        assert!(text.contains(r#""field":"lora.r""#), "{text}");
        let mut two = FieldErrors::one("a", "x");
        two.push("b", "y");
        let (_, text) = body(two.into()).await;
        assert!(
            text.contains(r#""fields":[{"field":"a","message":"x"},{"field":"b","message":"y"}]"#),
            "{text}"
        );
    }
}
