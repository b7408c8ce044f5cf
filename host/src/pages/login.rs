use actix_web::http::{StatusCode, header};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::{Deserialize, Serialize};

use crate::error::{AppError, HtmlResult};
use crate::safety::csrf::CheckedForm;
use crate::safety::{keys, session};
use crate::templates::{Page, View};

#[derive(Serialize)]
struct LoginPage {
    next: String,
    /// There is a password to give.
    asks: bool,
    /// Why the one that was given did not do.
    error: Option<&'static str>,
}

impl Page for LoginPage {
    const TEMPLATE: &'static str = "login.html";
}

/// Where to go after signing in.
#[derive(Deserialize)]
pub struct After {
    #[serde(default)]
    next: String,
}

/// `GET /login`.
pub async fn show(view: View, after: Query<After>) -> HtmlResult {
    view.page(&LoginPage {
        next: own_path(&after.next).to_owned(),
        asks: view.state.config.server.password.is_some(),
        error: None,
    })
}

/// `POST /login`.
pub async fn enter(
    request: HttpRequest,
    view: View,
    form: CheckedForm,
) -> Result<HttpResponse, AppError> {
    let state = &view.state;
    let next = own_path(form.get("next").unwrap_or_default());
    // The form again, so that the next try is one field away.
    let again = |status: StatusCode, error: &'static str| {
        let page = view.page(&LoginPage {
            next: next.to_owned(),
            asks: true,
            error: Some(error),
        })?;
        let mut answer = page.respond_to(&request);
        *answer.status_mut() = status;
        Ok(answer.map_into_boxed_body())
    };
    if state.attempts.exhausted() {
        return again(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many wrong passwords. Wait a minute and try again.",
        );
    }
    let mut answer = HttpResponse::SeeOther();
    answer.insert_header((header::LOCATION, next));
    let Some(password) = &state.config.server.password else {
        return Ok(answer.finish());
    };
    if !keys::equal(form.get("password").unwrap_or_default(), password) {
        state.attempts.failed();
        return again(
            StatusCode::FORBIDDEN,
            "That is not the password of this studio.",
        );
    }
    Ok(answer
        .cookie(session::cookie(&state.keys, password))
        .finish())
}

/// `POST /logout`.
pub async fn leave(_: CheckedForm) -> impl Responder {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, "/login"))
        .cookie(session::end())
        .finish()
}

/// Only a path of our own: `//evil.example` and `/\evil.example` are other places to a browser.
fn own_path(next: &str) -> &str {
    let is_own = next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && !next.contains(|c: char| c.is_control());
    if is_own { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn signing_in_leads_nowhere_else() {
        assert_eq!(own_path("/runs?status=failed"), "/runs?status=failed");
        for bad in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil",
            "runs",
        ] {
            assert_eq!(own_path(bad), "/", "{bad:?}");
        }
    }
}
