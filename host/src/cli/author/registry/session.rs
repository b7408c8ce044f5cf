//! Requests to one repository: as nobody at first, and as whoever logged in where the registry wants to know.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use super::login::Login;
use super::reference::{Reference, is_loopback};

/// Bytes of a manifest or a token's answer.
pub(super) const MOST_TEXT: u64 = 4 << 20;
/// A registry that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// One repository, and what it wants to be shown.
pub(super) struct Session {
    agent: Agent,
    address: String,
    registry: String,
    repository: String,
    /// The value of `authorization`, once the registry has asked for one.
    authorization: Option<String>,
    /// Who asks; none is nobody, or nobody yet.
    login: Option<Login>,
    /// Why nobody is logged in, where that is not because nobody did.
    trouble: Option<String>,
}

/// What a registry wants, by its header `www-authenticate`.
struct Challenge(String);

impl Challenge {
    fn of(response: &Response<Body>) -> Self {
        let values = response.headers().get_all("www-authenticate");
        let values = values.iter().filter_map(|value| value.to_str().ok());
        let mut all: Vec<Self> = values.map(|text| Self(text.to_owned())).collect();
        // Of several the one that shows the password to as few as can be.
        all.sort_by_key(|challenge| !challenge.is("bearer"));
        all.into_iter().next().unwrap_or(Self(String::new()))
    }

    fn is(&self, scheme: &str) -> bool {
        let word = self.0.split_ascii_whitespace().next();
        word.is_some_and(|word| word.eq_ignore_ascii_case(scheme))
    }

    fn part(&self, key: &str) -> Option<&str> {
        let rest = self.0.split_once(&format!("{key}=\""))?.1;
        Some(rest.split_once('"')?.0)
    }
}

impl Session {
    pub(super) fn new(reference: &Reference) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_recv_body(Some(10 * PATIENCE))
            .build();
        Self {
            agent: config.into(),
            address: reference.address(),
            registry: reference.registry.clone(),
            repository: reference.repository.clone(),
            authorization: None,
            login: None,
            trouble: None,
        }
    }

    /// One thing of the repository, after a password was shown or a token got where one is wanted.
    pub(super) fn get(&mut self, path: &str, accept: &str, most: u64) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/{path}", self.address);
        let mut response = self.send(&url, accept)?;
        if response.status() == 401 && self.authorization.is_none() {
            self.authorization = Some(self.authorize(&Challenge::of(&response))?);
            response = self.send(&url, accept)?;
        }
        self.hold(&mut response, &url)?;
        read(&mut response, most).with_context(|| url)
    }

    fn send(&self, url: &str, accept: &str) -> anyhow::Result<Response<Body>> {
        let mut request = self.agent.get(url).header("accept", accept);
        if let Some(authorization) = &self.authorization {
            // ureq does not send it on to the host where a redirect leads.
            request = request.header("authorization", authorization);
        }
        request.call().with_context(|| url.to_owned())
    }

    /// What the registry wants: a password, or a token that a password may be needed for.
    fn authorize(&mut self, challenge: &Challenge) -> anyhow::Result<String> {
        match Login::find(&self.registry) {
            Ok(login) => self.login = login,
            Err(why) => self.trouble = Some(why),
        }
        if challenge.is("bearer")
            && let Some(realm) = challenge.part("realm")
        {
            return self.token(realm, challenge);
        }
        let basic = self.login.as_ref().and_then(Login::basic);
        match basic {
            Some(basic) => Ok(basic),
            None => bail!("{}", self.refused("401 Unauthorized")),
        }
    }

    /// A token for this repository, for whoever asks.
    fn token(&self, realm: &str, challenge: &Challenge) -> anyhow::Result<String> {
        // The registry says where; it must not be less safe than the registry itself.
        let uri: Uri = realm.parse().with_context(|| realm.to_owned())?;
        let is_here = uri.host().is_some_and(is_loopback);
        ensure!(
            uri.scheme_str() == Some("https") || is_here,
            "{} sends for a token to {realm}, without encryption",
            self.address
        );
        let wanted = ["service", "scope"].into_iter();
        let wanted = wanted.filter_map(|key| Some((key, challenge.part(key)?)));
        let answer = match &self.login {
            Some(Login::IdentityToken(token)) => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.as_str()),
                    ("client_id", "codetune"),
                ];
                let fields = fields.into_iter().chain(wanted);
                self.agent.post(realm).send_form(fields)
            }
            login => {
                let request = wanted.fold(self.agent.get(realm), |request, (key, value)| {
                    request.query(key, value)
                });
                match login.as_ref().and_then(Login::basic) {
                    Some(basic) => request.header("authorization", basic).call(),
                    None => request.call(),
                }
            }
        };
        let mut response = answer.with_context(|| realm.to_owned())?;
        self.hold(&mut response, realm)?;
        let answer: Value = serde_json::from_slice(&read(&mut response, MOST_TEXT)?)
            .with_context(|| format!("{realm} gave no token"))?;
        let token = answer.get("token").or_else(|| answer.get("access_token"));
        let token = token.and_then(Value::as_str);
        let token = token.with_context(|| format!("{realm} gave no token"))?;
        Ok(format!("Bearer {token}"))
    }

    /// Passes on what is well; a refusal says what to do about it.
    fn hold(&self, response: &mut Response<Body>, url: &str) -> anyhow::Result<()> {
        match response.status().as_u16() {
            200 => Ok(()),
            401 | 403 => bail!("{url}: {}", self.refused(&said(response))),
            _ => bail!("{url}: {}", said(response)),
        }
    }

    fn refused(&self, said: &str) -> String {
        let Self {
            registry,
            repository,
            ..
        } = self;
        let what = match (&self.login, &self.trouble) {
            (Some(login), _) => format!(
                "{registry} does not let {} read {repository}, who is logged in there; `docker login {registry}` as somebody who \
                 may, and install again",
                login.name()
            ),
            (None, Some(trouble)) => format!(
                "{registry} wants to know who reads {repository}, and what `docker login` keeps cannot be had ({trouble}); \
                 `docker login {registry}`, and install again"
            ),
            (None, None) => format!(
                "{registry} wants to know who reads {repository}, or has no such repository; `docker login {registry}`, and \
                 install again"
            ),
        };
        format!("{said}: {what}")
    }
}

fn read(response: &mut Response<Body>, most: u64) -> anyhow::Result<Vec<u8>> {
    Ok(response
        .body_mut()
        .with_config()
        .limit(most)
        .read_to_vec()?)
}

/// The status, and the registry's own words.
fn said(response: &mut Response<Body>) -> String {
    let status = response.status();
    let answer: Value = read(response, MOST_TEXT)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let message = answer
        .pointer("/errors/0/message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let message: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    format!("{status} {message}").trim_end().to_owned()
}
