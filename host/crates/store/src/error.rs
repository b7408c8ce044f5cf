use domain::{RunId, RunStatus};

/// What can go wrong in the store; variants only where a caller branches.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database URL names no database that the studio can use.
    #[error("{0}")]
    InvalidUrl(String),

    /// No row of that id.
    #[error("there is no {what} {id}")]
    NotFound {
        /// The resource, as a word: `run`, `dataset`, …
        what: &'static str,
        /// The id that was asked for.
        id: String,
    },

    /// What was asked does not fit where the run stands.
    #[error("run {id} is {status}; {hint}")]
    WrongStatus {
        /// The run.
        id: RunId,
        /// Where it stands.
        status: RunStatus,
        /// What to do instead.
        hint: &'static str,
    },

    /// Somebody else holds the run, or took it away: the caller must stop working on it at once.
    #[error("the lease on run {0} is lost: another worker, or nobody, may write to it now")]
    LeaseLost(RunId),

    /// The database has tables of a newer version of the program.
    #[error(
        "the database holds migration {version}, which this version of codetune does not know; \
         use the newer version, or run its `codetune db revert` first"
    )]
    Newer {
        /// The unknown migration.
        version: String,
    },

    /// A migration could not be applied or reverted; the database is as it was before that migration.
    #[error("migration failed: {0}")]
    Migration(String),

    /// A row that cannot be read back.
    #[error("the {what} {id} in the database cannot be read: {message}")]
    Corrupt {
        /// The resource, as a word.
        what: &'static str,
        /// Its id.
        id: String,
        /// What is wrong with it.
        message: String,
    },

    /// No connection could be had: the server is away, or the pool is empty for too long.
    #[error("no database connection: {0}")]
    Unavailable(String),

    /// The database refused or failed.
    #[error("database: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// A file or folder of the database could not be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error as Diesel};
        match error {
            Diesel::DatabaseError(DatabaseErrorKind::ClosedConnection, info) => {
                Self::Unavailable(info.message().to_owned())
            }
            other => Self::Database(Box::new(other)),
        }
    }
}
