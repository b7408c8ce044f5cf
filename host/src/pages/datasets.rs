use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use actix_web::web::Query;
use domain::{DataConfig, RunConfig};
use engine::data::{Inspection, PreviewRow, TokenizerSource};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::RunFilter;

use crate::api::models::{self, Folders, Models};
use crate::api::submit;
use crate::curations::Curation;
use crate::error::{AppError, HtmlResult};
use crate::safety::keys::hex;
use crate::state::{AppState, blocking};
use crate::templates::{Page, View};

const PREVIEW_ROWS: usize = 4;
const PREVIEW_TOKENS: usize = 160;
/// Larger files are not counted while a visitor waits.
const MOST_BYTES: u64 = 64 << 20;

#[derive(Serialize)]
struct DatasetsPage {
    datasets: Vec<DatasetView>,
    known: Models,
    chosen: Option<Chosen>,
    curations: Vec<CurationRow>,
    /// A curation is not at its end.
    is_curating: bool,
}

/// A curation of the list.
#[derive(Serialize)]
struct CurationRow {
    is_active: bool,
    progress: Option<f64>,
    #[serde(flatten)]
    curation: Curation,
}

impl Page for DatasetsPage {
    const TEMPLATE: &'static str = "datasets.html";
}

#[derive(Serialize)]
struct DatasetView {
    id: String,
    name: String,
    path: String,
    bytes: Option<u64>,
    is_sample: bool,
    runs: usize,
    #[serde(skip)]
    config: DataConfig,
    /// Model and adapter of the newest run that uses it.
    #[serde(skip)]
    folders: Option<Folders>,
}

#[derive(Serialize)]
struct Chosen {
    id: String,
    name: String,
    /// Whose tokens are counted: a model, or `model/adapter`; empty for those of the run that uses it.
    model: String,
    /// A run uses it.
    has_run: bool,
    inspection: Option<Inspection>,
    bins: Vec<Bin>,
    preview: Vec<PreviewRow>,
    problem: Option<String>,
}

/// A bar of the histogram; the share drives an SVG, since the page has no inline styles.
#[derive(Serialize)]
struct Bin {
    up_to: usize,
    rows: usize,
    share: f64,
}

/// Which one to look into, and with whose tokens.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Look {
    id: String,
    model: String,
}

/// `GET /datasets`.
pub async fn list(view: View, look: Query<Look>) -> HtmlResult {
    let state = &view.state;
    let datasets = all(state).await?;
    let known = models::known(state).await?;
    let chosen = if look.id.is_empty() {
        None
    } else {
        let dataset = datasets
            .iter()
            .find(|dataset| dataset.id == look.id)
            .ok_or_else(|| AppError::not_found("The studio does not know this dataset."))?;
        Some(inspect(dataset, tokens(dataset, &known, &look.model)?).await?)
    };
    let curations = state.curations.list();
    view.page(&DatasetsPage {
        datasets,
        known,
        chosen,
        is_curating: curations.iter().any(Curation::is_active),
        curations: curations
            .into_iter()
            .map(|curation| CurationRow {
                is_active: curation.is_active(),
                progress: curation.progress(),
                curation,
            })
            .collect(),
    })
}

/// The path of a known dataset.
///
/// # Errors
/// 404.
pub async fn path_of(state: &AppState, id: &str) -> Result<String, AppError> {
    let datasets = all(state).await?;
    let found = datasets.into_iter().find(|dataset| dataset.id == id);
    found
        .map(|dataset| dataset.path)
        .ok_or_else(|| AppError::not_found("The studio does not know this dataset."))
}

/// Id, name and path of each known dataset.
///
/// # Errors
/// A database that fails.
pub async fn choices(state: &AppState) -> Result<Vec<(String, String, String)>, AppError> {
    let datasets = all(state).await?.into_iter();
    Ok(datasets
        .map(|dataset| (dataset.id, dataset.name, dataset.path))
        .collect())
}

/// Files that runs were trained or evaluated on, those that were registered, and the sample's.
async fn all(state: &AppState) -> Result<Vec<DatasetView>, AppError> {
    let sample = submit::sample(&state.config.paths).ok();
    state
        .store(move |store| {
            let mut found: BTreeMap<PathBuf, DatasetView> = BTreeMap::new();
            let add = |found: &mut BTreeMap<PathBuf, DatasetView>,
                       path: &str,
                       config: &DataConfig,
                       is_sample: bool,
                       run: Option<&RunConfig>| {
                let path = PathBuf::from(path);
                let entry = found.entry(path.clone()).or_insert_with(|| DatasetView {
                    id: hex(&Sha256::digest(path.as_os_str().as_encoded_bytes()))[..12].to_owned(),
                    name: path
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned())
                        .unwrap_or_default(),
                    bytes: path
                        .metadata()
                        .ok()
                        .filter(|data| data.is_file())
                        .map(|data| data.len()),
                    path: path.display().to_string(),
                    is_sample: false,
                    runs: 0,
                    config: config.clone(),
                    folders: None,
                });
                entry.is_sample |= is_sample;
                entry.runs += usize::from(run.is_some());
                if entry.folders.is_none() {
                    entry.folders = run.and_then(folders);
                }
            };
            if let Some(config) = sample
                .and_then(|value| serde_json::from_value::<domain::RunConfig>(value).ok())
                .map(|config| config.data)
            {
                for (path, config) in read_as(&config) {
                    add(&mut found, path, &config, true, None);
                }
            }
            let runs = store.list_runs(&RunFilter {
                limit: 1000,
                ..RunFilter::default()
            })?;
            for run in &runs {
                let run = &run.config;
                for (path, config) in read_as(&run.data) {
                    add(&mut found, path, &config, false, Some(run));
                }
                for (name, mixed) in run.data.each() {
                    if let (Some(_), Some(path)) = (name, &mixed.path) {
                        add(&mut found, path, &mixed, false, Some(run));
                    }
                }
            }
            for dataset in store.list_datasets()? {
                add(
                    &mut found,
                    &dataset.path.display().to_string(),
                    &DataConfig::default(),
                    false,
                    None,
                );
                // A person named it; the file's own name is data.jsonl for all curated ones.
                if let Some(entry) = found.get_mut(&dataset.path) {
                    entry.name.clone_from(&dataset.name);
                }
            }
            let mut list: Vec<_> = found.into_values().collect();
            list.sort_by_key(|dataset| !dataset.is_sample);
            Ok(list)
        })
        .await
}

/// The files of a run's first dataset, and what each is read by.
fn read_as(data: &DataConfig) -> impl Iterator<Item = (&String, DataConfig)> {
    let train = data.path.as_ref().map(|path| (path, data.clone()));
    let held_out = data.eval_path.as_ref();
    let held_out = held_out.map(|path| (path, data.for_held_out()));
    train.into_iter().chain(held_out)
}

/// Where the tokens of a run's texts come from, where that is on this disk.
fn folders(run: &RunConfig) -> Option<Folders> {
    let model = PathBuf::from(run.model.path.as_ref()?);
    model.exists().then(|| Folders {
        model,
        adapter: run.lora.init_adapter.as_ref().map(PathBuf::from),
    })
}

/// Whose tokens are counted, by what was chosen: that of the run that uses the dataset where nothing was, else the first model's.
fn tokens(
    dataset: &DatasetView,
    known: &Models,
    chosen: &str,
) -> Result<Option<(String, Folders)>, AppError> {
    let first = known.models.first().map(|model| model.id.as_str());
    let chosen = match (chosen, &dataset.folders, first) {
        ("", Some(folders), _) => return Ok(Some((String::new(), folders.clone()))),
        ("", None, None) => return Ok(None),
        ("", None, Some(first)) => first,
        (chosen, ..) => chosen,
    };
    let (model, adapter) = chosen.split_once('/').unwrap_or((chosen, ""));
    let folders = known.folders(model, Some(adapter))?;
    Ok(Some((chosen.to_owned(), folders)))
}

async fn inspect(
    dataset: &DatasetView,
    tokens: Option<(String, Folders)>,
) -> Result<Chosen, AppError> {
    let (id, name) = (dataset.id.clone(), dataset.name.clone());
    let (path, mut config) = (PathBuf::from(&dataset.path), dataset.config.clone());
    let (model, folders) = tokens.unzip();
    let has_run = dataset.folders.is_some();
    let too_large = dataset.bytes.is_some_and(|bytes| bytes > MOST_BYTES);
    blocking(move || {
        let mut chosen = Chosen {
            id,
            name,
            model: model.unwrap_or_default(),
            has_run,
            inspection: None,
            bins: Vec::new(),
            preview: Vec::new(),
            problem: None,
        };
        if too_large {
            chosen.problem = Some(format!(
                "The file is larger than {} MiB; `codetune dataset inspect` counts it on the command line.",
                MOST_BYTES >> 20
            ));
            return chosen;
        }
        if let Err(error) = look_into(&mut chosen, &path, &mut config, folders.as_ref()) {
            chosen.problem = Some(error.to_string());
        }
        chosen
    })
    .await
}

fn look_into(
    chosen: &mut Chosen,
    path: &Path,
    config: &mut DataConfig,
    folders: Option<&Folders>,
) -> engine::Result<()> {
    let tokens = folders
        .map(|folders| TokenizerSource::of(&folders.model, folders.adapter.as_deref()))
        .transpose()?;
    let inspection = engine::data::inspect(path, config, tokens, 0)?;
    if let Some(report) = &inspection.tokens {
        let most = report.lengths.iter().map(|bin| bin.rows).max().unwrap_or(1);
        chosen.bins = report
            .lengths
            .iter()
            .map(|bin| Bin {
                up_to: bin.up_to,
                rows: bin.rows,
                share: bin.rows as f64 / most.max(1) as f64,
            })
            .collect();
    }
    let can_preview = inspection.tokens.is_some();
    chosen.inspection = Some(inspection);
    if let (Some(tokens), true) = (tokens, can_preview) {
        config.path = Some(path.display().to_string());
        config.eval_path = None;
        chosen.preview = engine::data::preview(config, tokens, PREVIEW_ROWS, 0)?;
        for row in &mut chosen.preview {
            row.tokens.truncate(PREVIEW_TOKENS);
        }
    }
    Ok(())
}
