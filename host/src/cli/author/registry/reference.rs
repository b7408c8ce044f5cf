//! How a plugin in a registry is named.

use crate::cli::usage_error;

/// `oci://REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Reference {
    pub(super) registry: String,
    /// `me/plugins/todo-finder`
    pub(super) repository: String,
    pub(super) tag: String,
    /// What the manifest must be, as `sha256:` and 64 hex digits.
    pub(super) digest: Option<String>,
}

impl Reference {
    /// Reads what stands after `oci://`.
    ///
    /// # Errors
    /// What is wrong, and how a reference looks.
    pub(in super::super) fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong = |why: &str| {
            usage_error(format!(
                "oci://{text}: {why}; a reference is oci://REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]"
            ))
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest
            && !is_digest(digest)
        {
            return Err(wrong(
                "the digest is not sha256: and 64 of 0 to 9 and a to f",
            ));
        }
        let (registry, path) = name
            .split_once('/')
            .ok_or_else(|| wrong("it names no repository"))?;
        let (repository, tag) = path.split_once(':').unwrap_or((path, "latest"));
        let is_plain = |text: &str, more: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let is_path = repository
            .split('/')
            .all(|part| is_plain(part, "._-") && !part.starts_with('.'));
        if !is_plain(registry, ".:-[]") || !is_path || !is_plain(tag, "._-") {
            return Err(wrong(
                "it has characters that no registry, repository or tag has",
            ));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest.map(str::to_owned),
        })
    }

    /// What the repository calls the plugin: the last part of its path.
    pub(in super::super) fn name(&self) -> &str {
        self.repository
            .rsplit('/')
            .next()
            .unwrap_or(&self.repository)
    }

    /// The same reference with the digest of what was fetched, to have the same again.
    pub(in super::super) fn pinned(&self, digest: &str) -> String {
        format!(
            "{}/{}:{}@{digest}",
            self.registry, self.repository, self.tag
        )
    }

    /// Without encryption only where nobody is between.
    pub(super) fn address(&self) -> String {
        let scheme = match is_loopback(&self.registry) {
            true => "http",
            false => "https",
        };
        format!("{scheme}://{}/v2/{}", self.registry, self.repository)
    }
}

/// Whether a host, with or without a port, is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// `sha256:` and 64 hex digits.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn references_are_read_whole() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let reference = Reference::parse(&format!("localhost:5000/me/todo:1.2@{digest}")).unwrap();
        assert_eq!(reference.address(), "http://localhost:5000/v2/me/todo");
        assert_eq!(
            (reference.tag.as_str(), reference.digest.as_deref()),
            ("1.2", Some(digest.as_str()))
        );
        let reference = Reference::parse("registry.example/todo").unwrap();
        assert_eq!(reference.address(), "https://registry.example/v2/todo");
        assert_eq!((reference.tag.as_str(), reference.digest), ("latest", None));
        for wrong in [
            "todo",
            "a/b@sha256:12",
            "a/b@md5:1",
            "a/../b",
            "a/b?c",
            "/b",
            "a/",
            "a/b:",
        ] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }
}
