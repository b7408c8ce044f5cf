//! What `docker login` keeps for a registry: in `config.json` itself, or behind a credential helper.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential};

/// How Docker Hub is called, and what its password is kept under.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Who somebody is at a registry. It has no `Debug`, so that no password reaches a log.
pub(super) enum Login {
    /// A name and a password.
    Password(String, String),
    /// What a token is asked for with, where somebody logged in by a browser.
    IdentityToken(String),
}

impl Login {
    /// Looks for what is kept for a registry; none where nothing is. An error says why what is kept cannot be had.
    pub(super) fn find(registry: &str) -> Result<Option<Self>, String> {
        let key = match HUB.contains(&registry) {
            true => HUB_KEY,
            false => registry,
        };
        match get_credential(key) {
            Ok(DockerCredential::UsernamePassword(name, password)) => {
                Ok(Some(Self::Password(name, password)))
            }
            Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Self::IdentityToken(token))),
            // The crate says the same of a file that is not there and of one that cannot be read.
            Err(
                CredentialRetrievalError::NoCredentialConfigured
                | CredentialRetrievalError::ConfigNotFound
                | CredentialRetrievalError::ConfigReadError,
            ) => Ok(None),
            Err(CredentialRetrievalError::HelperFailure { stdout, .. })
                if stdout.contains("credentials not found") =>
            {
                Ok(None)
            }
            // What a helper wrote may hold anything.
            Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                Err(format!("{helper} failed"))
            }
            Err(other) => Err(other.to_string()),
        }
    }

    /// Who it is, for people.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Password(name, _) => name,
            Self::IdentityToken(_) => "the one who logged in",
        }
    }

    /// The value of a header `authorization`; none where a password is needed and there is only a token.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password(name, password) => {
                let pair = STANDARD.encode(format!("{name}:{password}"));
                Some(format!("Basic {pair}"))
            }
            Self::IdentityToken(_) => None,
        }
    }
}
