//! The form for a new run: made from `domain::FIELDS`, read back into the same JSON that the API takes.

use actix_web::http::{StatusCode, header};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, Responder};
use domain::{FIELDS, Field, FieldErrors, FieldKind, RunConfig, RunId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::RunFilter;

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
    /// number, choice, flag or text.
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
            (texts(&value), format!("{} again", run.name))
        }
        None => {
            let chosen = preset(&start.preset, &view.state.config.paths).unwrap_or(Value::Null);
            (texts(&chosen), String::new())
        }
    };
    view.page(&page(
        values,
        name,
        &start.preset,
        &FieldErrors::default(),
        String::new(),
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
            let mut answer = view
                .page(&page(form.0, name, "", &errors, toml))?
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
            store.count_runs(&RunFilter {
                search: Some(SAMPLE_NAME.to_owned()),
                ..RunFilter::default()
            })
        })
        .await?;
    // Two curves of one name could not be told apart.
    let name = match before {
        0 => SAMPLE_NAME.to_owned(),
        more => format!("{SAMPLE_NAME} {}", more + 1),
    };
    let run = submit::submit(&view.state, Some(&name), config).await?;
    Ok(HttpResponse::SeeOther()
        .insert_header((header::LOCATION, format!("/runs/{}", run.id)))
        .finish())
}

/// A pasted RUN.toml as JSON; the folder for the results is not its choice.
fn from_toml(text: &str) -> Result<Value, FieldErrors> {
    let config = RunConfig::from_toml(text, &[format!("{CHOSEN}=chosen by the studio")])?;
    Ok(serde_json::to_value(config).expect("a run config serializes"))
}

/// What the form says, as the JSON of a RunConfig: what equals its default is left out.
fn read(form: &CheckedForm) -> Result<Value, FieldErrors> {
    let mut errors = FieldErrors::default();
    let mut root = Map::new();
    let default = RunConfig::default();
    for field in FIELDS.iter().filter(|field| field.path != CHOSEN) {
        let text = form.get(field.path).map(str::trim);
        let value = match parse(field, text) {
            Ok(Some(value)) => value,
            Ok(None) => continue,
            Err(message) => {
                errors.push(field.path, message);
                continue;
            }
        };
        if default
            .value_at(field.path)
            .is_some_and(|usual| same(&usual, &value))
        {
            continue;
        }
        let (section, key) = field.path.split_once('.').expect("section.key");
        root.entry(section)
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .expect("a section is a table")
            .insert(key.to_owned(), value);
    }
    errors.into_result()?;
    Ok(Value::Object(root))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// A field's text as JSON; `None` where it is left open.
fn parse(field: &Field, text: Option<&str>) -> Result<Option<Value>, String> {
    if field.kind == FieldKind::Flag {
        // A box that is not ticked is not sent.
        return Ok(Some(Value::Bool(text.is_some())));
    }
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(match field.kind {
        FieldKind::Integer { min, max } => text
            .parse::<u64>()
            .map(Value::from)
            .map_err(|_| format!("must be a whole number between {min} and {max}, not {text:?}"))?,
        FieldKind::Number { min, max } => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| {
                format!("must be a finite number between {min} and {max}, not {text:?}")
            })?,
        FieldKind::Words if text.contains(',') => text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect(),
        FieldKind::Choice(_) | FieldKind::Text | FieldKind::Words | FieldKind::Flag => text.into(),
    }))
}

/// A config's values as the texts of a form; what it does not set has its default.
fn texts(config: &Value) -> Vec<(String, String)> {
    let default = serde_json::to_value(RunConfig::default()).expect("a run config serializes");
    FIELDS
        .iter()
        .filter(|field| field.path != CHOSEN)
        .filter_map(|field| {
            let pointer = format!("/{}", field.path.replace('.', "/"));
            let value = config
                .pointer(&pointer)
                .or_else(|| default.pointer(&pointer))?;
            text(value).map(|text| (field.path.to_owned(), text))
        })
        .collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some("true".to_owned()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(text).collect::<Vec<_>>().join(", ")),
        Value::Number(number) => Some(match number.as_f64() {
            Some(value) if !number.is_u64() && value != 0.0 && value.abs() < 1e-3 => {
                format!("{value:e}")
            }
            Some(value) => value.to_string(),
            None => number.to_string(),
        }),
        other => Some(other.to_string()),
    }
}

fn page(
    values: Vec<(String, String)>,
    name: String,
    preset: &str,
    errors: &FieldErrors,
    toml: String,
) -> RunFormPage {
    let values = CheckedForm(values);
    let default = CheckedForm(texts(&Value::Null));
    let error_of = |path: &str| {
        errors
            .0
            .iter()
            .find(|error| error.field == path)
            .map(|error| error.message.clone())
    };
    let input = |field: &'static Field| {
        let (kind, is_whole, range, choices) = match field.kind {
            FieldKind::Integer { min, max } => {
                ("number", true, Some(format!("{min} to {max}")), &[][..])
            }
            FieldKind::Number { min, max } => {
                ("number", false, Some(format!("{min} to {max}")), &[][..])
            }
            FieldKind::Choice(words) => ("choice", false, None, words),
            FieldKind::Flag => ("flag", false, None, &[][..]),
            FieldKind::Text | FieldKind::Words => ("text", false, None, &[][..]),
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
            error: error_of(field.path),
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
    let shown = |path: &str| path != CHOSEN && FIELDS.iter().any(|field| field.path == path);
    RunFormPage {
        name,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> CheckedForm {
        CheckedForm(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn the_default_form_reads_back_as_nothing_but_defaults() {
        let read = read(&CheckedForm(texts(&Value::Null))).unwrap();
        assert_eq!(read, json!({}));
    }

    #[test]
    fn what_is_set_reads_back_as_it_was() {
        let config = json!({
            "model": { "path": "m", "dtype": "bf16" },
            "data": { "path": "d", "shuffle": false },
            "lora": { "target_modules": ["q_proj", "v_proj"] },
            "train": { "learning_rate": 0.00005, "max_steps": 40 },
        });
        assert_eq!(read(&CheckedForm(texts(&config))).unwrap(), config);
    }

    #[test]
    fn what_is_no_number_is_refused_at_its_field() {
        let wrong = form(&[
            ("train.learning_rate", "NaN"),
            ("train.weight_decay", "inf"),
            ("train.epochs", "2.5"),
            ("train.batch_size", "-1"),
        ]);
        let errors = read(&wrong).unwrap_err();
        let fields: Vec<_> = errors.0.iter().map(|error| error.field.as_str()).collect();
        for field in [
            "train.learning_rate",
            "train.weight_decay",
            "train.epochs",
            "train.batch_size",
        ] {
            assert!(fields.contains(&field), "{field} of {errors}");
        }
    }
}
