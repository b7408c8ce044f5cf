//! The plugins that a run may use, as boxes to tick: curators and scorers, each with settings as JSON.

use domain::{FieldErrors, Only, PluginInfo, PluginKind, PluginStage, PluginUse};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::pages::plugins::problem;
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
    /// `stage.name`, for a second use `stage.name#2`.
    id: String,
    name: String,
    description: String,
    is_chosen: bool,
    config: String,
    /// Why it cannot be used, where it cannot.
    problem: Option<String>,
    /// A curator may be for rows to train on alone, and whether it is.
    may_be_only: bool,
    is_only: bool,
}

/// What can be chosen at a stage, and what is, by a form's fields.
pub(super) fn choices(all: &[PluginInfo], stage: PluginStage, form: &CheckedForm) -> Vec<Choice> {
    let (word, kind) = match stage {
        PluginStage::Curate => ("curate", PluginKind::Curator),
        PluginStage::Score => ("score", PluginKind::Scorer),
    };
    let choice = |place: &str, name: &str, description: &str, problem: Option<String>| {
        let id = format!("{word}.{place}");
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
            problem,
            id,
        }
    };
    let able = all.iter().filter(|plugin| plugin.kinds.contains(&kind));
    let mut choices: Vec<Choice> = able
        .map(|plugin| {
            let metadata = plugin.metadata.as_ref();
            let description = metadata.map_or("", |metadata| &metadata.description);
            choice(
                &plugin.name,
                &plugin.name,
                description,
                problem(&plugin.health),
            )
        })
        .collect();
    let prefix = format!("{USE}{word}.");
    for place in form
        .0
        .iter()
        .filter_map(|(key, _)| key.strip_prefix(&prefix))
    {
        let id = format!("{word}.{place}");
        if choices.iter().all(|choice| choice.id != id) {
            let name = name_at(place);
            // A second use of one that is here, or one that is gone.
            let known = choices.iter().find(|choice| choice.name == name);
            let (description, problem) = known.map_or_else(
                || (String::new(), Some("This plugin is not here.".to_owned())),
                |known| (known.description.clone(), known.problem.clone()),
            );
            choices.push(choice(place, name, &description, problem));
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
    let plugins = plugins.unwrap_or_default();
    let places = plugins.iter().enumerate().map(|(index, plugin)| {
        let same = |other: &&PluginUse| other.stage == plugin.stage && other.name == plugin.name;
        match plugins[..index].iter().filter(same).count() {
            0 => format!("{}.{}", word(plugin.stage), plugin.name),
            before => format!("{}.{}#{}", word(plugin.stage), plugin.name, before + 1),
        }
    });
    let places: Vec<String> = places.collect();
    places
        .into_iter()
        .zip(plugins)
        .flat_map(|(id, plugin)| {
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
        let Some((stage, place)) = id.split_once('.') else {
            continue;
        };
        let name = name_at(place);
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

/// A plugin's name out of its place: the second use of one has a number behind it.
fn name_at(place: &str) -> &str {
    place.split('#').next().unwrap_or(place)
}

fn word(stage: PluginStage) -> &'static str {
    match stage {
        PluginStage::Curate => "curate",
        PluginStage::Score => "score",
    }
}
