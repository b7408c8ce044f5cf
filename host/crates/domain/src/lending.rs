//! What a plugin asks for beyond its sandbox, what the user grants of it, and what it used.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Capability;

/// The table `asks` of `plugin.toml`: how much of which capability.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asks {
    /// Hosts that it talks to: `https://api.example.com`, `http://127.0.0.1:8080`; `*` for those that the user names.
    pub hosts: Vec<String>,
    /// Folders that it reads, by names of its own: it sees `corpus` at `/corpus`, and the user says which folder that is.
    pub folders: Vec<String>,
    /// Secrets by name.
    pub secrets: Vec<String>,
    /// Tokens that one call may have the studio's model write.
    pub tokens: u32,
}

/// What the user allows one component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Capabilities that it may use at all.
    pub capabilities: Vec<Capability>,
    /// Hosts, each as the manifest asks for it, or any where it asks for `*`.
    pub hosts: Vec<String>,
    /// Addresses that no plugin gets by the name of a host (private, loopback, link-local) and this one does.
    pub addresses: Vec<IpAddr>,
    /// Which folder each name is; absolute.
    pub folders: BTreeMap<String, PathBuf>,
    /// Secrets by name.
    pub secrets: Vec<String>,
    /// Tokens of one call.
    pub tokens: u32,
    /// Folder of the model that writes; none for the one that the studio has loaded.
    pub model: Option<PathBuf>,
    /// Folder of the adapter on it.
    pub adapter: Option<PathBuf>,
    /// Also for a later component that asks for no more and imports no more.
    pub updates: bool,
    /// What the component imported of the host when this was granted.
    pub imports: Vec<String>,
}

impl From<&[Capability]> for Grants {
    fn from(capabilities: &[Capability]) -> Self {
        Self {
            capabilities: capabilities.to_vec(),
            ..Self::default()
        }
    }
}

impl<const N: usize> From<&[Capability; N]> for Grants {
    fn from(capabilities: &[Capability; N]) -> Self {
        Self::from(capabilities.as_slice())
    }
}

/// What one call used of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityUse {
    /// The capability.
    pub capability: Capability,
    /// The host, folder, secret or model.
    pub target: String,
    /// How often.
    pub times: u64,
    /// How often the host said no.
    pub refused: u64,
    /// Bytes that went either way.
    pub bytes: u64,
    /// Tokens read and written.
    pub tokens: u64,
}

/// A newer component that waits for the user's consent while the one before answers, where that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Digest that the consent would be for; the plugin's own where nothing answers until then.
    pub digest: String,
    /// What it calls its version.
    pub version: String,
    /// Everything that it asks for.
    pub capabilities: Vec<Capability>,
    /// How much of it.
    pub asks: Asks,
    /// What it asks for or imports and has no grant for, in words: `http`, `host https://api.example.com`.
    pub more: Vec<String>,
}

/// How a new version did on the inputs of late, before it took the place of the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Digest of the version before.
    pub before: String,
    /// Inputs that both versions were given.
    pub replayed: usize,
    /// Inputs on which they differ.
    pub changed: usize,
    /// The first of them.
    pub changes: Vec<Change>,
    /// Why nothing was replayed.
    pub skipped: Option<String>,
}

/// One input on which two versions differ; texts are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The input.
    pub input: String,
    /// What the version before said.
    pub before: String,
    /// What the new one says.
    pub after: String,
}

impl Grants {
    /// Everything that is asked for and needs no word of the user's: folders and the hosts behind `*` do.
    pub fn of(capabilities: &[Capability], asks: &Asks) -> Self {
        Self {
            capabilities: capabilities.to_vec(),
            hosts: asks
                .hosts
                .iter()
                .filter(|host| *host != "*")
                .cloned()
                .collect(),
            secrets: asks.secrets.clone(),
            tokens: asks.tokens,
            ..Self::default()
        }
    }
}
