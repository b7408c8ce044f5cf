use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode, header};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};

use super::csrf::Token;
use super::{origin, session};
use crate::error::AppError;
use crate::state::AppState;

/// Pages that answer before anybody has signed in.
fn is_open(path: &str) -> bool {
    matches!(path, "/login" | "/healthz" | "/readyz") || path.starts_with("/static/")
}

/// Lets a request through to its handler, or answers in its place.
pub async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = request
        .app_data::<Data<AppState>>()
        .expect("the state is part of every app")
        .clone();
    let Some(host) = state
        .hosts
        .of_request(request.headers(), &request.head().uri)
        .map(str::to_owned)
    else {
        return Ok(refuse(
            request,
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "The studio does not answer under this host name. Name it in CODETUNE_ALLOWED_HOSTS (with its port) \
             and start again, or open the address that the studio printed when it started.",
        ));
    };
    if !origin::is_own(request.method(), request.headers(), &host) {
        return Ok(refuse(
            request,
            StatusCode::FORBIDDEN,
            "origin",
            "The request came from another web page; only the studio's own pages may change anything.",
        ));
    }
    if let Some(password) = &state.config.server.password
        && !is_open(request.path())
        && !session::is_known(request.request(), &state.keys, password)
    {
        return Ok(ask_for_password(request));
    }
    let token = Token::of(request.request(), &state.keys);
    request.extensions_mut().insert(token.clone());
    let is_page = !request.path().starts_with("/static/") && !request.path().starts_with("/api/");
    let mut response = next.call(request).await?.map_into_boxed_body();
    if token.is_new && is_page {
        // A cookie that cannot be added would only make the next form ask for a reload.
        let _ = response.response_mut().add_cookie(&token.cookie());
    }
    Ok(response)
}

fn ask_for_password(request: ServiceRequest) -> ServiceResponse<BoxBody> {
    if request.path().starts_with("/api/") || request.path() == "/metrics" {
        let mut response = refuse(
            request,
            StatusCode::UNAUTHORIZED,
            "password",
            "Send the studio's password as a bearer token: Authorization: Bearer …",
        );
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            header::HeaderValue::from_static("Bearer realm=\"CodeTune Studio\""),
        );
        return response;
    }
    // A part of a page has no place for a whole one: the page is loaded again, and that leads to the password.
    if request.headers().contains_key("hx-request") {
        return refuse(
            request,
            StatusCode::UNAUTHORIZED,
            "password",
            "You are signed out. Load the page again to sign in.",
        );
    }
    // What a form was sent to is no page to come back to.
    let wanted = match *request.method() {
        Method::GET => request.uri().path_and_query().map_or("/", |p| p.as_str()),
        _ => "/",
    };
    let next = form_urlencode(wanted);
    let answer = HttpResponse::SeeOther()
        .insert_header((header::LOCATION, format!("/login?next={next}")))
        .finish();
    request.into_response(answer)
}

/// Percent-encodes everything that is not plain, for a query value.
pub fn form_urlencode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn refuse(
    request: ServiceRequest,
    status: StatusCode,
    code: &'static str,
    message: &'static str,
) -> ServiceResponse<BoxBody> {
    let answer = AppError::refused(status, code, message).error_response();
    request.into_response(answer)
}
