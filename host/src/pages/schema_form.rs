//! A form from a JSON Schema, and its fields back into the JSON that the schema describes.

use std::collections::BTreeMap;

use domain::FieldErrors;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::safety::csrf::CheckedForm;

/// Name of the box for schemas that are no plain object.
const WHOLE: &str = "input-json";
/// Fields carry this before their name, so that none can be taken for the form's own.
const PREFIX: &str = "in.";

/// One field of the form.
#[derive(Debug, Serialize)]
pub struct Control {
    name: String,
    label: String,
    help: String,
    /// area, text, number, flag, choice or json.
    kind: &'static str,
    choices: Vec<String>,
    default: String,
    /// What JSON of its type looks like, where it is JSON.
    example: String,
    is_required: bool,
}

/// The fields for a schema: one for each property of an object, else one box for JSON.
pub fn controls(schema: &Value) -> Vec<Control> {
    let Some(properties) = properties(schema) else {
        return vec![Control {
            name: WHOLE.to_owned(),
            label: "Input".to_owned(),
            help: "JSON that fits the plugin's input schema.".to_owned(),
            kind: "json",
            choices: Vec::new(),
            default: "{}".to_owned(),
            example: String::new(),
            is_required: true,
        }];
    };
    let required = |name: &str| {
        schema["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|other| other == name))
    };
    properties
        .iter()
        .map(|(name, property)| Control {
            name: field(name),
            label: property["title"].as_str().unwrap_or(name).to_owned(),
            help: property["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            kind: kind(name, property),
            choices: words(property),
            default: text(&property["default"]),
            example: example(property),
            is_required: required(name),
        })
        .collect()
}

/// The name of a property's field.
pub fn field(property: &str) -> String {
    format!("{PREFIX}{property}")
}

/// A property's value as its field shows it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The fields for a plugin's settings, filled with `values`; none for a schema without properties.
pub fn settings(schema: &Value, values: &BTreeMap<String, Value>) -> Vec<Control> {
    if properties(schema).is_none() {
        return Vec::new();
    }
    let mut controls = controls(schema);
    for control in &mut controls {
        let name = control.name.strip_prefix(PREFIX).unwrap_or_default();
        if let Some(value) = values.get(name) {
            control.default = text(value);
        }
    }
    controls
}

/// What a form that was refused says, in its fields.
pub fn refill(controls: &mut [Control], form: &CheckedForm) {
    for control in controls {
        let text = form.get(&control.name);
        control.default = match control.kind {
            "flag" => text.is_some().to_string(),
            _ => text.unwrap_or_default().to_owned(),
        };
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema["properties"]
        .as_object()
        .filter(|properties| !properties.is_empty())
}

/// What a list or a table looks like as JSON: whoever types one is not to guess.
fn example(property: &Value) -> String {
    match type_of(property) {
        "array" => {
            let items = &property["items"];
            match (words(items).first(), type_of(items)) {
                (Some(word), _) => json!([word]).to_string(),
                (None, "integer" | "number") => "[1, 2]".to_owned(),
                (None, "string" | "") => r#"["a", "b"]"#.to_owned(),
                _ => "[]".to_owned(),
            }
        }
        "object" => r#"{"name": "value"}"#.to_owned(),
        _ => String::new(),
    }
}

fn words(property: &Value) -> Vec<String> {
    property["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

/// The first type that is not null.
fn type_of(property: &Value) -> &str {
    match &property["type"] {
        Value::String(word) => word,
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_str)
            .find(|word| *word != "null")
            .unwrap_or_default(),
        _ => "",
    }
}

fn kind(name: &str, property: &Value) -> &'static str {
    if !words(property).is_empty() {
        return "choice";
    }
    match type_of(property) {
        "string" if matches!(name, "code" | "text" | "source" | "content" | "prompt") => "area",
        "string" => "text",
        "integer" | "number" => "number",
        "boolean" => "flag",
        _ => "json",
    }
}

/// The form's fields as JSON. Empty optional fields are left out; the plugin's own schema has the last word.
///
/// # Errors
/// Under the field: what is no number and what is no JSON.
pub fn read(schema: &Value, form: &CheckedForm) -> Result<Value, FieldErrors> {
    let json = |field: &str, text: &str| {
        serde_json::from_str(text)
            .map_err(|error| FieldErrors::one(field, format!("is no valid JSON: {error}")))
    };
    let Some(properties) = properties(schema) else {
        return json("input", form.get(WHOLE).unwrap_or("{}"));
    };
    let mut input = Map::new();
    let mut errors = FieldErrors::default();
    for (name, property) in properties {
        let text = form.get(&field(name));
        let kind = kind(name, property);
        let required = schema["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|other| other == name));
        let value = match (kind, text) {
            ("flag", text) => Value::Bool(text.is_some()),
            ("area", Some(text)) if required || !text.is_empty() => {
                // Browsers send the line ends of forms as CR LF.
                Value::String(text.replace("\r\n", "\n"))
            }
            (_, None | Some("")) => continue,
            ("number", Some(text)) => match serde_json::from_str::<serde_json::Number>(text.trim())
            {
                Ok(number) => Value::Number(number),
                Err(_) => {
                    errors.push(name.as_str(), format!("must be a number, not {text:?}"));
                    continue;
                }
            },
            ("json", Some(text)) => match json(name, text) {
                Ok(value) => value,
                Err(found) => {
                    errors.0.extend(found.0);
                    continue;
                }
            },
            (_, Some(text)) => Value::String(text.to_owned()),
        };
        input.insert(name.clone(), value);
    }
    errors.into_result()?;
    Ok(Value::Object(input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_reads_back_into_what_the_schema_describes() {
        let schema = json!({
            "type": "object",
            "required": ["code"],
            "properties": {
                "code": { "type": "string" },
                "language": { "type": ["string", "null"], "enum": ["python", "rust"] },
                "depth": { "type": "integer" },
                "strict": { "type": "boolean" },
                "extra": { "type": "array" },
            },
        });
        let kinds: Vec<_> = controls(&schema)
            .iter()
            .map(|control| control.kind)
            .collect();
        assert_eq!(kinds, ["area", "choice", "number", "flag", "json"]);
        let input = read(
            &schema,
            &CheckedForm::filled(&[
                ("in.code", "a\r\nb"),
                ("in.language", ""),
                ("in.depth", "3"),
                ("in.extra", "[1]"),
            ]),
        );
        assert_eq!(
            input.unwrap(),
            json!({ "code": "a\nb", "depth": 3, "strict": false, "extra": [1] })
        );
        let errors = read(
            &schema,
            &CheckedForm::filled(&[("in.depth", "NaN"), ("in.extra", "[")]),
        )
        .unwrap_err();
        let fields: Vec<_> = errors.0.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["depth", "extra"]);
    }

    #[test]
    fn a_schema_without_properties_gets_one_box() {
        let schema = json!({ "type": "array" });
        assert_eq!(controls(&schema)[0].name, WHOLE);
        assert_eq!(
            read(&schema, &CheckedForm::filled(&[(WHOLE, "[1, 2]")])).unwrap(),
            json!([1, 2])
        );
    }
}
