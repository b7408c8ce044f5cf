use std::path::{Path, PathBuf};

use domain::FieldErrors;

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, in sentences that name what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong, or names something that this engine cannot do.
    #[error("{0}")]
    Fields(#[from] FieldErrors),
    /// A file or folder that the user named cannot be used as it is.
    #[error("{path}: {message}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// One sentence: what is wrong with it, and what to do.
        message: String,
    },
    /// The operating system refused to read or write.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// An input that is no file: a prompt, a request, a batch.
    #[error("{0}")]
    Input(String),
    /// No token of the data carries a label, so nothing could be learned.
    #[error("{0}")]
    NoSupervisedToken(String),
    /// The loss or the gradient stopped being a number.
    #[error(
        "the {what} of step {step} is not finite ({batch}); {kept}. Lower train.learning_rate or set train.max_grad_norm"
    )]
    NonFiniteLoss {
        /// `loss` or `gradient`.
        what: &'static str,
        /// The step, counted from 1.
        step: u64,
        /// Which samples made it, in words.
        batch: String,
        /// Which checkpoint is still good, as half a sentence.
        kept: String,
    },
    /// What was learned could not be written at the end of a run.
    #[error("{source}; tried {tries} times. What the last steps learned is lost; {kept}")]
    NotSaved {
        /// Times that it was tried.
        tries: usize,
        /// Which checkpoint is still good, as half a sentence.
        kept: String,
        /// What kept it from being written.
        source: Box<Error>,
    },
    /// A checkpoint is damaged or belongs to another run.
    #[error("{path}: {message}", path = path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// One sentence: what is wrong with it, and what to do.
        message: String,
    },
    /// Somebody asked to stop before there was anything to save.
    #[error("{0}")]
    Stopped(String),
    /// A device's memory is full; less at a time may fit.
    #[error("{0}")]
    DeviceMemory(String),
    /// Another of the processes that train together failed, or could not be found.
    #[error("{0}")]
    Peer(String),
    /// The tensor library failed; a fault of the engine rather than of its input.
    #[error("computation failed: {0}")]
    Compute(String),
}

impl Error {
    /// A word to branch on, as it stands in the `error` event.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fields(_) => "bad_config",
            Self::File { .. } | Self::Input(_) => "bad_input",
            Self::Io { .. } | Self::NotSaved { .. } => "io",
            Self::NoSupervisedToken(_) => "no_supervised_token",
            Self::NonFiniteLoss { .. } => "non_finite_loss",
            Self::Checkpoint { .. } => "bad_checkpoint",
            Self::Stopped(_) => "stopped",
            Self::DeviceMemory(_) => "out_of_memory",
            Self::Peer(_) => "peer_failed",
            Self::Compute(_) => "internal",
        }
    }

    /// A fault of a file, told in one sentence.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.as_ref().to_owned(),
            message: message.into(),
        }
    }

    /// For `map_err` on calls of the file system: `fs::read(&path).map_err(Error::io("read", &path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Compute(error.to_string())
    }
}
