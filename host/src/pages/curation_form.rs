//! The form that curates a dataset: plugins to choose, each with the settings of its own schema.

use std::collections::BTreeMap;

use actix_web::http::{StatusCode, header};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, Responder};
use domain::{FieldErrors, PluginInfo, PluginKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::schema_form::{self, Control};
use super::{datasets, plugins};
use crate::api::curations::{self, CreateCuration, CurationPlugin};
use crate::error::{AppError, HtmlResult};
use crate::safety::csrf::CheckedForm;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct CurationFormPage {
    /// Id of the dataset, where one was chosen.
    dataset: String,
    datasets: Vec<Choice>,
    path: String,
    name: String,
    format: String,
    formats: &'static [&'static str],
    /// `text = "body"`, a line each.
    columns: String,
    exact_duplicates: bool,
    threshold: String,
    hold_out_share: String,
    plugins: Vec<Chosen>,
    /// More may come yet.
    is_loading: bool,
    errors: Vec<String>,
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

/// Which dataset to begin with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Start {
    id: String,
}

/// `GET /datasets/curate`.
pub async fn show(view: View, start: Query<Start>) -> HtmlResult {
    let form = CheckedForm(vec![
        ("dataset".to_owned(), start.id.clone()),
        ("exact_duplicates".to_owned(), "true".to_owned()),
    ]);
    let page = page(&view, &form, Vec::new()).await?;
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
            let errors = errors.0.iter().map(ToString::to_string).collect();
            let mut answer = view
                .page(&page(&view, &form, errors).await?)?
                .respond_to(&request);
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
                domain::FieldError::new(format!("{}.{}", plugin.name, error.field), error.message)
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
        hold_out_seed: None,
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
    errors: Vec<String>,
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
    let choices = choices.collect();
    let datasets = datasets::choices(&view.state).await?;
    Ok(CurationFormPage {
        dataset: text("dataset"),
        datasets: datasets
            .into_iter()
            .map(|(id, name, path)| Choice { id, name, path })
            .collect(),
        path: text("path"),
        name: text("name"),
        format: text("format"),
        formats: FORMATS,
        columns: text("columns"),
        exact_duplicates: form.get("exact_duplicates").is_some(),
        threshold: text("threshold"),
        hold_out_share: text("hold_out_share"),
        plugins: choices,
        is_loading: view.state.plugins(|host| host.is_loading()).await?,
        errors,
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
