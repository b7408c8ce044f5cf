use actix_web::web::Path;
use actix_web::{HttpResponse, Responder};
use domain::{Capability, Execution, FieldError, FieldErrors, PluginInfo};
use serde::Serialize;
use serde_json::Value;

use super::plugin_consent::Consent;
use super::plugin_suggestions::{self, Suggestion};
use super::schema_form::{self, Control};
use crate::api::plugin_consent::{self, UseBody};
use crate::api::plugins::{self, ExecutionBody};
use crate::error::{AppError, HtmlResult, see_other};
use crate::safety::csrf::CheckedForm;
use crate::templates::{Page, View};

const HISTORY: i64 = 20;
const AUDIT: i64 = 50;

#[derive(Serialize)]
struct PluginPage {
    /// What it asks for and nobody granted to this version.
    waits_for: Vec<Capability>,
    plugin: PluginInfo,
    controls: Vec<Control>,
    consent: Option<Consent>,
    /// The form of its settings, where it has some and may read them.
    settings: Vec<Control>,
    has_own_settings: bool,
    /// Why the settings that were sent cannot be used.
    settings_errors: Vec<FieldError>,
    uses: Vec<UseBody>,
    input_schema: String,
    output_schema: String,
    history: Vec<ExecutionBody>,
}

impl Page for PluginPage {
    const TEMPLATE: &'static str = "plugin.html";
}

#[derive(Serialize)]
struct ResultFragment {
    plugin: String,
    /// None when it is not in the history, so that nothing can be said of it.
    id: Option<uuid::Uuid>,
    suggestions: Vec<Suggestion>,
    execution: Execution,
    /// The whole answer, with its keys in the plugin's order.
    output: String,
    /// The scalar parts of the answer, for a table; the rest is shown as JSON.
    facts: Vec<(String, String)>,
    tables: Vec<Table>,
}

impl Page for ResultFragment {
    const TEMPLATE: &'static str = "fragments/execution.html";
}

/// A list of alike objects.
#[derive(Serialize)]
struct Table {
    name: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// `GET /plugins/{name}`.
pub async fn show(view: View, name: Path<String>) -> HtmlResult {
    view.page(&page(&view, &name).await?)
}

/// The page once more, for a consent that was refused.
pub(super) async fn show_refused(
    view: &View,
    name: &str,
    form: &CheckedForm,
    errors: FieldErrors,
) -> Result<HttpResponse, AppError> {
    let mut page = page(view, name).await?;
    let Some(consent) = &mut page.consent else {
        return Err(errors.into());
    };
    consent.refuse(form, errors);
    view.refused(&page)
}

/// The page once more, for settings that were refused.
pub(super) async fn show_settings_refused(
    view: &View,
    name: &str,
    form: &CheckedForm,
    errors: FieldErrors,
) -> Result<HttpResponse, AppError> {
    let mut page = page(view, name).await?;
    if page.settings.is_empty() {
        return Err(errors.into());
    }
    schema_form::refill(&mut page.settings, form);
    page.settings_errors = errors.0;
    view.refused(&page)
}

async fn page(view: &View, name: &str) -> Result<PluginPage, AppError> {
    let plugin = plugins::find(&view.state, name).await?;
    let history = plugins::history(&view.state, name, HISTORY).await?;
    let controls = plugin
        .metadata
        .as_ref()
        .map(|metadata| schema_form::controls(&metadata.input_schema))
        .unwrap_or_default();
    let consent = Consent::of(&view.state, &plugin).await?;
    let uses = plugin_consent::audit(&view.state, name, AUDIT).await?;
    let wanted = name.to_owned();
    let own = view.state.plugins(move |host| host.config(&wanted)).await?;
    let settings = plugin
        .metadata
        .as_ref()
        .filter(|_| plugin.capabilities.contains(&Capability::Config))
        .map(|metadata| schema_form::settings(&metadata.config_schema, &own))
        .unwrap_or_default();
    let waits_for = plugin
        .capabilities
        .iter()
        .copied()
        .filter(|capability| !plugin.granted.contains(capability))
        .collect();
    let schemas = plugin.metadata.as_ref().map(|metadata| {
        (
            pretty(&metadata.input_schema),
            pretty(&metadata.output_schema),
        )
    });
    let (input_schema, output_schema) = schemas.unwrap_or_default();
    Ok(PluginPage {
        input_schema,
        output_schema,
        waits_for,
        plugin,
        controls,
        consent,
        settings,
        has_own_settings: !own.is_empty(),
        settings_errors: Vec::new(),
        uses,
        history,
    })
}

/// `POST /plugins/{name}/run`: the outcome as a fragment.
pub async fn run(view: View, name: Path<String>, form: CheckedForm) -> HtmlResult {
    let plugin = plugins::find(&view.state, &name).await?;
    let schema = plugin
        .metadata
        .map(|metadata| metadata.input_schema)
        .unwrap_or_default();
    let input = schema_form::read(&schema, &form)?;
    let plugins::RunPluginBody { id, execution } =
        plugins::execute(&view.state, &name, input).await?;
    let mut suggestions = Vec::new();
    let (mut facts, mut tables) = (Vec::new(), Vec::new());
    let mut answer = String::new();
    if let domain::ExecutionOutcome::Ok { output } = &execution.outcome {
        answer = pretty(output);
        suggestions = plugin_suggestions::suggestions(output);
        let parts = output.as_object().into_iter().flatten();
        for (key, value) in parts.filter(|(key, _)| !plugin_suggestions::is_key(key)) {
            match value {
                Value::Array(items) if items.iter().any(Value::is_object) => {
                    tables.push(table(key, items));
                }
                Value::Array(items) if items.iter().all(|item| !item.is_array()) => {
                    let words: Vec<_> = items.iter().map(plain).collect();
                    let text = if words.is_empty() {
                        "none".to_owned()
                    } else {
                        words.join(", ")
                    };
                    facts.push((key.clone(), text));
                }
                Value::Object(_) | Value::Array(_) => {}
                scalar => facts.push((key.clone(), plain(scalar))),
            }
        }
    }
    view.page(&ResultFragment {
        plugin: name.into_inner(),
        id,
        suggestions,
        execution,
        output: answer,
        facts,
        tables,
    })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn table(name: &str, items: &[Value]) -> Table {
    let mut columns: Vec<String> = Vec::new();
    for key in items
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|o| o.keys())
    {
        if !columns.contains(key) && !plugin_suggestions::is_key(key) {
            columns.push(key.clone());
        }
    }
    Table {
        name: name.to_owned(),
        rows: items
            .iter()
            .map(|item| {
                columns
                    .iter()
                    .map(|key| plain(&item[key.as_str()]))
                    .collect()
            })
            .collect(),
        columns,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// `POST /plugins/{name}/enable`.
pub async fn enable(
    view: View,
    name: Path<String>,
    form: CheckedForm,
) -> Result<impl Responder, AppError> {
    set(view, &name, true, &form).await
}

/// `POST /plugins/{name}/disable`.
pub async fn disable(
    view: View,
    name: Path<String>,
    form: CheckedForm,
) -> Result<impl Responder, AppError> {
    set(view, &name, false, &form).await
}

async fn set(
    view: View,
    name: &str,
    enabled: bool,
    form: &CheckedForm,
) -> Result<impl Responder + use<>, AppError> {
    let plugin = plugins::switch(&view.state, name, enabled).await?;
    Ok(see_other(match form.get("from") {
        Some("list") => "/plugins".to_owned(),
        _ => format!("/plugins/{}", plugin.name),
    }))
}
