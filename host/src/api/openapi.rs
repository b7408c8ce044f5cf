use actix_web::web::Json;
use domain::{FIELDS, FieldKind, RunConfig};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

use super::{
    curations, events, exports, generate, health, metrics, models, plugin_consent, plugins, runs,
    secrets, suggestions, system, tokenize,
};

/// What every error of the API looks like.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// One error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// A word to branch on.
    pub code: String,
    /// What, where and what to do.
    pub message: String,
    /// The field at fault, when it is one: `train.learning_rate`.
    pub field: Option<String>,
    /// Every fault, when the input has some.
    pub fields: Option<Vec<FieldFault>>,
}

/// One fault of an input.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldFault {
    /// `train.learning_rate`; empty for the input as a whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "CodeTune Studio",
        description = "Fine-tune code models on your own hardware. Send the studio's password, when it has one, as a bearer token.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        runs::list,
        runs::create,
        runs::get,
        runs::rename,
        runs::delete,
        runs::stop,
        runs::resume,
        runs::checkpoints,
        metrics::series,
        events::follow,
        plugins::list,
        plugins::get,
        plugins::run,
        plugins::set_enabled,
        plugin_consent::set_grants,
        plugin_consent::get_config,
        plugin_consent::set_config,
        plugin_consent::uses,
        plugins::executions,
        suggestions::list,
        suggestions::set,
        secrets::list,
        secrets::set,
        secrets::delete,
        models::list,
        exports::list,
        exports::create,
        exports::get,
        exports::delete,
        exports::archive,
        exports::file,
        curations::list,
        curations::create,
        curations::get,
        curations::delete,
        curations::stop,
        curations::resume,
        curations::report,
        curations::file,
        generate::create,
        tokenize::create,
        system::get,
        health::live,
        health::ready,
        health::metrics,
    ),
    components(schemas(ErrorBody))
)]
struct Document;

/// `GET /api/openapi.json`.
pub async fn document() -> Json<Value> {
    let mut document =
        serde_json::to_value(Document::openapi()).expect("an OpenAPI document serializes");
    let schemas = &mut document["components"]["schemas"];
    schemas["RunConfig"] = run_config();
    schemas["CreateRun"]["properties"]["config"] =
        json!({ "$ref": "#/components/schemas/RunConfig" });
    Json(document)
}

/// The RUN.toml from the same table that validates it.
fn run_config() -> Value {
    let default = RunConfig::default();
    let mut sections = Map::new();
    for field in FIELDS {
        let (section, key) = field.path.split_once('.').expect("section.key");
        let mut schema = match field.kind {
            FieldKind::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            FieldKind::Number { min, max } => {
                json!({ "type": "number", "minimum": min, "maximum": max })
            }
            FieldKind::Choice(words) => json!({ "type": "string", "enum": words }),
            FieldKind::Text | FieldKind::Lines => json!({ "type": "string" }),
            FieldKind::Flag => json!({ "type": "boolean" }),
            FieldKind::Words => json!({ "oneOf": [
                { "type": "string" }, { "type": "array", "items": { "type": "string" } }
            ] }),
            FieldKind::Integers => {
                json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } })
            }
            FieldKind::IntegersByName => {
                let list = json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } });
                json!({ "oneOf": [list, { "type": "object", "additionalProperties": list }] })
            }
            FieldKind::FlagOrWord => {
                json!({ "oneOf": [{ "type": "boolean" }, { "type": "string" }] })
            }
            FieldKind::Table => json!({
                "type": "object",
                "additionalProperties": {
                    "oneOf": [{ "type": "number" }, { "type": "string" }, { "type": "object" }]
                }
            }),
        };
        schema["title"] = json!(field.label);
        schema["description"] = json!(field.help);
        if let Some(value) = default.value_at(field.path)
            && field.path != "train.output"
        {
            schema["default"] = value;
        }
        let section = sections.entry(section).or_insert_with(
            || json!({ "type": "object", "additionalProperties": true, "properties": {} }),
        );
        section["properties"][key] = schema;
    }
    sections.insert(
        "plugins".to_owned(),
        json!({
            "type": "array",
            "description": "Plugins that curate the data or score the output.",
            "items": {
                "type": "object",
                "required": ["name", "stage"],
                "additionalProperties": false,
                "properties": {
                    "name": { "type": "string" },
                    "stage": { "type": "string", "enum": ["curate", "score"] },
                    "config": { "type": "object", "additionalProperties": true },
                },
            },
        }),
    );
    json!({
        "type": "object",
        "description": "A RUN.toml as JSON; unknown keys are refused by name.",
        "properties": sections,
    })
}
