//! Requests to the hub: with limits on silence, with a token that never leaves the hub's own address, and with
//! downloads that can be stopped and go on where they ended.
//!
//! hf-hub's own client has no time limit, cannot be stopped, and sends its token on to the host where a large file lies.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::HubSettings;
use super::address::{escaped, joined, origin};
use super::failure::Failure;
use crate::StopFlag;

/// Hops that a request may be sent on.
const MOST_HOPS: usize = 5;
/// Bytes of an answer that is no file.
const MOST_ANSWER: u64 = 64 << 20;
/// Bytes that are written at once; between two of them a stop is looked for.
const CHUNK: usize = 1 << 18;

/// The hub's address, and what it is asked with.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    retries: usize,
    stop: StopFlag,
}

/// What the hub says of a repository.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) sha: String,
    #[serde(default)]
    pub(super) siblings: Vec<Sibling>,
}

/// A file of a repository.
#[derive(Debug, Deserialize)]
pub(super) struct Sibling {
    pub(super) rfilename: String,
}

/// What the hub says of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Name of the blob: SHA-256 of a large file, git's hash of a small one.
    pub(super) etag: String,
    pub(super) size: u64,
}

impl Client {
    pub(super) fn new(settings: &HubSettings, stop: &StopFlag) -> Self {
        let limit = Some(settings.timeout);
        let agent = Agent::config_builder()
            // Sent on by hand, so that the token goes to one address only.
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(limit)
            .timeout_connect(limit)
            .timeout_recv_response(limit)
            .timeout_per_read(limit)
            .timeout_per_write(limit)
            .user_agent(concat!("codetune/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: agent.into(),
            endpoint: settings.endpoint.trim_end_matches('/').to_owned(),
            token: settings.token.clone(),
            retries: settings.retries,
            stop: stop.clone(),
        }
    }

    /// What the hub says of a repository at a revision; `path` is `models/org/name/revision/main`.
    pub(super) fn info(&self, path: &str) -> Result<Info, Failure> {
        let url = format!("{}/api/{path}", self.endpoint);
        self.patiently(|| {
            let (response, _) = self.get(&url, None, false)?;
            let response = success(response)?;
            let body = response.into_body().into_with_config().limit(MOST_ANSWER);
            let bytes = body.read_to_vec().map_err(network)?;
            serde_json::from_slice(&bytes).map_err(|error| {
                Failure::Answer(format!("the hub's answer is not as expected: {error}"))
            })
        })
    }

    /// What the hub says of a file, without its bytes; `path` is `org/name/resolve/commit/file`.
    pub(super) fn head(&self, path: &str) -> Result<Head, Failure> {
        let url = self.file(path);
        self.patiently(|| {
            // The hub itself names the file, also where its bytes lie elsewhere.
            let (response, _) = self.get(&url, Some("bytes=0-0"), true)?;
            let named = header(&response, "x-linked-etag").or_else(|| header(&response, "etag"));
            let size = header(&response, "x-linked-size").and_then(|size| size.parse().ok());
            let moved = response.status().is_redirection();
            let size = match size {
                Some(size) => size,
                None if moved => total(&success(self.get(&url, Some("bytes=0-0"), false)?.0)?)?,
                None => total(&success(response)?)?,
            };
            let etag = named.unwrap_or_default();
            let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if etag.is_empty() || !etag.chars().all(plain) {
                return Err(Failure::Answer(format!(
                    "the hub names the file's content {etag:?}, which is no hash"
                )));
            }
            Ok(Head { etag, size })
        })
    }

    /// Brings a file's bytes to `place`, after those that are there already; `tell` is told how many there are.
    ///
    /// What has come stays when it fails or is stopped, for the next time.
    pub(super) fn download(
        &self,
        path: &str,
        size: u64,
        place: &Path,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let disk = |source| Failure::Disk {
            path: place.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(place)
            .map_err(disk)?;
        let mut failures = 0;
        loop {
            let before = file.metadata().map_err(disk)?.len();
            if before == size {
                return file.sync_all().map_err(disk);
            }
            if before > size {
                // Of another file, or damaged: nothing of it can be used.
                file.set_len(0).map_err(disk)?;
                continue;
            }
            match self.part(&self.file(path), before, size, &mut file, tell) {
                Ok(()) => {}
                Err(failure) if failure.passes() => {
                    // Bytes that came are no failure: a slow network gets there in the end.
                    let came = file.metadata().map_err(disk)?.len() > before;
                    failures = if came { 0 } else { failures + 1 };
                    if failures > self.retries {
                        return Err(failure);
                    }
                    self.rest(failures)?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// One answer's bytes, from `start` on.
    fn part(
        &self,
        url: &str,
        start: u64,
        size: u64,
        file: &mut File,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let (response, place) = self.get(url, Some(&format!("bytes={start}-")), false)?;
        let response = success(response)?;
        let disk = |source| Failure::Disk {
            path: PathBuf::from(url),
            source,
        };
        // A host that knows no ranges sends all of it again.
        let mut done = match response.status().as_u16() {
            206 => start,
            _ => {
                file.set_len(0).map_err(disk)?;
                0
            }
        };
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        tell(done);
        loop {
            if self.stop.is_stopped() {
                return Err(Failure::Stopped);
            }
            let read = body
                .read(&mut buffer)
                .map_err(|error| Failure::Network(error.to_string()))?;
            if read == 0 {
                break;
            }
            done += read as u64;
            if done > size {
                return Err(Failure::Answer(format!(
                    "{place} sends more than the {size} bytes that the hub names"
                )));
            }
            file.write_all(&buffer[..read]).map_err(disk)?;
            tell(done);
        }
        match done == size {
            true => Ok(()),
            false => Err(Failure::Network(format!(
                "the connection ended after {done} of {size} bytes"
            ))),
        }
    }

    /// One request, sent on to where the answer points, `within` the hub only or anywhere; and where it ended.
    fn get(
        &self,
        url: &str,
        range: Option<&str>,
        within: bool,
    ) -> Result<(Response<Body>, String), Failure> {
        let mut url = url.to_owned();
        for _ in 0..MOST_HOPS {
            if self.stop.is_stopped() {
                return Err(Failure::Stopped);
            }
            let mut request = self.agent.get(&url).header("Accept-Encoding", "identity");
            if let Some(range) = range {
                request = request.header("Range", range);
            }
            if let Some(token) = self
                .token
                .as_ref()
                .filter(|_| origin(&url) == origin(&self.endpoint))
            {
                request = request.header("Authorization", &format!("Bearer {token}"));
            }
            let response = request.call().map_err(network)?;
            let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = header(&response, "location").filter(|_| moved) else {
                return Ok((response, url));
            };
            let next = joined(&url, &location)?;
            if within && origin(&next) != origin(&self.endpoint) {
                return Ok((response, url));
            }
            url = next;
        }
        Err(Failure::Answer(format!(
            "{url} is the {MOST_HOPS}th address in a row that sends on to another"
        )))
    }

    /// Does a thing again after failures that pass.
    fn patiently<T>(&self, mut work: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut failures = 0;
        loop {
            match work() {
                Err(failure) if failure.passes() && failures < self.retries => {
                    failures += 1;
                    self.rest(failures)?;
                }
                done => return done,
            }
        }
    }

    /// Waits before another try: not before the first, then longer each time, up to 10 s.
    fn rest(&self, failures: usize) -> Result<(), Failure> {
        let waits = match failures {
            0 | 1 => 0,
            more => 1usize << (more - 2).min(7),
        };
        for _ in 0..waits.min(100) {
            if self.stop.is_stopped() {
                return Err(Failure::Stopped);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn file(&self, path: &str) -> String {
        format!("{}/{}", self.endpoint, escaped(path))
    }
}

fn success(response: Response<Body>) -> Result<Response<Body>, Failure> {
    match response.status().as_u16() {
        200 | 206 => Ok(response),
        other => Err(Failure::Status(other)),
    }
}

fn network(error: ureq::Error) -> Failure {
    Failure::Network(error.to_string())
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// Bytes of the whole file, from an answer with one of them or with all.
fn total(response: &Response<Body>) -> Result<u64, Failure> {
    let of_range = header(response, "content-range")
        .and_then(|range| range.rsplit_once('/').map(|(_, all)| all.to_owned()));
    let whole = || header(response, "content-length").filter(|_| response.status().as_u16() == 200);
    of_range
        .or_else(whole)
        .and_then(|size| size.parse().ok())
        .ok_or_else(|| Failure::Answer("the hub does not say how long the file is".into()))
}
