use serde_json::{Map, Value};

use super::{FIELDS, FieldKind, RunConfig};
use crate::{FieldError, FieldErrors};

impl RunConfig {
    /// Reads and validates a RUN.toml with overrides of the form `section.key=value`.
    ///
    /// # Errors
    /// Names the line of a syntax error, or each field that is unknown, of the wrong type or out of range.
    pub fn from_toml(text: &str, overrides: &[String]) -> Result<Self, FieldErrors> {
        let table: toml::Table =
            toml::from_str(text).map_err(|error| FieldErrors::one("", syntax(&error, text)))?;
        let mut value = to_json(toml::Value::Table(table), "")?;
        for assignment in overrides {
            apply(&mut value, assignment)?;
        }
        Self::from_json(value)
    }

    /// Reads and validates a config in the same shape as JSON.
    ///
    /// # Errors
    /// Names each field that is unknown, of the wrong type or out of range.
    pub fn from_json(value: Value) -> Result<Self, FieldErrors> {
        refuse_beside_init_adapter(&value)?;
        let config: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { String::new() } else { path };
            FieldErrors::one(path, error.inner().to_string())
        })?;
        config.validate()?;
        Ok(config)
    }

    /// The config as a RUN.toml that reads back as the same config.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a run config is made of tables, strings and finite numbers")
    }

    /// The value at a dotted path in JSON form; `None` where nothing is set.
    pub fn value_at(&self, path: &str) -> Option<Value> {
        let root = serde_json::to_value(self).expect("a run config serializes");
        path.split('.')
            .try_fold(&root, |value, key| value.get(key))
            .cloned()
    }
}

fn syntax(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map_or(1, |span| {
        text[..span.start.min(text.len())].matches('\n').count() + 1
    });
    format!("not valid TOML at line {line}: {}", error.message())
}

/// TOML to JSON; refuses what JSON has no word for, which would otherwise become `null`.
fn to_json(value: toml::Value, path: &str) -> Result<Value, FieldErrors> {
    let child = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| {
                FieldErrors::one(path, format!("must be a finite number, not {number}"))
            })?,
        toml::Value::Array(items) => Value::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| to_json(item, &child(&index.to_string())))
                .collect::<Result<_, _>>()?,
        ),
        toml::Value::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(key, item)| Ok((key.clone(), to_json(item, &child(&key))?)))
                .collect::<Result<Map<_, _>, FieldErrors>>()?,
        ),
    })
}

/// Applies `section.key=value`; the value is TOML, and a bare word is a string.
fn apply(root: &mut Value, assignment: &str) -> Result<(), FieldErrors> {
    let Some((path, text)) = assignment.split_once('=') else {
        return Err(FieldErrors::one(
            "",
            format!("--set {assignment}: write section.key=value"),
        ));
    };
    let (path, text) = (path.trim(), text.trim());
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let is_text = FIELDS.iter().any(|field| {
        field.path == path && matches!(field.kind, FieldKind::Text | FieldKind::Lines)
    });
    let parsed = match parsed {
        // A folder may be called 2024.
        toml::Value::String(text) => toml::Value::String(text),
        _ if is_text => toml::Value::String(text.to_owned()),
        other => other,
    };
    let value = to_json(parsed, path)?;
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().unwrap_or_default();
    if keys.is_empty() {
        return Err(FieldErrors::one(
            path,
            "write section.key=value, for example train.learning_rate=1e-4",
        ));
    }
    let mut at = root;
    for key in keys {
        at = at
            .as_object_mut()
            .ok_or_else(|| FieldErrors::one(path, "is no table"))?
            .entry(key)
            .or_insert_with(|| Value::Object(Map::new()));
    }
    at.as_object_mut()
        .ok_or_else(|| FieldErrors::one(path, "is no table"))?
        .insert(last.to_owned(), value);
    Ok(())
}

/// An adapter to go on from brings its own settings: a second word on them could only be ignored.
fn refuse_beside_init_adapter(value: &Value) -> Result<(), FieldErrors> {
    let Some(lora) = value.get("lora").and_then(Value::as_object) else {
        return Ok(());
    };
    if lora.get("init_adapter").is_none_or(Value::is_null) {
        return Ok(());
    }
    let errors = lora
        .keys()
        .filter(|key| *key != "init_adapter")
        .map(|key| {
            FieldError::new(
                format!("lora.{key}"),
                "is brought by lora.init_adapter; remove it here",
            )
        })
        .collect();
    FieldErrors(errors).into_result()
}
