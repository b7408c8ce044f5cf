//! The form for a new run: made from `domain::FIELDS`, read back into the same JSON that the API takes.

mod fields;
mod plugins;

use actix_web::http::{StatusCode, header};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, Responder};
use domain::{FIELDS, Field, FieldErrors, FieldKind, PluginInfo, PluginStage, RunId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::RunFilter;
use uuid::Uuid;

use self::fields::{from_toml, read, texts};
use self::plugins::{Choice, choices};
use super::number;
use crate::api::curations::HELD_OUT;
use crate::api::submit;
use crate::config::PathsConfig;
use crate::error::{AppError, HtmlResult};
use crate::safety::csrf::CheckedForm;
use crate::state::blocking;
use crate::templates::{Page, View};

/// Fields that are shown without opening the rest of their section: what most runs set.
const FIRST: &[&str] = &[
    "model.path",
    "data.path",
    "data.format",
    "data.max_seq_length",
    "data.eval_split",
    "lora.r",
    "lora.lora_alpha",
    "lora.target_modules",
    "train.method",
    "train.batch_size",
    "train.epochs",
    "train.max_steps",
    "train.learning_rate",
    "train.lr_scheduler_type",
    "train.warmup_steps",
    "train.seed",
];

/// What the studio chooses, so that a page cannot name a folder to write to.
const CHOSEN: &str = "train.output";

const SAMPLE_NAME: &str = "Sample LoRA run";

#[derive(Serialize)]
struct RunFormPage {
    name: String,
    sections: Vec<Section>,
    curators: Vec<Choice>,
    scorers: Vec<Choice>,
    /// More plugins may come yet.
    is_loading: bool,
    /// A plugin is chosen or wrong: show them open.
    has_plugins: bool,
    presets: Vec<Preset>,
    preset: String,
    /// Faults of the input as a whole and of fields that the form does not show.
    other_errors: Vec<String>,
    error_count: usize,
    toml: String,
}

impl Page for RunFormPage {
    const TEMPLATE: &'static str = "run_new.html";
}

#[derive(Serialize)]
struct Section {
    name: &'static str,
    title: &'static str,
    first: Vec<Input>,
    rest: Vec<Input>,
    /// A field of the rest is set or wrong: show it open.
    is_open: bool,
}

#[derive(Serialize)]
struct Input {
    path: &'static str,
    label: &'static str,
    help: &'static str,
    /// number, choice, flag, table, lines or text.
    kind: &'static str,
    is_whole: bool,
    range: Option<String>,
    choices: Vec<&'static str>,
    /// May be left open: then nothing is written into the config.
    is_optional: bool,
    value: String,
    default: String,
    error: Option<String>,
}

#[derive(Serialize)]
struct Preset {
    id: &'static str,
    title: &'static str,
    help: &'static str,
}

#[derive(Serialize)]
struct Preview {
    toml: String,
    errors: Vec<domain::FieldError>,
}

impl Page for Preview {
    const TEMPLATE: &'static str = "fragments/preview.html";
}

/// Where to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Start {
    preset: String,
    /// A run whose settings to begin with.
    from: Option<RunId>,
    /// A curation whose data to train on.
    curation: Option<Uuid>,
}

const PRESETS: &[Preset] = &[
    Preset {
        id: "sample",
        title: "Sample",
        help: "The shipped tiny model on the shipped data: a minute on two cores.",
    },
    Preset {
        id: "lora",
        title: "LoRA",
        help: "An adapter of rank 16 on every linear layer: the usual choice.",
    },
    Preset {
        id: "small",
        title: "Small adapter",
        help: "Rank 8 on queries and values: least memory.",
    },
    Preset {
        id: "full",
        title: "All weights",
        help: "Method full with a tenth of the learning rate; for small models.",
    },
];

fn preset(id: &str, paths: &PathsConfig) -> Option<Value> {
    Some(match id {
        "sample" => submit::sample(paths).ok()?,
        "lora" => json!({ "train": { "lr_scheduler_type": "cosine", "warmup_ratio": 0.03 } }),
        "small" => json!({
            "lora": { "r": 8, "lora_alpha": 16.0, "target_modules": ["q_proj", "v_proj"] },
            "train": { "batch_size": 1, "gradient_accumulation_steps": 8 },
        }),
        "full" => {
            json!({ "train": { "method": "full", "learning_rate": 2e-5, "warmup_ratio": 0.03 } })
        }
        _ => return None,
    })
}

/// `GET /runs/new`.
pub async fn show(view: View, start: Query<Start>) -> HtmlResult {
    let (values, name) = match start.from {
        Some(id) => {
            let run = crate::api::runs::find(&view.state, id).await?;
            let value = serde_json::to_value(&run.config).expect("a run config serializes");
            // A name has at most 120 characters.
            let name: String = run.name.chars().take(114).collect();
            (texts(&value), format!("{name} again"))
        }
        None => {
            let chosen = preset(&start.preset, &view.state.config.paths).unwrap_or(Value::Null);
            let mut values = texts(&chosen);
            if let Some(id) = start.curation {
                for (field, name) in [("data.path", "data.jsonl"), ("data.eval_path", HELD_OUT)] {
                    let path = view.state.curations.file(id, name)?;
                    // Of most curations nothing is held out.
                    if name == HELD_OUT && !path.metadata().is_ok_and(|data| data.len() > 0) {
                        continue;
                    }
                    let path = std::path::absolute(&path).unwrap_or(path);
                    values.push((field.to_owned(), path.display().to_string()));
                }
            }
            (values, String::new())
        }
    };
    let plugins = known(&view).await?;
    view.page(&page(
        values,
        name,
        &start.preset,
        &FieldErrors::default(),
        String::new(),
        &plugins,
    ))
}

/// `POST /runs/new`.
pub async fn submit(
    request: HttpRequest,
    view: View,
    form: CheckedForm,
) -> Result<HttpResponse, AppError> {
    let name = form.get("name").unwrap_or_default().to_owned();
    let toml = form.get("toml").unwrap_or_default().trim().to_owned();
    let read = if toml.is_empty() {
        read(&form)
    } else {
        from_toml(&toml)
    };
    let made = match read {
        Ok(value) => submit::submit(&view.state, Some(&name), value).await,
        Err(errors) => Err(errors.into()),
    };
    match made {
        Ok(run) => Ok(HttpResponse::SeeOther()
            .insert_header((header::LOCATION, format!("/runs/{}", run.id)))
            .finish()),
        Err(AppError::Invalid(errors)) => {
            let plugins = known(&view).await?;
            let mut answer = view
                .page(&page(form.0, name, "", &errors, toml, &plugins))?
                .respond_to(&request);
            *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(answer.map_into_boxed_body())
        }
        Err(other) => Err(other),
    }
}

/// `POST /runs/preview`: the form as a RUN.toml, or what is wrong with it.
pub async fn preview(view: View, form: CheckedForm) -> HtmlResult {
    let paths = view.state.config.paths.clone();
    let checked = match read(&form) {
        Ok(value) => blocking(move || submit::check(value, RunId::new(), &paths)).await?,
        Err(errors) => Err(errors),
    };
    view.page(&match checked {
        Ok(config) => Preview {
            toml: config.to_toml(),
            errors: Vec::new(),
        },
        Err(errors) => Preview {
            toml: String::new(),
            errors: errors.0,
        },
    })
}

/// `POST /runs/sample`: one click from the dashboard.
pub async fn start_sample(view: View, _: CheckedForm) -> Result<HttpResponse, AppError> {
    let config = submit::sample(&view.state.config.paths)?;
    let before = view
        .state
        .store(|store| {
            store.list_runs(&RunFilter {
                search: Some(SAMPLE_NAME.to_owned()),
                limit: 1000,
                ..RunFilter::default()
            })
        })
        .await?;
    // Two curves of one name could not be told apart: the first number that no run has.
    let names = (2..).map(|number| format!("{SAMPLE_NAME} {number}"));
    let name = std::iter::once(SAMPLE_NAME.to_owned())
        .chain(names)
        .find(|name| before.iter().all(|run| run.name != *name))
        .expect("there are more numbers than runs");
    let run = submit::submit(&view.state, Some(&name), config).await?;
    Ok(HttpResponse::SeeOther()
        .insert_header((header::LOCATION, format!("/runs/{}", run.id)))
        .finish())
}

/// The fault at `path` is one of this field: of the whole, or of a key of its table or an item of its list.
fn belongs(path: &str, field: &Field) -> bool {
    path.strip_prefix(field.path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether plugins are still being loaded, and those that are there.
async fn known(view: &View) -> Result<(bool, Vec<PluginInfo>), AppError> {
    let call = |host: &plugin_host::PluginHost| (host.is_loading(), host.list());
    view.state.plugins(call).await
}

fn page(
    values: Vec<(String, String)>,
    name: String,
    preset: &str,
    errors: &FieldErrors,
    toml: String,
    (is_loading, plugins): &(bool, Vec<PluginInfo>),
) -> RunFormPage {
    let values = CheckedForm(values);
    let default = CheckedForm(texts(&Value::Null));
    let error_of = |field: &Field| {
        errors
            .0
            .iter()
            .find(|error| belongs(&error.field, field))
            .map(|error| match error.field.strip_prefix(field.path) {
                Some("") | None => error.message.clone(),
                Some(key) => format!("{}: {}", &key[1..], error.message),
            })
    };
    let input = |field: &'static Field| {
        let (kind, is_whole, range, choices) = match field.kind {
            FieldKind::Integer { min, max } => {
                ("number", true, Some(format!("{min} to {max}")), &[][..])
            }
            FieldKind::Number { min, max } => {
                let range = format!("{} to {}", number(min), number(max));
                ("number", false, Some(range), &[][..])
            }
            FieldKind::Choice(words) => ("choice", false, None, words),
            FieldKind::Flag => ("flag", false, None, &[][..]),
            FieldKind::Table => ("table", false, None, &[][..]),
            FieldKind::Lines => ("lines", false, None, &[][..]),
            FieldKind::Text
            | FieldKind::Words
            | FieldKind::Integers
            | FieldKind::IntegersByName
            | FieldKind::FlagOrWord => ("text", false, None, &[][..]),
        };
        let usual = default.get(field.path).unwrap_or_default();
        Input {
            path: field.path,
            label: field.label,
            help: field.help,
            kind,
            is_whole,
            range,
            choices: choices.to_vec(),
            is_optional: usual.is_empty(),
            value: values.get(field.path).unwrap_or_default().to_owned(),
            default: usual.to_owned(),
            error: error_of(field),
        }
    };
    let sections = [
        ("model", "Model"),
        ("data", "Data"),
        ("lora", "Adapter"),
        ("train", "Training"),
    ]
    .map(|(name, title)| {
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for field in FIELDS
            .iter()
            .filter(|field| field.path != CHOSEN && field.path.split('.').next() == Some(name))
        {
            let input = input(field);
            if FIRST.contains(&field.path) {
                first.push(input);
            } else {
                rest.push(input);
            }
        }
        Section {
            name,
            title,
            is_open: rest
                .iter()
                .any(|input| input.error.is_some() || input.value != input.default),
            first,
            rest,
        }
    });
    let shown = |path: &str| path != CHOSEN && FIELDS.iter().any(|field| belongs(path, field));
    let curators = choices(plugins, PluginStage::Curate, &values);
    let scorers = choices(plugins, PluginStage::Score, &values);
    let of_plugins = |error: &domain::FieldError| error.field.starts_with("plugins");
    RunFormPage {
        name,
        has_plugins: values.0.iter().any(|(key, _)| key.starts_with("plugin."))
            || errors.0.iter().any(of_plugins),
        curators,
        scorers,
        is_loading: *is_loading,
        sections: sections.into(),
        presets: PRESETS
            .iter()
            .map(|p| Preset {
                id: p.id,
                title: p.title,
                help: p.help,
            })
            .collect(),
        preset: preset.to_owned(),
        other_errors: errors
            .0
            .iter()
            .filter(|error| !shown(&error.field))
            .map(ToString::to_string)
            .collect(),
        error_count: errors.0.len(),
        toml,
    }
}
