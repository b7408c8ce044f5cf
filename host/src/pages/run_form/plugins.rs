//! The plugins that a run may use, as boxes to tick: curators and scorers, each with settings as JSON.

use domain::{FieldErrors, Only, PluginInfo, PluginKind, PluginStage, PluginUse};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::safety::csrf::CheckedForm;

/// Before `stage.name` in the name of a box.
const USE: &str = "plugin.";
/// Before `stage.name` in the name of its settings.
const CONFIG: &str = "plugin-config.";
/// Before `stage.name` in the name of the box that keeps a curator off what is held out.
const ONLY: &str = "plugin-only.";

/// One plugin at one stage.
#[derive(Debug, Serialize)]
pub(super) struct Choice {
    /// `stage.name`.
    id: String,
    name: String,
    description: String,
    is_chosen: bool,
    config: String,
    /// A curator may be for rows to train on alone, and whether it is.
    may_be_only: bool,
    is_only: bool,
    /// A run names it, and it is not here.
    is_missing: bool,
}

/// What can be chosen at a stage, and what is, by a form's fields.
pub(super) fn choices(all: &[PluginInfo], stage: PluginStage, form: &CheckedForm) -> Vec<Choice> {
    let (word, kind) = match stage {
        PluginStage::Curate => ("curate", PluginKind::Curator),
        PluginStage::Score => ("score", PluginKind::Scorer),
    };
    let choice = |name: &str, description: &str, is_missing: bool| {
        let id = format!("{word}.{name}");
        Choice {
            is_chosen: form.get(&format!("{USE}{id}")).is_some(),
            may_be_only: stage == PluginStage::Curate,
            is_only: form.get(&format!("{ONLY}{id}")).is_some(),
            config: form
                .get(&format!("{CONFIG}{id}"))
                .unwrap_or_default()
                .to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
            is_missing,
            id,
        }
    };
    let able = all.iter().filter(|plugin| plugin.kinds.contains(&kind));
    let mut choices: Vec<Choice> = able
        .map(|plugin| {
            let metadata = plugin.metadata.as_ref();
            let description = metadata.map_or("", |metadata| &metadata.description);
            choice(&plugin.name, description, false)
        })
        .collect();
    let prefix = format!("{USE}{word}.");
    for name in form
        .0
        .iter()
        .filter_map(|(key, _)| key.strip_prefix(&prefix))
    {
        if choices.iter().all(|choice| choice.name != name) {
            choices.push(choice(name, "", true));
        }
    }
    // Curators work in the order of the form: one that was chosen before keeps its place.
    let place = |choice: &Choice| {
        let key = format!("{USE}{}", choice.id);
        let found = form.0.iter().position(|(name, _)| *name == key);
        found.unwrap_or(usize::MAX)
    };
    choices.sort_by_key(place);
    choices
}

/// The fields of a form for the plugins that a config names.
pub(super) fn texts(config: &Value) -> Vec<(String, String)> {
    let plugins = serde_json::from_value::<Vec<PluginUse>>(config["plugins"].clone());
    let plugins = plugins.unwrap_or_default().into_iter();
    plugins
        .flat_map(|plugin| {
            let id = format!("{}.{}", word(plugin.stage), plugin.name);
            let config = match plugin.config.is_empty() {
                true => String::new(),
                false => Value::Object(plugin.config).to_string(),
            };
            let only = plugin
                .only
                .map(|Only::Train| (format!("{ONLY}{id}"), "true".to_owned()));
            let mut fields = vec![
                (format!("{USE}{id}"), "true".to_owned()),
                (format!("{CONFIG}{id}"), config),
            ];
            fields.extend(only);
            fields
        })
        .collect()
}

/// What is ticked, in the order of the form, as a config has it.
pub(super) fn read(form: &CheckedForm, errors: &mut FieldErrors) -> Vec<Value> {
    let ids = form.0.iter().filter_map(|(key, _)| key.strip_prefix(USE));
    let mut plugins = Vec::new();
    for id in ids {
        let Some((stage, name)) = id.split_once('.') else {
            continue;
        };
        let text = form
            .get(&format!("{CONFIG}{id}"))
            .unwrap_or_default()
            .trim();
        let config = match text {
            "" => Ok(Map::new()),
            text => serde_json::from_str::<Map<String, Value>>(text),
        };
        match config {
            Ok(config) => {
                let mut plugin = json!({ "name": name, "stage": stage });
                if !config.is_empty() {
                    plugin["config"] = config.into();
                }
                if form.get(&format!("{ONLY}{id}")).is_some() {
                    plugin["only"] = json!(Only::Train);
                }
                plugins.push(plugin);
            }
            Err(error) => errors.push(
                format!("plugins.{name}.config"),
                format!("must be a JSON object: {error}"),
            ),
        }
    }
    plugins
}

fn word(stage: PluginStage) -> &'static str {
    match stage {
        PluginStage::Curate => "curate",
        PluginStage::Score => "score",
    }
}
