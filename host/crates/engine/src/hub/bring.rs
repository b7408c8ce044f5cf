//! One file of a repository into the cache.

use std::path::PathBuf;

use super::cache;
use super::client::Client;
use super::lock::Lock;
use super::{HubEvent, HubSettings, RepoKind, page, told};
use crate::{Result, StopFlag};

/// A repository at one commit, while its files are brought.
pub(super) struct Bringing<'a> {
    pub(super) settings: &'a HubSettings,
    pub(super) client: &'a Client,
    pub(super) kind: RepoKind,
    pub(super) repo: &'a str,
    /// As the user named it, for messages.
    pub(super) revision: &'a str,
    pub(super) commit: &'a str,
    /// The folder of the commit's files.
    pub(super) folder: PathBuf,
    pub(super) stop: &'a StopFlag,
}

impl Bringing<'_> {
    /// Brings a file, where the cache does not hold it.
    pub(super) fn file(&self, name: &str, listen: &mut dyn FnMut(HubEvent)) -> Result<()> {
        let Self {
            settings,
            client,
            kind,
            repo,
            ..
        } = *self;
        let place = self.folder.join(name);
        if place.exists() {
            return Ok(());
        }
        listen(HubEvent::Note(format!("fetching {repo}/{name}")));
        let failed = |failure| {
            let at = format!("{}, file {name}", self.revision);
            told(settings, kind, repo, &at, failure)
        };
        let path = format!("{}/resolve/{}/{name}", page(kind, repo), self.commit);
        let head = client.head(&path).map_err(failed)?;
        let blob = cache::blob(settings, kind, repo, &head.etag);
        let locked = cache::lock(settings, kind, repo, &head.etag);
        let _lock = Lock::take(&locked, self.stop, &mut || {
            listen(HubEvent::Note(format!(
                "another process is fetching {repo}/{name}"
            )));
        })
        .map_err(failed)?;
        // The one that had the lock may have brought it.
        if !blob.is_file() {
            let part = cache::part(&blob)?;
            let mut told = u64::MAX;
            let step = (head.size / 200).max(1 << 20);
            client
                .download(&path, head.size, &part, &mut |done| {
                    // A few hundred times a file at most.
                    if done / step != told || done == head.size {
                        told = done / step;
                        listen(HubEvent::Progress {
                            file: name.to_owned(),
                            done,
                            total: head.size,
                        });
                    }
                })
                .map_err(failed)?;
            cache::accept(&part, &blob, &head.etag, &place)?;
        }
        cache::link(&blob, &place)
    }
}
