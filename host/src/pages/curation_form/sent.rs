//! The form as a browser sends it.

use std::collections::BTreeMap;

use domain::{FieldError, FieldErrors, PluginInfo};
use serde_json::{Value, json};

use super::{curators, datasets, schema_form};
use crate::api::curations::{CreateCuration, CurationPlugin};
use crate::error::AppError;
use crate::safety::csrf::CheckedForm;
use crate::templates::View;

/// What is asked for, or which fields of it cannot be.
pub(super) async fn read(
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
pub(super) fn settings_schema(plugin: &PluginInfo) -> Value {
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
pub(super) fn of_plugin(form: &CheckedForm, plugin: &str) -> CheckedForm {
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
