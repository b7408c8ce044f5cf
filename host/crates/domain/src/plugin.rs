use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Asks, Canary, Grants, Pending};

/// What a plugin can do; one WIT interface each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// JSON in, JSON out; every plugin is one.
    Tool,
    /// Source files in, diagnostics and metrics out.
    Analyzer,
    /// Samples of a dataset in, verdicts out: keep, drop, rewrite.
    Curator,
    /// Texts that a model wrote in, scores out.
    Scorer,
}

/// Something of the host that a plugin may use when its manifest asks for it and the user grants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Write to the plugin's own log.
    Log,
    /// Read the values that the user set for the plugin.
    Config,
    /// Have the studio's model write.
    Generate,
    /// Ask granted hosts by HTTP.
    Http,
    /// Read granted folders.
    Folders,
    /// Get granted secrets.
    Secrets,
}

impl Capability {
    /// Every one, in the order of the manifest's words.
    pub const ALL: [Self; 6] = [
        Self::Log,
        Self::Config,
        Self::Generate,
        Self::Http,
        Self::Folders,
        Self::Secrets,
    ];

    /// The word for it, as in `plugin.toml`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Config => "config",
            Self::Generate => "generate",
            Self::Http => "http",
            Self::Folders => "folders",
            Self::Secrets => "secrets",
        }
    }

    /// Whether it reaches beyond the sandbox: what it gives can be spent, read or told to others.
    pub fn is_lent(self) -> bool {
        !matches!(self, Self::Log | Self::Config)
    }
}

/// `plugin.toml`, the file beside a component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginManifest {
    /// Unique name in kebab-case; the component's metadata must say the same.
    pub name: String,
    /// File name of the component, beside the manifest.
    pub component: String,
    /// What the plugin asks for.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// How much of `generate`, `http`, `folders` and `secrets`.
    #[serde(default)]
    pub asks: Asks,
    /// What it needs beyond the default limits.
    #[serde(default)]
    pub limits: PluginLimits,
    /// Values for the plugin's config schema.
    #[serde(default)]
    pub config: BTreeMap<String, Value>,
}

/// Bounds of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginLimits {
    /// Instructions, roughly; deterministic, unlike time. 0 does not count them: computing takes up to a fifth less time,
    /// and time alone ends a call.
    pub fuel: u64,
    /// Wall time.
    pub time_ms: u64,
    /// Bytes of all linear memories together.
    pub memory_bytes: u64,
    /// Elements of all tables together.
    pub table_elements: u64,
    /// Bytes that one call may return.
    pub output_bytes: u64,
    /// Bytes of log that one call may write.
    pub log_bytes: u64,
    /// Bytes that one call may send and receive by HTTP, and so many that it may read from folders.
    pub lent_bytes: u64,
    /// Requests by HTTP in a minute, over all calls.
    pub requests_per_minute: u32,
    /// Calls of the tool that run at once, and batches of an analysis; never more than half of the threads that call plugins.
    pub concurrent_calls: u32,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            fuel: 20_000_000_000,
            time_ms: 10_000,
            memory_bytes: 256 << 20,
            table_elements: 200_000,
            output_bytes: 16 << 20,
            log_bytes: 64 << 10,
            lent_bytes: 64 << 20,
            requests_per_minute: 600,
            concurrent_calls: 64,
        }
    }
}

/// What a plugin says of itself, from its component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginMetadata {
    /// Unique name in kebab-case.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One or two sentences.
    pub description: String,
    /// Who wrote it.
    pub author: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// JSON Schema of what `execute` takes.
    pub input_schema: Value,
    /// JSON Schema of what `execute` returns.
    pub output_schema: Value,
    /// JSON Schema of the plugin's config.
    pub config_schema: Value,
}

/// Whether a plugin can be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PluginHealth {
    /// It loaded and answers.
    Ready,
    /// The user switched it off.
    Disabled,
    /// It asks for something that the user has said nothing about.
    NeedsConsent {
        /// What it asks for, and how to grant it.
        message: String,
    },
    /// It could not be loaded; `message` says why. A version that loaded before goes on answering.
    Broken {
        /// What, where and what to do.
        message: String,
    },
    /// It trapped too often; the host calls it again after `retry_after_ms`.
    Resting {
        /// The last trap.
        message: String,
        /// Milliseconds until the next try.
        retry_after_ms: u64,
    },
}

/// Everything the studio shows of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// The manifest's name.
    pub name: String,
    /// Lower-case hex SHA-256 of the component that answers now.
    pub digest: String,
    /// Size of the component in bytes.
    pub size_bytes: u64,
    /// Abilities that the component exports.
    pub kinds: Vec<PluginKind>,
    /// What the component says of itself; none while no version of it has loaded.
    pub metadata: Option<PluginMetadata>,
    /// What the manifest asks for.
    pub capabilities: Vec<Capability>,
    /// What of it the user, or the studio for a plugin that it ships, has granted to this version.
    pub granted: Vec<Capability>,
    /// How much the manifest asks for.
    #[serde(default)]
    pub asks: Asks,
    /// The user's whole word on this version.
    #[serde(default)]
    pub grants: Grants,
    /// A newer component that waits for consent.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// How this version did on the inputs of late before it was put in its place.
    #[serde(default)]
    pub canary: Option<Canary>,
    /// Interfaces that the component imports, by their full WIT names.
    pub imports: Vec<String>,
    /// Bounds of one call.
    pub limits: PluginLimits,
    /// Whether it can be called.
    pub health: PluginHealth,
    /// The fault of the newest version when an older one answers in its place.
    pub last_error: Option<String>,
    /// Why its compiled code is not kept: it answers, but the next start has to compile it again.
    #[serde(default)]
    pub unkept: Option<String>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ExecutionOutcome {
    /// The plugin answered, and its answer fits its schema.
    Ok {
        /// The answer.
        output: Value,
    },
    /// The call was refused or failed; `code` is a word to branch on, `message` a sentence.
    Failed {
        /// `invalid_input`, `invalid_output`, `plugin_error`, `fuel`, `deadline`, `memory`, `stack`, `trap`, …
        code: String,
        /// What, where and what to do.
        message: String,
    },
}

/// One call of a plugin, as the history keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// The plugin's name.
    pub plugin: String,
    /// Digest of the component that ran.
    pub digest: String,
    /// Lower-case hex SHA-256 of the input's bytes.
    pub input_digest: String,
    /// Wall time.
    pub duration_us: u64,
    /// Fuel used.
    pub fuel: u64,
    /// Largest sum of the linear memories.
    pub peak_memory_bytes: u64,
    /// What the plugin wrote to its log.
    pub log: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: ExecutionOutcome,
}
