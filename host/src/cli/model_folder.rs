//! Models that a command names: a folder, a GGUF file, or a repository of the hub.

use std::path::{Path, PathBuf};

use engine::StopFlag;
use engine::hub::{RepoKind, fetch};

use super::fetching::Fetching;
use super::usage_error;
use crate::config::HubConfig;

/// The folder of a model or adapter; `owner/name` or `owner/name@revision`, where there is nothing of that name here, is
/// fetched from the hub unless the cache holds it.
///
/// # Errors
/// What the hub says of a repository that cannot be fetched.
pub(crate) fn local(given: &Path, hub: &HubConfig) -> anyhow::Result<PathBuf> {
    let Some((repo, revision)) = repository(given) else {
        return Ok(given.to_owned());
    };
    // An interrupted command ends here as any other: what has come of a file is gone on with the next time.
    let (stop, mut shown) = (StopFlag::new(), Fetching::new());
    let found = fetch(
        &hub.settings(),
        RepoKind::Model,
        &repo,
        revision.as_deref(),
        &stop,
        &mut |event| shown.hear(event),
    );
    drop(shown);
    match found {
        Ok(snapshot) => Ok(snapshot.folder),
        Err(error) => Err(usage_error(format!(
            "{}: no such folder here, and on the hub: {error}",
            given.display()
        ))),
    }
}

/// Owner and name, and a revision, of what can be a repository and is nothing on this disk.
fn repository(given: &Path) -> Option<(String, Option<String>)> {
    let text = given.to_str().filter(|_| !given.exists())?;
    let (repo, revision) = match text.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision.to_owned())),
        None => (text, None),
    };
    let word = |word: &str| {
        let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !word.is_empty() && !word.starts_with('.') && word.chars().all(usual)
    };
    let (owner, name) = repo.split_once('/')?;
    let file = [".gguf", ".safetensors", ".bin"]
        .iter()
        .any(|end| name.ends_with(end));
    (word(owner) && word(name) && !file).then(|| (repo.to_owned(), revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(String, Option<String>)> {
        repository(Path::new(text))
    }

    #[test]
    fn only_owner_and_name_that_are_nothing_here_are_a_repository() {
        let repo = Some(("Qwen/Qwen2.5-Coder-0.5B".to_owned(), None));
        assert_eq!(of("Qwen/Qwen2.5-Coder-0.5B"), repo);
        let pinned = Some(("a/b".to_owned(), Some("v1".to_owned())));
        assert_eq!(of("a/b@v1"), pinned);
        for path in [
            "src/main.rs",
            "nowhere",
            "./a/b",
            "/a/b",
            "a/b/c",
            "a/b.gguf",
            "a/",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
