//! A form's texts as the JSON of a run config, and back.

use domain::{FIELDS, Field, FieldErrors, FieldKind, RunConfig};
use serde_json::{Map, Value, json};

use super::{CHOSEN, plugins};
use crate::safety::csrf::CheckedForm;

/// A pasted RUN.toml as JSON; the folder for the results is not its choice.
pub(super) fn from_toml(text: &str) -> Result<Value, FieldErrors> {
    let config = RunConfig::from_toml(text, &[format!("{CHOSEN}=chosen by the studio")])?;
    Ok(serde_json::to_value(config).expect("a run config serializes"))
}

/// What the form says, as the JSON of a RunConfig: what equals its default is left out.
pub(super) fn read(form: &CheckedForm) -> Result<Value, FieldErrors> {
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
    let plugins = plugins::read(form, &mut errors);
    errors.into_result()?;
    if !plugins.is_empty() {
        root.insert("plugins".to_owned(), Value::Array(plugins));
    }
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
pub(super) fn texts(config: &Value) -> Vec<(String, String)> {
    let default = serde_json::to_value(RunConfig::default()).expect("a run config serializes");
    let fields = FIELDS
        .iter()
        .filter(|field| field.path != CHOSEN)
        .filter_map(|field| {
            let pointer = format!("/{}", field.path.replace('.', "/"));
            let value = config
                .pointer(&pointer)
                .or_else(|| default.pointer(&pointer))?;
            text(value).map(|text| (field.path.to_owned(), text))
        });
    fields.chain(plugins::texts(config)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

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
            "plugins": [
                { "name": "secrets", "stage": "curate", "config": { "action": "drop" } },
                { "name": "parses", "stage": "score" },
            ],
        });
        assert_eq!(read(&CheckedForm(texts(&config))).unwrap(), config);
    }

    #[test]
    fn what_is_no_number_is_refused_at_its_field() {
        let wrong = CheckedForm::filled(&[
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
