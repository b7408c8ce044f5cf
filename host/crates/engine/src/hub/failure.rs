use std::path::PathBuf;

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The hub, or the host where a file lies, answered with a status that is no success.
    #[error("status {0}")]
    Status(u16),
    /// No answer, or one that broke off.
    #[error("{0}")]
    Network(String),
    /// An answer that makes no sense.
    #[error("{0}")]
    Answer(String),
    /// The file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Disk {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

impl Failure {
    /// Whether the same request may do better a moment later.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Status(code) => matches!(code, 408 | 425 | 429 | 500..=599),
            Self::Network(_) => true,
            Self::Answer(_) | Self::Disk { .. } | Self::Stopped => false,
        }
    }
}
