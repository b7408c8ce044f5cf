//! Turns a dataset into a better one: rows go through curators, duplicates go, and every row can be explained.
//!
//! It knows no plugin and no file format: [`Curator`] and [`InputRow`] come in from outside. Start reading at [`curate`],
//! which goes through the rows wave by wave; `waves` has one judged while the one before is written, `chunk` judges rows in
//! parallel, `commit` decides in the order of rows what only the whole set can (exact and near duplicates) and writes it
//! down, `memo` remembers verdicts, `folder` makes a run resumable, `report` counts, [`standing()`] tells whether a folder
//! holds a curation already.
//!
//! The output is a function of rows, pipeline and plugins: chunks are cut by the order of rows, never by the number of
//! threads.

mod chunk;
mod commit;
mod folder;
mod hold_out;
mod memo;
mod near;
mod pipeline;
mod report;
mod run;
mod sample;
mod standing;
mod turns;
mod waves;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::{Judged, Sample, Verdict};
use serde_json::{Map, Value};

pub use hold_out::HoldOut;
pub use pipeline::{NearDuplicates, OnError, Pipeline, Step};
pub use report::{BeforeAfter, Bin, Example, Histogram, Misfits, ReasonReport, Report, StepReport};
pub use run::{Options, Outcome, Progress, curate};
pub use standing::{Standing, standing, summary, together};

/// One version of a plugin, with its settings.
pub trait Curator: Sync {
    /// Its name.
    fn name(&self) -> &str;
    /// Lower-case hex SHA-256 of what answers.
    fn digest(&self) -> &str;
    /// What it calls its version.
    fn version(&self) -> &str;
    /// The settings that it runs with.
    fn config(&self) -> &BTreeMap<String, Value>;
    /// Whether it asks no model and no host: what it fails on it then fails on again.
    fn is_alone(&self) -> bool {
        true
    }
    /// One answer a sample, in their order.
    fn curate(&self, samples: &[Sample]) -> Vec<Judged<Verdict>>;
}

/// One row of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRow {
    /// Its columns.
    pub fields: Map<String, Value>,
    /// Where it came from, for people: `a.jsonl line 3`.
    pub origin: String,
    /// Why it is not of the format that somebody set, in a sentence that goes on from its origin. A row without a text needs
    /// nobody to say so.
    pub misfit: Option<String>,
    /// It is evaluated on as it is: it goes into `held-out.jsonl` whatever the steps say, and rows behind it that are like it
    /// go. Such rows come first.
    pub is_apart: bool,
}

/// Why a dataset was not curated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline, the rows or the output folder are not as they must be.
    #[error("{0}")]
    Invalid(String),
    /// A file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }
}

type Result<T> = std::result::Result<T, Error>;

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
