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
        let value = match parse(field, form.get(field.path)) {
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
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    if field.kind == FieldKind::Lines {
        // Browsers send the line ends of forms as CR LF, and every character of a template counts.
        return Ok(Some(text.replace("\r\n", "\n").into()));
    }
    let text = text.trim();
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
        FieldKind::Words if text.starts_with('"') => serde_json::from_str::<String>(text)
            .map_err(|_| format!("must end with a quote as it begins with one: {text}"))?
            .into(),
        FieldKind::Words if text.contains(',') => items(text).collect(),
        FieldKind::IntegersByName if text.starts_with('{') => by_name(text)?,
        FieldKind::Integers | FieldKind::IntegersByName => items(text)
            .map(|item| {
                item.parse::<u64>().map(Value::from).map_err(|_| {
                    format!("must be whole numbers with commas between them, not {item:?}")
                })
            })
            .collect::<Result<_, _>>()?,
        FieldKind::FlagOrWord => text.parse().map_or_else(|_| text.into(), Value::Bool),
        FieldKind::Table => table(text)?,
        FieldKind::Choice(_)
        | FieldKind::Text
        | FieldKind::Lines
        | FieldKind::Words
        | FieldKind::Flag => text.into(),
    }))
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Lists of numbers by name, as they would stand in one line of a RUN.toml.
fn by_name(text: &str) -> Result<Value, String> {
    let line = format!("value = {text}");
    let table: toml::Table = toml::from_str(&line)
        .map_err(|error| format!("must be a list of whole numbers: {}", error.message()))?;
    serde_json::to_value(table.get("value")).map_err(|error| error.to_string())
}

/// The lines of a table's field: what would stand under its name in a RUN.toml.
fn table(text: &str) -> Result<Value, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        format!(
            "write one name = value a line, texts in quotes: {}",
            error.message()
        )
    })?;
    // JSON has no word for a float that is not finite: such a number would turn into nothing.
    if let Some((name, _)) = table
        .iter()
        .find(|(_, value)| value.as_float().is_some_and(|number| !number.is_finite()))
    {
        return Err(format!("{name} must be a finite number"));
    }
    serde_json::to_value(table).map_err(|error| error.to_string())
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
            // A box that is not ticked is not sent.
            if field.kind == FieldKind::Flag && value == &Value::Bool(false) {
                return None;
            }
            let text = match (field.kind, value) {
                (FieldKind::Words, value) => words(value),
                // A text of one line.
                (FieldKind::IntegersByName, Value::Object(_)) => toml::Value::try_from(value)
                    .ok()
                    .map(|table| table.to_string()),
                (_, value) => text(value),
            };
            text.map(|text| (field.path.to_owned(), text))
        });
    fields.chain(plugins::texts(config)).collect()
}

/// A list of one name is not that name alone, which may be a regex; a regex with a comma is no list.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) if items.len() == 1 => text(value).map(|name| format!("{name},")),
        Value::String(one) if one.contains([',', '"']) => Some(value.to_string()),
        other => text(other),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(flag.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Object(table) => toml::to_string(table)
            .ok()
            .map(|lines| lines.trim_end().to_owned()),
        Value::Array(items) => Some(items.iter().filter_map(text).collect::<Vec<_>>().join(", ")),
        Value::Number(number) => Some(match number.as_f64() {
            Some(value) if !number.is_u64() && value != 0.0 && value.abs() < 1e-3 => {
                format!("{value:e}")
            }
            Some(value) => value.to_string(),
            None => number.to_string(),
        }),
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
            "data": {
                "path": "d",
                "subset": "en",
                "split": "train+validation",
                "shuffle": false,
                "num_samples": 500,
                "mix": { "docs": { "path": "e", "format": "text", "columns": { "text": "body" }, "num_samples": 20 } },
            },
            "lora": {
                "target_modules": ["q_proj", "v_proj"],
                "init_lora_weights": false,
                "rank_pattern": { "q_proj": 32, "layers\\.1\\..*": 4 },
                "layers_to_transform": [0, 2],
                "trainable_token_indices": { "embed_tokens": [5, 7], "lm_head": [9] },
                "bias": "lora_only",
            },
            "train": {
                "learning_rate": 0.00005,
                "max_steps": 40,
                "eval_strategy": "epoch",
                "save_strategy": "epoch",
                "lr_scheduler_kwargs": { "power": 2.0, "decay_type": "cosine" },
            },
            "plugins": [
                { "name": "secrets", "stage": "curate", "config": { "action": "drop" } },
                { "name": "parses", "stage": "score" },
            ],
        });
        assert_eq!(read(&CheckedForm(texts(&config))).unwrap(), config);
    }

    #[test]
    fn one_name_a_regex_with_a_comma_and_a_template_of_lines_read_back_as_they_were() {
        let template = "\n{% for message in messages %}\n  {{ message.content }}\n{% endfor %}\n";
        for modules in [
            json!(["q_proj"]),
            json!("q_proj"),
            json!(r".*\.\d{1,2}\..*_proj"),
        ] {
            let config = json!({
                "data": { "chat_template": template },
                "lora": { "target_modules": modules },
            });
            assert_eq!(read(&CheckedForm(texts(&config))).unwrap(), config);
        }
        let sent = CheckedForm::filled(&[("data.chat_template", "a\r\nb\r\n")]);
        assert_eq!(read(&sent).unwrap()["data"]["chat_template"], "a\nb\n");
        let wrong = CheckedForm::filled(&[("lora.target_modules", "\"q_proj, v_proj")]);
        assert!(read(&wrong).is_err());
    }

    #[test]
    fn a_curator_that_works_twice_keeps_both_settings_and_its_places() {
        let config = json!({
            "plugins": [
                { "name": "curator-rules", "stage": "curate", "config": { "pack": "opencoder" } },
                { "name": "secrets", "stage": "curate" },
                { "name": "curator-rules", "stage": "curate", "config": { "max_lines": 90 } },
            ],
        });
        assert_eq!(read(&CheckedForm(texts(&config))).unwrap(), config);
    }

    #[test]
    fn what_is_no_number_is_refused_at_its_field() {
        let wrong = CheckedForm::filled(&[
            ("train.learning_rate", "NaN"),
            ("train.weight_decay", "inf"),
            ("train.save_steps", "2.5"),
            ("train.batch_size", "-1"),
            ("train.lr_scheduler_kwargs", "power = nan"),
            ("lora.rank_pattern", "q_proj: 8"),
            ("lora.layers_to_transform", "0, first"),
        ]);
        let errors = read(&wrong).unwrap_err();
        let fields: Vec<_> = errors.0.iter().map(|error| error.field.as_str()).collect();
        for field in [
            "train.learning_rate",
            "train.weight_decay",
            "train.save_steps",
            "train.batch_size",
            "train.lr_scheduler_kwargs",
            "lora.rank_pattern",
            "lora.layers_to_transform",
        ] {
            assert!(fields.contains(&field), "{field} of {errors}");
        }
    }
}
