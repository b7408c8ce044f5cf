//! The form that curates a dataset: plugins to choose, each with the settings of its own schema.

use std::collections::BTreeMap;

use actix_web::http::{StatusCode, header};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, Responder};
use curation::{HoldOut, NearDuplicates, OnError, Pipeline};
use domain::{FieldError, FieldErrors, PluginInfo, PluginKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::schema_form::{self, Control};
use super::{datasets, plugins};
use crate::api::curations::{self, CreateCuration, CurationPlugin};
use crate::curations::{Curation, CurationStatus};
use crate::error::{AppError, HtmlResult};
use crate::safety::csrf::CheckedForm;
use crate::state::blocking;
use crate::templates::{Page, View};

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

/// What cannot be, and the field that says it, where it has one of its own.
#[derive(Serialize)]
struct Fault {
    id: Option<String>,
    label: String,
    message: String,
}

impl Fault {
    fn of(error: &FieldError, plugins: &[Chosen]) -> Self {
        let message = error.message.clone();
        let field = |id: &str, label: &str| Self {
            id: Some(id.to_owned()),
            label: label.to_owned(),
            message: message.clone(),
        };
        match error.field.as_str() {
            "path" => field("path", "Path"),
            "format" => field("format", "Format"),
            "name" => field("name", "Name of the result"),
            "columns" => field("columns", "Columns"),
            "threshold" | "near_duplicates_threshold" => field("threshold", "Similarity"),
            "hold_out_share" => field("hold_out_share", "Share of the rows"),
            "hold_out_seed" => field("hold_out_seed", "Seed"),
            other => {
                let setting = other.split_once('.');
                let setting = setting.filter(|(name, _)| plugins.iter().any(|p| p.name == *name));
                match setting {
                    Some((plugin, key)) => {
                        let id = format!("config.{plugin}.{}", schema_form::field(key));
                        field(&id, &format!("{plugin}: {key}"))
                    }
                    // A plugin's place among the chosen ones: the message names it.
                    None => Self {
                        id: None,
                        label: String::new(),
                        message,
                    },
                }
            }
        }
    }
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

/// The form's fields as a curation was asked for, and what of it cannot be asked for again.
async fn begun_from(
    view: &View,
    id: Uuid,
) -> Result<(Vec<(String, String)>, FieldErrors), AppError> {
    let curation = view.state.curations.find(id)?;
    let curations = view.state.curations.clone();
    let text = blocking(move || curations.pipeline(id)).await??;
    let pipeline = Pipeline::parse(&text)
        .map_err(|error| AppError::Conflict(format!("Its pipeline cannot be read: {error}")))?;
    let able = curators(view).await?;
    let missing = pipeline.steps.iter().filter(|step| {
        let is_it = |plugin: &PluginInfo| plugin.name == step.name;
        !able.iter().any(is_it)
    });
    let mut errors = FieldErrors::default();
    for step in missing {
        let message = format!(
            "{} is not among the plugins here, and is left out",
            step.name
        );
        errors.push("", message);
    }
    let path = curation.path.display().to_string();
    let known = datasets::choices(&view.state).await?;
    let known = known.into_iter().find(|(_, _, other)| *other == path);
    let mut fields = texts(&curation, &pipeline);
    fields.push(match known {
        Some((id, _, _)) => ("dataset".to_owned(), id),
        None => ("path".to_owned(), path),
    });
    Ok((fields, errors))
}

/// The fields of a curation but for its dataset; what is as usual stays open.
fn texts(curation: &Curation, pipeline: &Pipeline) -> Vec<(String, String)> {
    // Two datasets of one name could not be told apart.
    let name = match curation.status {
        CurationStatus::Done => {
            let name: String = curation.name.chars().take(114).collect();
            format!("{name} again")
        }
        _ => curation.name.clone(),
    };
    let mut fields = vec![
        ("name".to_owned(), name),
        ("format".to_owned(), curation.format.clone()),
    ];
    let mut add = |name: String, value: String| fields.push((name, value));
    if pipeline.exact_duplicates {
        add("exact_duplicates".to_owned(), "true".to_owned());
    }
    let threshold = pipeline.near_duplicates.threshold;
    if threshold != NearDuplicates::default().threshold {
        add("threshold".to_owned(), threshold.to_string());
    }
    if let Some(HoldOut { share, seed }) = pipeline.hold_out {
        add("hold_out_share".to_owned(), share.to_string());
        if seed != 0 {
            add("hold_out_seed".to_owned(), seed.to_string());
        }
    }
    let columns = toml::to_string(&pipeline.columns).unwrap_or_default();
    add("columns".to_owned(), columns.trim_end().to_owned());
    for (place, step) in pipeline.steps.iter().enumerate() {
        let plugin = &step.name;
        add(format!("use.{plugin}"), "true".to_owned());
        add(format!("order.{plugin}"), (place + 1).to_string());
        if step.on_error == OnError::Keep {
            add(format!("on_error.{plugin}"), "keep".to_owned());
        }
        if step.only.is_some() {
            add(format!("only.{plugin}"), "true".to_owned());
        }
        for (key, value) in &step.config {
            add(
                format!("config.{plugin}.{}", schema_form::field(key)),
                schema_form::text(value),
            );
        }
    }
    fields
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

async fn read(
    view: &View,
    form: &CheckedForm,
) -> Result<Result<CreateCuration, FieldErrors>, AppError> {
    let text = |name: &str| form.get(name).unwrap_or_default().trim().to_owned();
    let path = match text("dataset") {
        id if id.is_empty() => text("path"),
        id => datasets::path_of(&view.state, &id).await?,
    };
    let mut errors = FieldErrors::default();
    let mut chosen = Vec::new();
    for (place, plugin) in curators(view).await?.into_iter().enumerate() {
        if form.get(&format!("use.{}", plugin.name)).is_none() {
            continue;
        }
        let order = text(&format!("order.{}", plugin.name));
        let order: f64 = order.parse().unwrap_or((place + 1) as f64);
        let schema = settings_schema(&plugin);
        match schema_form::read(&schema, &of_plugin(form, &plugin.name)) {
            Ok(values) => chosen.push((
                order,
                CurationPlugin {
                    config: set(&values, &schema),
                    on_error: form
                        .get(&format!("on_error.{}", plugin.name))
                        .map(str::to_owned),
                    only: form
                        .get(&format!("only.{}", plugin.name))
                        .map(|_| "train".to_owned()),
                    name: plugin.name,
                },
            )),
            Err(found) => errors.0.extend(found.0.into_iter().map(|error| {
                FieldError::new(format!("{}.{}", plugin.name, error.field), error.message)
            })),
        }
    }
    chosen.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut number = |name: &str| {
        let text = text(name);
        match text.parse::<f64>() {
            Ok(number) => Some(number),
            Err(_) if text.is_empty() => None,
            Err(_) => {
                errors.push(name, format!("must be a number, not {text:?}"));
                None
            }
        }
    };
    let (threshold, hold_out_share) = (number("threshold"), number("hold_out_share"));
    let hold_out_seed = match text("hold_out_seed") {
        seed if seed.is_empty() => None,
        seed => seed.parse::<u64>().map(Some).unwrap_or_else(|_| {
            let message = format!("must be a whole number from 0, not {seed:?}");
            errors.push("hold_out_seed", message);
            None
        }),
    };
    let columns = match toml::from_str::<BTreeMap<String, String>>(&text("columns")) {
        Ok(columns) => columns,
        Err(error) => {
            let message = format!("write one name = \"column\" a line: {}", error.message());
            errors.push("columns", message);
            BTreeMap::new()
        }
    };
    if let Err(errors) = errors.into_result() {
        return Ok(Err(errors));
    }
    Ok(Ok(CreateCuration {
        name: Some(text("name")).filter(|name| !name.is_empty()),
        path,
        format: Some(text("format")).filter(|format| !format.is_empty()),
        plugins: chosen.into_iter().map(|(_, plugin)| plugin).collect(),
        exact_duplicates: Some(form.get("exact_duplicates").is_some()),
        near_duplicates_threshold: threshold,
        hold_out_share,
        hold_out_seed,
        columns,
    }))
}

/// A plugin's settings as a schema whose form can leave every one of them out.
///
/// A box that is not ticked would say no where nothing was said: yes and no become words.
fn settings_schema(plugin: &PluginInfo) -> Value {
    let mut schema = plugin
        .metadata
        .as_ref()
        .map(|metadata| metadata.config_schema.clone())
        .unwrap_or_default();
    if let Some(table) = schema.as_object_mut() {
        table.remove("required");
    }
    let properties = schema["properties"].as_object_mut();
    for property in properties.into_iter().flat_map(|table| table.values_mut()) {
        if property["type"] == "boolean" {
            let default = property["default"].as_bool();
            property["enum"] = json!(["true", "false"]);
            property["yes_no"] = json!(true);
            if let Some(default) = default {
                property["default"] = json!(default.to_string());
            }
        }
    }
    schema
}

/// The fields of one plugin under the names that its schema's form has.
fn of_plugin(form: &CheckedForm, plugin: &str) -> CheckedForm {
    let prefix = format!("config.{plugin}.");
    let fields = form
        .0
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_owned(), value.clone())));
    CheckedForm(fields.collect())
}

/// What was set to something else than its default.
fn set(values: &Value, schema: &Value) -> BTreeMap<String, Value> {
    let values = values.as_object().into_iter().flatten();
    values
        .filter(|(name, value)| schema["properties"][name.as_str()]["default"] != **value)
        .map(|(name, value)| {
            let is_yes_no = schema["properties"][name.as_str()]["yes_no"] == true;
            let value = match value.as_str() {
                Some(word) if is_yes_no => json!(word == "true"),
                _ => value.clone(),
            };
            (name.clone(), value)
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_becomes_a_setting_and_yes_and_no_are_words_in_the_form() {
        let schema = json!({ "properties": {
            "pack": { "enum": ["a", "b"], "default": "a" },
            "strict": { "enum": ["true", "false"], "yes_no": true },
            "loose": { "enum": ["true", "false"], "yes_no": true },
            "most": { "type": "number" },
        } });
        let form = CheckedForm::filled(&[
            ("config.rules.in.pack", "a"),
            ("config.rules.in.strict", "false"),
            ("config.rules.in.loose", ""),
            ("config.rules.in.most", "3"),
            ("config.other.in.most", "4"),
        ]);
        let values = schema_form::read(&schema, &of_plugin(&form, "rules")).unwrap();
        let found = set(&values, &schema);
        assert_eq!(json!(found), json!({ "strict": false, "most": 3 }));
    }
}
