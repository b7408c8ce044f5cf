use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::http::header;
use chrono::Utc;

use super::keys::{self, Keys};

const COOKIE: &str = "codetune_session";
const LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);
const TRIES: usize = 10;
const TRIES_WITHIN: Duration = Duration::from_secs(60);

/// A new session. The password is part of what is signed: a new password ends every session.
pub fn cookie(keys: &Keys, password: &str) -> Cookie<'static> {
    let until = (Utc::now().timestamp() + LIFETIME.as_secs() as i64).to_string();
    let nonce = keys::nonce();
    let seal = keys.sign(&["session", &until, &nonce, password]);
    build(format!("{until}.{nonce}.{seal}"))
        .max_age(time::Duration::seconds(LIFETIME.as_secs() as i64))
        .finish()
}

/// The cookie that ends a session.
pub fn end() -> Cookie<'static> {
    build(String::new()).max_age(time::Duration::ZERO).finish()
}

fn build(value: String) -> actix_web::cookie::CookieBuilder<'static> {
    Cookie::build(COOKIE, value)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
}

/// The request carries a live session, or the password as a bearer token.
pub fn is_known(request: &HttpRequest, keys: &Keys, password: &str) -> bool {
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    bearer.is_some_and(|token| keys::equal(token, password))
        || request
            .cookie(COOKIE)
            .is_some_and(|cookie| is_live(cookie.value(), keys, password))
}

fn is_live(value: &str, keys: &Keys, password: &str) -> bool {
    let mut parts = value.splitn(3, '.');
    let (Some(until), Some(nonce), Some(seal)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    until
        .parse::<i64>()
        .is_ok_and(|until| until > Utc::now().timestamp())
        && keys::equal(&keys.sign(&["session", until, nonce, password]), seal)
}

/// Wrong passwords of the last minute, of everybody together: guessing stays slow from many addresses too.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<Vec<Instant>>);

impl Attempts {
    /// No further try for now.
    pub fn exhausted(&self) -> bool {
        let mut failures = self.0.lock().expect("no holder panics");
        failures.retain(|at| at.elapsed() < TRIES_WITHIN);
        failures.len() >= TRIES
    }

    /// Counts a wrong password.
    pub fn failed(&self) {
        self.0
            .lock()
            .expect("no holder panics")
            .push(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_the_password_or_when_it_is_touched() {
        let keys = Keys::load(tempfile::tempdir().unwrap().path()).unwrap();
        let cookie = cookie(&keys, "first password");
        assert!(is_live(cookie.value(), &keys, "first password"));
        assert!(!is_live(cookie.value(), &keys, "second password"));
        let later = cookie.value().replacen('1', "9", 1);
        assert!(!is_live(&later, &keys, "first password"));
        assert!(!is_live("", &keys, "first password"));
    }

    #[test]
    fn guessing_is_stopped_after_ten_tries() {
        let attempts = Attempts::default();
        for _ in 0..10 {
            assert!(!attempts.exhausted());
            attempts.failed();
        }
        assert!(attempts.exhausted());
    }
}
