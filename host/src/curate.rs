//! A dataset through a pipeline of plugins: `curation` knows neither plugins nor files, and here it meets both.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use curation::{Curator, InputRow, Options, Outcome, Pipeline, Progress, Standing};
use domain::{DataConfig, Judged, PluginKind, Sample, Verdict};
use engine::data::{DatasetRows, Fit};
use plugin_host::{PluginHost, PluginJob};
use serde_json::Value;

use crate::config::Config;

/// What to curate, and whereto.
#[derive(Debug)]
pub struct Request<'a> {
    /// The dataset: `path`, `format`, `dataset`, and what says which files of a source tree are taken. Its `test_split` is held
    /// out as it is.
    pub data: &'a DataConfig,
    /// What its rows go through.
    pub pipeline: &'a Pipeline,
    /// The folder to write; a curation that was stopped in it goes on.
    pub out: &'a Path,
    /// Threads; 0 for one a core.
    pub threads: usize,
    /// Ask every plugin anew instead of taking verdicts of earlier curations.
    pub forget: bool,
}

/// Why a dataset was not curated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A plugin cannot be used, or not with these settings.
    #[error(transparent)]
    Plugin(#[from] plugin_host::Error),
    /// The dataset cannot be read.
    #[error(transparent)]
    Data(#[from] engine::Error),
    /// The pipeline, a row or the output folder.
    #[error(transparent)]
    Curation(#[from] curation::Error),
}

/// A plugin as a step.
struct Plugin(PluginJob);

impl Curator for Plugin {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn digest(&self) -> &str {
        self.0.digest()
    }

    fn version(&self) -> &str {
        self.0.version()
    }

    fn config(&self) -> &BTreeMap<String, Value> {
        self.0.config()
    }

    fn is_alone(&self) -> bool {
        !self.0.is_lent()
    }

    fn curate(&self, samples: &[Sample]) -> Vec<Judged<Verdict>> {
        self.0.curate(samples)
    }
}

fn plugins(host: &PluginHost, pipeline: &Pipeline) -> Result<Vec<Plugin>, plugin_host::Error> {
    let steps = pipeline.steps.iter();
    steps
        .map(|step| {
            let job = host.job(&step.name, PluginKind::Curator, &step.config)?;
            Ok(Plugin(job))
        })
        .collect()
}

/// Rows for the curation, those of the split that is held out first, each with why it is not of the format that is set.
fn input(
    request: &Request<'_>,
    rows: DatasetRows,
) -> Result<impl Iterator<Item = Result<InputRow, String>> + use<>, engine::Error> {
    let fit = Fit::new(request.data, &request.pipeline.columns)?;
    let apart = engine::data::test_split_rows(request.data)?;
    let apart = apart.into_iter().flatten().map(|row| (row, true));
    let all = apart.chain(rows.map(|row| (row, false)));
    Ok(all.map(move |(row, is_apart)| match row {
        Ok((fields, origin)) => Ok(InputRow {
            misfit: fit.as_ref().and_then(|fit| fit.misfit(&fields)),
            fields,
            origin,
            is_apart,
        }),
        Err(error) => Err(error.to_string()),
    }))
}

/// What the output folder holds of this curation already; the dataset is read for it.
///
/// # Errors
/// A plugin, row or file that cannot be used.
pub fn standing(host: &PluginHost, request: &Request<'_>) -> Result<Standing, Error> {
    let plugins = plugins(host, request.pipeline)?;
    let curators: Vec<&dyn Curator> = plugins.iter().map(|plugin| plugin as _).collect();
    let rows = input(request, engine::data::rows(request.data)?)?;
    let name = request.data.path.as_deref().unwrap_or_default();
    let found = curation::standing(request.out, request.pipeline, &curators, rows, name)?;
    Ok(found)
}

/// Curates, on this thread and `threads` others, until the end or until `stop` is set.
///
/// # Errors
/// A plugin, setting, row or folder that cannot be used. What was done before stays, and the next call goes on from it.
pub fn curate(
    config: &Config,
    host: &PluginHost,
    request: &Request<'_>,
    stop: &AtomicBool,
    on_progress: impl FnMut(&Progress),
) -> Result<Outcome, Error> {
    let plugins = plugins(host, request.pipeline)?;
    let curators: Vec<&dyn Curator> = plugins.iter().map(|plugin| plugin as _).collect();
    let rows = engine::data::rows(request.data)?;
    for note in &rows.notes {
        tracing::info!("{note}");
    }
    let memory = config.paths.data.join("curation");
    let options = Options {
        out: request.out,
        memory: (!request.forget).then_some(memory.as_path()),
        threads: request.threads,
        input: request.data.path.as_deref().unwrap_or_default(),
        total_bytes: rows.bytes,
    };
    let rows = input(request, rows)?;
    let outcome = curation::curate(
        request.pipeline,
        &curators,
        rows,
        &options,
        stop,
        on_progress,
    )?;
    Ok(outcome)
}
