use std::path::PathBuf;

use domain::{Capability, PluginKind};

/// Why the host did not call a plugin, or could not start. How a call ended is in [`domain::Execution`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody has that name.
    #[error("no plugin is named {name:?}; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names of all plugins, or a word that there are none.
        known: String,
    },
    /// The user switched it off.
    #[error(
        "the plugin {name} is disabled; enable it on its page or with `codetune plugin enable {name}`"
    )]
    Disabled {
        /// The plugin.
        name: String,
    },
    /// No version of it has loaded.
    #[error("the plugin {name} cannot be used: {message}")]
    Broken {
        /// The plugin.
        name: String,
        /// Why not.
        message: String,
    },
    /// It trapped too often.
    #[error(
        "the plugin {name} rests for {retry_after_ms} ms after repeated faults; the last one: {message}"
    )]
    Resting {
        /// The plugin.
        name: String,
        /// The last fault.
        message: String,
        /// Milliseconds until the next try.
        retry_after_ms: u64,
    },
    /// As many of its calls run as may run at once, and none ended for as long as one may take.
    #[error(
        "the plugin {name} is busy with {calls} calls, as many as may run at once; try again later"
    )]
    Busy {
        /// The plugin.
        name: String,
        /// Calls that run.
        calls: usize,
    },
    /// It asks for something that nobody granted to this version.
    #[error("the plugin {name} waits for your consent: it asks for {}; grant it on its page or with `codetune plugin grant {name}`", list(.capabilities))]
    NotGranted {
        /// The plugin.
        name: String,
        /// What is asked for and not granted.
        capabilities: Vec<Capability>,
    },
    /// It does not export the ability.
    #[error("the plugin {name} is no {kind:?}; it does not export that interface")]
    NoAbility {
        /// The plugin.
        name: String,
        /// What was wanted.
        kind: PluginKind,
    },
    /// The settings do not fit its schema.
    #[error("the plugin {name} refuses its settings: {message}")]
    Config {
        /// The plugin.
        name: String,
        /// Which setting, and why.
        message: String,
    },
    /// A file or folder of the host.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The WebAssembly engine cannot start on this machine.
    #[error("the plugin engine cannot start: {0}")]
    Engine(String),
}

impl Error {
    /// A stable word to branch on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "plugin_unknown",
            Self::Disabled { .. } => "plugin_disabled",
            Self::Broken { .. } => "plugin_broken",
            Self::Resting { .. } => "plugin_resting",
            Self::Busy { .. } => "plugin_busy",
            Self::NotGranted { .. } => "plugin_not_granted",
            Self::NoAbility { .. } => "plugin_no_ability",
            Self::Config { .. } => "plugin_config",
            Self::Io { .. } => "io",
            Self::Engine(_) => "plugin_engine",
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}

/// `log, config`, as the manifest writes them.
pub(crate) fn list(capabilities: &[Capability]) -> String {
    let words: Vec<&str> = capabilities
        .iter()
        .map(|capability| capability.word())
        .collect();
    words.join(", ")
}
