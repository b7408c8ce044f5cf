use std::future::Future;
use std::pin::Pin;

use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Form};
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::keys::{self, Keys};
use crate::error::AppError;
use crate::state::AppState;

/// The cookie that a form's token belongs to.
pub const COOKIE: &str = "codetune_form";

/// What a visitor's forms carry; made by the gate for every request.
#[derive(Debug, Clone)]
pub struct Token {
    nonce: String,
    /// The value of the hidden field `csrf`.
    pub value: String,
    /// The visitor has no cookie yet.
    pub is_new: bool,
}

impl Token {
    /// The visitor's token; a new one when the cookie is missing or not of our making.
    pub fn of(request: &HttpRequest, keys: &Keys) -> Self {
        let known = request
            .cookie(COOKIE)
            .map(|cookie| cookie.value().to_owned())
            .filter(|nonce| nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_hexdigit()));
        let is_new = known.is_none();
        let nonce = known.unwrap_or_else(keys::nonce);
        Self {
            value: keys.sign(&["form", &nonce]),
            nonce,
            is_new,
        }
    }

    /// The cookie to set.
    pub fn cookie(&self) -> Cookie<'static> {
        Cookie::build(COOKIE, self.nonce.clone())
            .path("/")
            .http_only(true)
            .same_site(SameSite::Strict)
            .finish()
    }
}

/// The fields of a form whose token was right; the only way in which a page's handler reads a form.
#[derive(Debug, Clone, Default)]
pub struct CheckedForm(pub Vec<(String, String)>);

impl CheckedForm {
    /// The last value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A form that a test filled in.
    #[cfg(test)]
    pub(crate) fn filled(pairs: &[(&str, &str)]) -> Self {
        Self(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }
}

impl FromRequest for CheckedForm {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let token = request.extensions().get::<Token>().cloned();
        let state = request.app_data::<Data<AppState>>().cloned();
        let form = Form::<Vec<(String, String)>>::from_request(request, payload);
        Box::pin(async move {
            let form = Self(form.await?.into_inner());
            let right = token
                .filter(|token| !token.is_new && state.is_some())
                .is_some_and(|token| {
                    keys::equal(&token.value, form.get("csrf").unwrap_or_default())
                });
            if right {
                Ok(form)
            } else {
                Err(AppError::refused(
                    StatusCode::FORBIDDEN,
                    "form_token",
                    "This form is too old or did not come from this studio. Reload the page and send it again.",
                )
                .into())
            }
        })
    }
}
