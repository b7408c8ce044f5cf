//! Which field of the form a refusal is about.

use domain::FieldError;
use serde::Serialize;

use super::{Chosen, schema_form};

/// What cannot be, and the field that says it, where it has one of its own.
#[derive(Serialize)]
pub(super) struct Fault {
    id: Option<String>,
    label: String,
    message: String,
}

impl Fault {
    pub(super) fn of(error: &FieldError, plugins: &[Chosen]) -> Self {
        let message = error.message.clone();
        let field = |id: &str, label: &str| Self {
            id: Some(id.to_owned()),
            label: label.to_owned(),
            message: message.clone(),
        };
        match error.field.as_str() {
            "path" => field("path", "Path"),
            "format" => field("format", "Format"),
            "name" => field("name", "Name of the result"),
            "columns" => field("columns", "Columns"),
            "threshold" | "near_duplicates_threshold" => field("threshold", "Similarity"),
            "hold_out_share" => field("hold_out_share", "Share of the rows"),
            "hold_out_seed" => field("hold_out_seed", "Seed"),
            other => {
                let setting = other.split_once('.');
                let setting = setting.filter(|(name, _)| plugins.iter().any(|p| p.name == *name));
                match setting {
                    Some((plugin, key)) => {
                        let id = format!("config.{plugin}.{}", schema_form::field(key));
                        field(&id, &format!("{plugin}: {key}"))
                    }
                    // A plugin's place among the chosen ones: the message names it.
                    None => Self {
                        id: None,
                        label: String::new(),
                        message,
                    },
                }
            }
        }
    }
}
