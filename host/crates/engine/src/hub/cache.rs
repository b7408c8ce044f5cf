//! The hub's cache on the disk: `models--org--name/{blobs,refs,snapshots}`.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{HubSettings, RepoKind, Snapshot, handle, wrong};
use crate::data::{Wanted, card_of};
use crate::{Error, Result, files};

/// Names of the files that were needed, so that an offline run knows whether it has them all.
const COMPLETE: &str = ".codetune";

/// Refuses names that would lead out of the cache or into another address.
pub(super) fn check_names(kind: RepoKind, repo: &str, revision: &str) -> Result<()> {
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with(['.', '-'])
            && !word.contains("--")
            && !word.contains("..")
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let parts: Vec<&str> = repo.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|part| word(part)) {
        return Err(wrong(
            kind,
            repo,
            "is no name of a repository; it must be org/name",
        ));
    }
    let inside = Path::new(revision)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let plain = revision
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if revision.is_empty() || !inside || !plain {
        return Err(wrong(
            kind,
            repo,
            format!("{revision:?} is no branch, tag or commit"),
        ));
    }
    Ok(())
}

pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

fn folder(settings: &HubSettings, kind: RepoKind, repo: &str) -> PathBuf {
    settings
        .cache
        .join(handle(kind, repo, "main").folder_name())
}

/// The folder of a commit's files.
pub(super) fn snapshot(
    settings: &HubSettings,
    kind: RepoKind,
    repo: &str,
    commit: &str,
) -> PathBuf {
    folder(settings, kind, repo).join("snapshots").join(commit)
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) kind: RepoKind,
    pub(super) repo: &'a str,
    pub(super) revision: &'a str,
    pub(super) wanted: Wanted<'a>,
}

/// What the cache holds of a revision; `None` where it holds none, or where a download did not come to its end.
pub(super) fn known(settings: &HubSettings, key: Key<'_>) -> Option<Snapshot> {
    let Key {
        kind,
        repo,
        revision,
        wanted,
    } = key;
    let commit = if is_commit(revision) {
        revision.to_owned()
    } else {
        let path = folder(settings, kind, repo).join("refs").join(revision);
        fs::read_to_string(path).ok()?.trim().to_owned()
    };
    if !is_commit(&commit) {
        return None;
    }
    let folder = snapshot(settings, kind, repo, &commit);
    let mut names = Vec::new();
    list(&folder, &folder, &mut names).ok()?;
    let marks = folder_of_marks(settings, kind, repo);
    let noted = fs::read_to_string(marks.join(mark(&commit, wanted)));
    let whole = match noted {
        Ok(noted) => noted.lines().all(|name| folder.join(name).exists()),
        // Of another subset or split than this one.
        Err(_) if holds_another(&marks, &commit) => false,
        // A cache that Python filled has no list; it is taken where what it holds can be used.
        Err(_) => {
            let card = card_of(&folder).ok().flatten();
            super::select::needed(kind, &names, card.as_deref(), wanted).is_ok()
        }
    };
    whole.then_some(Snapshot { folder, commit })
}

fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, names)?;
        } else if path.exists() {
            names.extend(files::name_below(root, &path));
        }
    }
    Ok(())
}

fn folder_of_marks(settings: &HubSettings, kind: RepoKind, repo: &str) -> PathBuf {
    folder(settings, kind, repo).join(COMPLETE)
}

/// The name of the list of a commit's files that were needed: one for each subset and split that was wanted.
fn mark(commit: &str, wanted: Wanted<'_>) -> String {
    if wanted.is_nothing() {
        return commit.to_owned();
    }
    let mut hasher = Sha256::new();
    for word in [wanted.subset, wanted.split] {
        hasher.update(word.unwrap_or_default());
        hasher.update([0]);
    }
    format!("{commit}-{}", &files::hex(&hasher.finalize())[..16])
}

fn holds_another(marks: &Path, commit: &str) -> bool {
    let names = fs::read_dir(marks).into_iter().flatten().flatten();
    names
        .map(|entry| entry.file_name())
        .any(|name| name.to_string_lossy().starts_with(commit))
}

/// Notes which commit a revision stood for, as Python's client does, and which files were needed of it.
pub(super) fn remember(
    settings: &HubSettings,
    key: Key<'_>,
    commit: &str,
    needed: &[String],
) -> Result<()> {
    let Key {
        kind,
        repo,
        revision,
        wanted,
    } = key;
    let write = |path: &Path, text: &str| {
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        fs::write(path, text).map_err(Error::io("write", path))
    };
    let list = folder_of_marks(settings, kind, repo).join(mark(commit, wanted));
    write(&list, &needed.join("\n"))?;
    let refs = folder(settings, kind, repo).join("refs");
    if is_commit(revision) {
        return Ok(());
    }
    write(&refs.join(revision), commit)
}

/// Where a file's bytes lie: by the name that the hub gives its content.
pub(super) fn blob(settings: &HubSettings, kind: RepoKind, repo: &str, etag: &str) -> PathBuf {
    folder(settings, kind, repo).join("blobs").join(etag)
}

/// The lock of a blob, where Python's client has it too.
pub(super) fn lock(settings: &HubSettings, kind: RepoKind, repo: &str, etag: &str) -> PathBuf {
    let name = handle(kind, repo, "main").folder_name();
    let locks = settings.cache.join(".locks").join(name);
    locks.join(format!("{etag}.lock"))
}

/// Where a blob's bytes are while they come.
pub(super) fn part(blob: &Path) -> Result<PathBuf> {
    let parent = blob.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    Ok(blob.with_extension("incomplete"))
}

/// Puts a blob in its place, if it is what the hub says: the hub names a large file by its checksum. It names small
/// ones by git's hash, and their length is all that is compared.
pub(super) fn accept(part: &Path, blob: &Path, etag: &str, place: &Path) -> Result<()> {
    let is_digest = etag.len() == 64 && etag.chars().all(|c| c.is_ascii_hexdigit());
    if is_digest && files::digest(part)? != etag {
        let _ = fs::remove_file(part);
        return Err(Error::file(
            place,
            "is not what the hub says (its checksum differs); it was removed, fetch it again",
        ));
    }
    fs::rename(part, blob).map_err(Error::io("write", blob))
}

/// Shows a blob under its name in the snapshot.
pub(super) fn link(blob: &Path, place: &Path) -> Result<()> {
    let parent = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    #[cfg(unix)]
    {
        // From the file's folder up to that of the repository, past `snapshots/commit`.
        let root = blob
            .parent()
            .and_then(Path::parent)
            .unwrap_or(Path::new("."));
        let up = parent
            .strip_prefix(root)
            .map_or(2, |inner| inner.components().count());
        let mut target: PathBuf = std::iter::repeat_n("..", up).collect();
        target.push("blobs");
        target.push(blob.file_name().unwrap_or_default());
        match std::os::unix::fs::symlink(target, place) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", place)(error))
            }
            _ => Ok(()),
        }
    }
    // Links need a right there that few accounts have.
    #[cfg(not(unix))]
    {
        let linked = fs::hard_link(blob, place).or_else(|_| fs::copy(blob, place).map(drop));
        linked.map_err(Error::io("create", place))
    }
}
