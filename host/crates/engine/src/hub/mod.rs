//! Models and datasets of the Hugging Face hub, in the hub's own cache.
//!
//! [`fetch`] brings the files that are needed of a repository at one commit into
//! `models--org--name/{blobs,refs,snapshots}`, where Python's `huggingface_hub` finds them too; [`local`] does so for
//! a run and gives its config with folders in place of repositories. Nothing here reads the environment: the caller
//! passes [`HubSettings`].

mod cache;
mod select;

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use domain::{FieldErrors, RunConfig};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use crate::{Error, Result};

/// Where the hub is and what it is asked with.
#[derive(Clone)]
pub struct HubSettings {
    /// The hub's cache: `HF_HOME/hub`.
    pub cache: PathBuf,
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// Sent to the endpoint only.
    pub token: Option<String>,
    /// No request at all: what is in the cache is used.
    pub offline: bool,
    /// Times a broken download is taken up again.
    pub retries: usize,
}

impl std::fmt::Debug for HubSettings {
    /// Leaves the token out: settings are logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// Weights, a tokenizer and their config.
    Model,
    /// Rows.
    Dataset,
}

/// A repository at one commit, in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Folder with the files.
    pub folder: PathBuf,
    /// The commit that the revision stood for.
    pub commit: String,
}

/// What happens while files are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubEvent {
    /// A sentence for a log.
    Note(String),
    /// Part of a file has come.
    Progress {
        /// The file.
        file: String,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the file.
        total: u64,
    },
}

/// The config with `model.path` and `data.path` in place of repositories, whose files are fetched where the cache does
/// not hold them, and with the commits as revisions' paths, so that the run is pinned.
///
/// # Errors
/// As [`fetch`].
pub fn local(
    config: &RunConfig,
    settings: &HubSettings,
    listen: &mut dyn FnMut(HubEvent),
) -> Result<RunConfig> {
    let mut config = config.clone();
    let (model, data) = (&mut config.model, &mut config.data);
    for (kind, repo, revision, path) in [
        (
            RepoKind::Model,
            &mut model.repo,
            &mut model.revision,
            &mut model.path,
        ),
        (
            RepoKind::Dataset,
            &mut data.repo,
            &mut data.revision,
            &mut data.path,
        ),
    ] {
        if let Some(repo) = repo.take() {
            let found = fetch(settings, kind, &repo, revision.take().as_deref(), listen)?;
            *path = Some(found.folder.display().to_string());
        }
    }
    Ok(config)
}

/// Brings what is needed of a repository into the cache: config, tokenizer and safetensors of a model, the rows of a
/// dataset (of its train split, where it has one). Pickles are never fetched.
///
/// `revision` is a branch, a tag or a commit; `main` where none is given. It is resolved to a commit first, and all
/// files are of that commit. Where the hub cannot be reached, the commit that the cache knows is used, and a note
/// says so.
///
/// # Errors
/// A repository or revision that does not exist or needs a token, one without usable files, a file that is not what
/// the hub says, and an offline cache that does not hold it.
pub fn fetch(
    settings: &HubSettings,
    kind: RepoKind,
    repo: &str,
    revision: Option<&str>,
    listen: &mut dyn FnMut(HubEvent),
) -> Result<Snapshot> {
    let revision = revision.unwrap_or("main");
    cache::check_names(kind, repo, revision)?;
    if settings.offline {
        return cache::known(settings, kind, repo, revision).ok_or_else(|| {
            wrong(
                kind,
                repo,
                format!(
                    "is not in the cache {} at revision {revision}, and HF_HUB_OFFLINE is set",
                    settings.cache.display()
                ),
            )
        });
    }
    let api = api(settings).map_err(|error| told(kind, repo, revision, &error))?;
    let info = match api.repo(handle(kind, repo, revision)).info() {
        Ok(info) => info,
        Err(error) => {
            let message = told(kind, repo, revision, &error);
            let answered = status(&error).is_some();
            return match cache::known(settings, kind, repo, revision) {
                Some(known) if !answered => {
                    listen(HubEvent::Note(format!(
                        "{message}; going on with commit {} from the cache",
                        known.commit
                    )));
                    Ok(known)
                }
                _ => Err(message),
            };
        }
    };
    let commit = info.sha;
    if !cache::is_commit(&commit) {
        return Err(wrong(
            kind,
            repo,
            format!("the hub names {commit:?} as its commit, which is none"),
        ));
    }
    let names: Vec<String> = info
        .siblings
        .into_iter()
        .map(|file| file.rfilename)
        .collect();
    let chosen = select::needed(kind, &names).map_err(|message| wrong(kind, repo, message))?;
    let folder = cache::snapshot(settings, kind, repo, &commit);
    let pinned = api.repo(handle(kind, repo, &commit));
    for name in &chosen {
        let place = folder.join(name);
        if place.exists() {
            continue;
        }
        listen(HubEvent::Note(format!("fetching {repo}/{name}")));
        let progress = Listener {
            listen,
            file: name,
            done: 0,
            total: 0,
        };
        pinned
            .download_with_progress(name, progress)
            .map_err(|error| told(kind, repo, &format!("{revision}, file {name}"), &error))?;
        cache::verify(&place)?;
    }
    cache::remember(settings, kind, repo, revision, &commit, &chosen)?;
    Ok(Snapshot { folder, commit })
}

fn api(settings: &HubSettings) -> Result<Api, ApiError> {
    let cache = Cache::new(settings.cache.clone());
    ApiBuilder::from_cache(cache)
        .with_endpoint(settings.endpoint.trim_end_matches('/').to_owned())
        // hf-hub 0.5 sends a token on to the host where a large file lies, so it gets none.
        .with_token(None)
        .with_retries(settings.retries)
        .with_progress(false)
        .with_user_agent("codetune", env!("CARGO_PKG_VERSION"))
        .build()
}

fn handle(kind: RepoKind, repo: &str, revision: &str) -> Repo {
    let kind = match kind {
        RepoKind::Model => RepoType::Model,
        RepoKind::Dataset => RepoType::Dataset,
    };
    Repo::with_revision(repo.to_owned(), kind, revision.to_owned())
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        ApiError::TooManyRetries(error) => status(error),
        _ => None,
    }
}

/// A failed request as a sentence about what to do.
fn told(kind: RepoKind, repo: &str, revision: &str, error: &ApiError) -> Error {
    let message = match status(error) {
        Some(401) => "the hub asks who you are: it does not exist, or it is private. Private repositories cannot be fetched yet; bring it into the cache with huggingface-cli and set HF_HUB_OFFLINE=1".to_owned(),
        Some(403) => "it needs a token, which is not sent yet; bring it into the cache with huggingface-cli and set HF_HUB_OFFLINE=1".to_owned(),
        Some(404) => format!("does not exist on the hub at revision {revision}"),
        Some(code) => format!("the hub answered with status {code} at revision {revision}; try again later"),
        None => format!("cannot be fetched: {error}; check the network and HF_ENDPOINT"),
    };
    wrong(kind, repo, message)
}

fn field(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "model.repo",
        RepoKind::Dataset => "data.repo",
    }
}

fn wrong(kind: RepoKind, repo: &str, message: impl AsRef<str>) -> Error {
    FieldErrors::one(field(kind), format!("{repo}: {}", message.as_ref())).into()
}

/// Passes progress on, a few hundred times a file at most.
struct Listener<'a> {
    listen: &'a mut dyn FnMut(HubEvent),
    file: &'a str,
    done: u64,
    total: u64,
}

impl Progress for Listener<'_> {
    fn init(&mut self, size: usize, _: &str) {
        (self.done, self.total) = (0, size as u64);
    }

    fn update(&mut self, size: usize) {
        let step = (self.total / 200).max(1 << 20);
        let before = self.done / step;
        self.done += size as u64;
        if self.done / step != before {
            self.tell();
        }
    }

    fn finish(&mut self) {
        self.tell();
    }
}

impl Listener<'_> {
    fn tell(&mut self) {
        (self.listen)(HubEvent::Progress {
            file: self.file.to_owned(),
            done: self.done,
            total: self.total,
        });
    }
}
