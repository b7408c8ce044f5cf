//! A run from the web form and a run from the API are made here, by the same rules.

use std::path::{Path, PathBuf};

use domain::{FieldErrors, RunConfig, RunId};
use serde_json::{Value, json};
use store::{NewRun, Run};

use crate::config::PathsConfig;
use crate::curated;
use crate::error::AppError;
use crate::state::{AppState, blocking};

const MAX_NAME: usize = 120;

/// Id of the sample model in the lists of models.
pub const SAMPLE: &str = "sample";

/// Checks a config in JSON form and chooses the folder for its results, which is never the caller's choice.
///
/// # Errors
/// Every fault, under its field: of the shape, of the ranges, of what this engine cannot do yet, and of
/// folders that are not there.
pub fn check(mut value: Value, id: RunId, paths: &PathsConfig) -> Result<RunConfig, FieldErrors> {
    if let Some(root) = value.as_object_mut() {
        let train = root.entry("train").or_insert_with(|| json!({}));
        if let Some(train) = train.as_object_mut() {
            train.insert("output".to_owned(), json!(paths.run(id)));
        }
    }
    let config = RunConfig::from_json(value)?;
    engine::check_config(&config)?;
    let mut errors = FieldErrors::default();
    let mut must_exist = |field: &str, path: &Option<String>| {
        if let Some(path) = path
            && !Path::new(path).exists()
        {
            errors.push(field, format!("there is no {path}"));
        }
    };
    must_exist("model.path", &config.model.path);
    must_exist("data.path", &config.data.path);
    for (name, mixed) in &config.data.mix {
        must_exist(&format!("data.mix.{name}.path"), &mixed.path);
    }
    must_exist("data.eval_path", &config.data.eval_path);
    must_exist("data.curate", &config.data.curate);
    must_exist("lora.init_adapter", &config.lora.init_adapter);
    errors.into_result()?;
    Ok(config)
}

/// A name for people: trimmed, not empty, not endless.
///
/// # Errors
/// Under the field `name`.
pub fn name(text: &str) -> Result<String, FieldErrors> {
    let text = text.trim();
    if text.is_empty() {
        return Err(FieldErrors::one("name", "must not be empty"));
    }
    if text.chars().count() > MAX_NAME {
        return Err(FieldErrors::one(
            "name",
            format!("must not be longer than {MAX_NAME} characters"),
        ));
    }
    if text.contains(char::is_control) {
        return Err(FieldErrors::one("name", "must be one line of text"));
    }
    Ok(text.to_owned())
}

/// Checks and queues a run.
///
/// # Errors
/// What [`check`] and [`name`] find, or the store.
pub async fn submit(
    state: &AppState,
    given_name: Option<&str>,
    config: Value,
) -> Result<Run, AppError> {
    let id = RunId::new();
    let paths = state.config.paths.clone();
    let config = blocking(move || check(config, id, &paths)).await??;
    let named = config.clone();
    state
        .plugins(move |host| curated::check(host, &named))
        .await??;
    let name = match given_name.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => name(text)?,
        None => default_name(&config),
    };
    let run = NewRun { id, name, config };
    state.store(move |store| store.create_run(&run)).await
}

/// `sample-model on snippets`: what is trained on what.
fn default_name(config: &RunConfig) -> String {
    let last = |path: &Option<String>, repo: &Option<String>| {
        path.as_deref()
            .or(repo.as_deref())
            .and_then(|text| Path::new(text).file_stem()?.to_str())
            .unwrap_or("model")
            .to_owned()
    };
    let model = last(&config.model.path, &config.model.repo);
    let data = last(&config.data.path, &config.data.repo);
    format!("{model} on {data}")
        .chars()
        .take(MAX_NAME)
        .collect()
}

/// The shipped sample project as a config in JSON form.
///
/// # Errors
/// When the folder that ships with the program is missing or its RUN.toml cannot be read.
pub fn sample(paths: &PathsConfig) -> Result<Value, AppError> {
    let folder = paths.sample();
    let file = folder.join("RUN.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| {
        AppError::not_found(format!(
            "The sample project is not there: {} cannot be read ({error}).",
            file.display()
        ))
    })?;
    let config = RunConfig::from_toml(&text, &[])
        .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let mut value = serde_json::to_value(&config).expect("a run config serializes");
    for pointer in ["/model/path", "/data/path", "/data/eval_path"] {
        if let Some(Value::String(path)) = value.pointer_mut(pointer) {
            *path = beside(&folder, path).display().to_string();
        }
    }
    Ok(value)
}

/// The sample's paths are written for the repository's root; the program may run elsewhere.
fn beside(folder: &Path, path: &str) -> PathBuf {
    let inside = Path::new(path)
        .strip_prefix("host/sample")
        .unwrap_or(Path::new(path));
    let found = folder.join(inside);
    std::path::absolute(&found).unwrap_or(found)
}
