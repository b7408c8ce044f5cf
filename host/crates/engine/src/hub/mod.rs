//! Models and datasets of the Hugging Face hub, in the hub's own cache.
//!
//! [`fetch`] brings the files that are needed of a repository at one commit into
//! `models--org--name/{blobs,refs,snapshots}`, where Python's `huggingface_hub` finds them too; [`local`] does so for
//! a run and gives its config with folders in place of repositories. Nothing here reads the environment: the caller
//! passes [`HubSettings`].

mod address;
mod bring;
mod cache;
mod client;
mod failure;
mod lock;
mod select;

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use domain::{FieldErrors, RunConfig};
use hf_hub::{Repo, RepoType};

use crate::data::{CARD, Wanted, card_of, trained, without_slices};
use crate::{Error, Result, StopFlag};
use bring::Bringing;
use client::Client;
use failure::Failure;

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
    /// Times in a row that a request which brings nothing is made again.
    pub retries: usize,
    /// How long the hub may be silent.
    pub timeout: Duration,
}

impl std::fmt::Debug for HubSettings {
    /// Leaves the token out: settings are logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .field("offline", &self.offline)
            .field("timeout", &self.timeout)
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

/// The config with paths (`model.path`, `data.path`, those of `data.mix`) in place of repositories, whose files are fetched where the cache does
/// not hold them, and with the commits as revisions' paths, so that the run is pinned.
///
/// # Errors
/// As [`fetch`].
pub fn local(
    config: &RunConfig,
    settings: &HubSettings,
    stop: &StopFlag,
    listen: &mut dyn FnMut(HubEvent),
) -> Result<RunConfig> {
    let mut config = config.clone();
    let (model, data) = (&mut config.model, &mut config.data);
    let named = [
        (
            RepoKind::Model,
            &mut model.repo,
            &mut model.revision,
            &mut model.path,
            (None, [None, None]),
        ),
        (
            RepoKind::Dataset,
            &mut data.repo,
            &mut data.revision,
            &mut data.path,
            (
                data.subset.as_deref(),
                [
                    trained(&data.split, &data.test_split),
                    data.test_split.as_deref(),
                ],
            ),
        ),
    ];
    let mixed = data.mix.values_mut().map(|mixed| {
        (
            RepoKind::Dataset,
            &mut mixed.repo,
            &mut mixed.revision,
            &mut mixed.path,
            (mixed.subset.as_deref(), [mixed.split.as_deref(), None]),
        )
    });
    for (kind, repo, revision, path, (subset, [split, held_out])) in named.into_iter().chain(mixed)
    {
        if let Some(repo) = repo.take() {
            let revision = revision.take();
            let mut bring = |split| {
                let wanted = (kind, Wanted { subset, split });
                bring(settings, wanted, &repo, revision.as_deref(), stop, listen)
            };
            let found = bring(split)?;
            if let Some(held_out) = held_out {
                bring(Some(held_out))?;
            }
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
/// A repository or revision that does not exist or that the token does not open, one without usable files, a file that
/// is not what the hub says, an offline cache that does not hold it, and [`Error::Stopped`]; what has come of a file
/// stays then, and the next call goes on behind it.
pub fn fetch(
    settings: &HubSettings,
    kind: RepoKind,
    repo: &str,
    revision: Option<&str>,
    stop: &StopFlag,
    listen: &mut dyn FnMut(HubEvent),
) -> Result<Snapshot> {
    bring(
        settings,
        (kind, Wanted::default()),
        repo,
        revision,
        stop,
        listen,
    )
}

/// As [`fetch`], of a dataset's subset and split, as `load_dataset` takes them: by what its `README.md` declares, or by the names of
/// its files.
///
/// # Errors
/// As [`fetch`], and a subset or split that is not there, or that has to be named since there are several.
pub fn fetch_split(
    settings: &HubSettings,
    repo: &str,
    revision: Option<&str>,
    (subset, split): (Option<&str>, Option<&str>),
    stop: &StopFlag,
    listen: &mut dyn FnMut(HubEvent),
) -> Result<Snapshot> {
    let wanted = Wanted { subset, split };
    bring(
        settings,
        (RepoKind::Dataset, wanted),
        repo,
        revision,
        stop,
        listen,
    )
}

fn bring(
    settings: &HubSettings,
    (kind, wanted): (RepoKind, Wanted<'_>),
    repo: &str,
    revision: Option<&str>,
    stop: &StopFlag,
    listen: &mut dyn FnMut(HubEvent),
) -> Result<Snapshot> {
    let revision = revision.unwrap_or("main");
    // Files come whole, whatever part of them is read.
    let split = wanted.split.map(without_slices);
    let wanted = Wanted {
        split: split.as_deref(),
        ..wanted
    };
    let key = cache::Key {
        kind,
        repo,
        revision,
        wanted,
    };
    cache::check_names(kind, repo, revision)?;
    if settings.offline {
        return cache::known(settings, key).ok_or_else(|| {
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
    let client = Client::new(settings, stop);
    let asked = format!(
        "{}/{repo}/revision/{}",
        table(kind),
        revision.replace('/', "%2F")
    );
    let info = match client.info(&asked) {
        Ok(info) => info,
        Err(failure) => {
            let away = matches!(failure, Failure::Network(_));
            let message = told(settings, kind, repo, revision, failure);
            return match cache::known(settings, key) {
                Some(known) if away => {
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
    let bringing = Bringing {
        settings,
        client: &client,
        kind,
        repo,
        revision,
        commit: &commit,
        folder: cache::snapshot(settings, kind, repo, &commit),
        stop,
    };
    // It says which files a dataset's subsets and splits are.
    if kind == RepoKind::Dataset && names.iter().any(|name| name == CARD) {
        bringing.file(CARD, listen)?;
    }
    let card = card_of(&bringing.folder)?;
    let chosen = select::needed(kind, &names, card.as_deref(), wanted);
    let chosen = chosen.map_err(|refused| refused.of(kind, repo))?;
    for name in &chosen {
        bringing.file(name, listen)?;
    }
    cache::remember(settings, key, &commit, &chosen)?;
    Ok(Snapshot {
        folder: bringing.folder,
        commit,
    })
}

/// What stands before a repository's name in the hub's API.
fn table(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "models",
        RepoKind::Dataset => "datasets",
    }
}

/// The path of a repository's own page.
fn page(kind: RepoKind, repo: &str) -> String {
    match kind {
        RepoKind::Model => repo.to_owned(),
        RepoKind::Dataset => format!("datasets/{repo}"),
    }
}

fn handle(kind: RepoKind, repo: &str, revision: &str) -> Repo {
    let kind = match kind {
        RepoKind::Model => RepoType::Model,
        RepoKind::Dataset => RepoType::Dataset,
    };
    Repo::with_revision(repo.to_owned(), kind, revision.to_owned())
}

/// A failed request as a sentence about what to do.
fn told(
    settings: &HubSettings,
    kind: RepoKind,
    repo: &str,
    revision: &str,
    failure: Failure,
) -> Error {
    let message = match failure {
        Failure::Stopped => {
            return Error::Stopped(format!(
                "stopped while {repo} was fetched; the next time goes on behind what has come"
            ));
        }
        Failure::Disk { path, source } => return Error::io("write", path)(source),
        Failure::Status(401 | 403) if settings.token.is_none() => "the hub asks who you are: it does not exist, or it is private or gated. Set HF_TOKEN to a token of an account that may read it".to_owned(),
        Failure::Status(401) => "does not exist, or the token in HF_TOKEN is not valid for it".to_owned(),
        Failure::Status(403) => "the account of HF_TOKEN may not read it; ask for access on its page, and check that the token may read gated repositories".to_owned(),
        Failure::Status(404) => format!("does not exist on the hub at revision {revision}"),
        Failure::Status(code) => format!("the hub answered with status {code} at revision {revision}; try again later"),
        Failure::Network(error) => format!("cannot be fetched: {error}; check the network and HF_ENDPOINT"),
        Failure::Answer(what) => format!("cannot be fetched: {what}"),
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
