//! The form that curates a dataset: plugins to choose, each with the settings of its own schema. `sent` reads what a browser
//! sends, `begun` fills the form in from another curation, `fault` says which field a refusal is about.

mod begun;
mod fault;
mod sent;

use actix_web::http::{StatusCode, header};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, Responder};
use domain::{FieldErrors, PluginInfo, PluginKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::schema_form::{self, Control};
use super::{datasets, plugins};
use crate::api::curations;
use crate::error::{AppError, HtmlResult};
use crate::safety::csrf::CheckedForm;
use crate::templates::{Page, View};
use begun::begun_from;
use fault::Fault;
use sent::{of_plugin, read, settings_schema};

#[derive(Serialize)]
struct CurationFormPage {
    /// Id of the dataset, where one was chosen.
    dataset: String,
    datasets: Vec<Choice>,
    path: String,
    name: String,
    format: String,
    formats: Vec<String>,
    /// `text = "body"`, a line each.
    columns: String,
    exact_duplicates: bool,
    threshold: String,
    hold_out_share: String,
    hold_out_seed: String,
    plugins: Vec<Chosen>,
    /// More may come yet.
    is_loading: bool,
    errors: Vec<Fault>,
    /// Why the curation that it begins with failed.
    failed: Option<String>,
}

impl Page for CurationFormPage {
    const TEMPLATE: &'static str = "curation_new.html";
}

#[derive(Serialize)]
struct Choice {
    id: String,
    name: String,
    path: String,
}

/// A curator, chosen or not.
#[derive(Serialize)]
struct Chosen {
    name: String,
    description: String,
    is_chosen: bool,
    order: String,
    keeps: bool,
    is_only: bool,
    /// Why it cannot be used, where it cannot.
    problem: Option<String>,
    controls: Vec<Control>,
    /// What was filled in, by the controls' names.
    values: Map<String, Value>,
}

const FORMATS: &[&str] = &[
    "auto",
    "text",
    "completion",
    "alpaca",
    "sharegpt",
    "messages",
    "segments",
    "preference",
    "source-tree",
];

/// Where to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Start {
    /// A dataset to curate.
    id: String,
    /// A curation whose settings to begin with.
    from: Option<Uuid>,
}

/// `GET /datasets/curate`.
pub async fn show(view: View, start: Query<Start>) -> HtmlResult {
    let failed = match start.from {
        Some(id) => view.state.curations.find(id)?.error,
        None => None,
    };
    let (fields, errors) = match start.from {
        Some(id) => begun_from(&view, id).await?,
        None => {
            let fields = vec![
                ("dataset".to_owned(), start.id.clone()),
                ("exact_duplicates".to_owned(), "true".to_owned()),
            ];
            (fields, FieldErrors::default())
        }
    };
    let mut page = page(&view, &CheckedForm(fields), &errors).await?;
    page.failed = failed;
    view.page(&page)
}

/// `POST /datasets/curate`.
pub async fn submit(
    request: HttpRequest,
    view: View,
    form: CheckedForm,
) -> Result<HttpResponse, AppError> {
    let begun = match read(&view, &form).await? {
        Ok(body) => curations::begin(&view.state, body).await,
        Err(errors) => Err(errors.into()),
    };
    match begun {
        Ok(curation) => Ok(HttpResponse::SeeOther()
            .insert_header((
                header::LOCATION,
                format!("/datasets/curations/{}", curation.id),
            ))
            .finish()),
        Err(AppError::Invalid(errors)) => {
            let page = page(&view, &form, &errors).await?;
            let mut answer = view.page(&page)?.respond_to(&request);
            *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(answer.map_into_boxed_body())
        }
        Err(other) => Err(other),
    }
}

/// Plugins that curate, as the host lists them.
async fn curators(view: &View) -> Result<Vec<PluginInfo>, AppError> {
    let all = view.state.plugins(|host| host.list()).await?;
    let curates = |plugin: &PluginInfo| plugin.kinds.contains(&PluginKind::Curator);
    Ok(all.into_iter().filter(curates).collect())
}

async fn page(
    view: &View,
    form: &CheckedForm,
    errors: &FieldErrors,
) -> Result<CurationFormPage, AppError> {
    let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
    let able = curators(view).await?;
    let choices = able.into_iter().enumerate().map(|(place, plugin)| {
        let name = &plugin.name;
        let schema = settings_schema(&plugin);
        let has_settings = schema["properties"]
            .as_object()
            .is_some_and(|properties| !properties.is_empty());
        let filled = of_plugin(form, name);
        Chosen {
            is_chosen: form.get(&format!("use.{name}")).is_some(),
            order: form
                .get(&format!("order.{name}"))
                .map_or_else(|| (place + 1).to_string(), str::to_owned),
            keeps: form.get(&format!("on_error.{name}")) == Some("keep"),
            is_only: form.get(&format!("only.{name}")).is_some(),
            problem: plugins::problem(&plugin.health),
            controls: match has_settings {
                true => schema_form::controls(&schema),
                false => Vec::new(),
            },
            values: filled
                .0
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect(),
            description: plugin
                .metadata
                .map(|metadata| metadata.description)
                .unwrap_or_default(),
            name: plugin.name,
        }
    });
    let choices: Vec<Chosen> = choices.collect();
    let datasets = datasets::choices(&view.state).await?;
    // One that only the API takes stays what it is.
    let format = text("format");
    let mut formats: Vec<String> = FORMATS.iter().map(ToString::to_string).collect();
    if !format.is_empty() && !formats.contains(&format) {
        formats.push(format.clone());
    }
    Ok(CurationFormPage {
        dataset: text("dataset"),
        datasets: datasets
            .into_iter()
            .map(|(id, name, path)| Choice { id, name, path })
            .collect(),
        path: text("path"),
        name: text("name"),
        format,
        formats,
        columns: text("columns"),
        exact_duplicates: form.get("exact_duplicates").is_some(),
        threshold: text("threshold"),
        hold_out_share: text("hold_out_share"),
        hold_out_seed: text("hold_out_seed"),
        errors: errors
            .0
            .iter()
            .map(|error| Fault::of(error, &choices))
            .collect(),
        plugins: choices,
        is_loading: view.state.plugins(|host| host.is_loading()).await?,
        failed: None,
    })
}
