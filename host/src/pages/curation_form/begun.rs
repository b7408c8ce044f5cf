//! The form as an earlier curation was asked for.

use curation::{HoldOut, NearDuplicates, OnError, Pipeline};
use domain::{FieldErrors, PluginInfo};
use uuid::Uuid;

use super::{curators, datasets, schema_form};
use crate::curations::{Curation, CurationStatus};
use crate::error::AppError;
use crate::state::blocking;
use crate::templates::View;

/// The form's fields as a curation was asked for, and what of it cannot be asked for again.
pub(super) async fn begun_from(
    view: &View,
    id: Uuid,
) -> Result<(Vec<(String, String)>, FieldErrors), AppError> {
    let curation = view.state.curations.find(id)?;
    let curations = view.state.curations.clone();
    let text = blocking(move || curations.pipeline(id)).await??;
    let pipeline = Pipeline::parse(&text)
        .map_err(|error| AppError::Conflict(format!("Its pipeline cannot be read: {error}")))?;
    let able = curators(view).await?;
    let missing = pipeline.steps.iter().filter(|step| {
        let is_it = |plugin: &PluginInfo| plugin.name == step.name;
        !able.iter().any(is_it)
    });
    let mut errors = FieldErrors::default();
    for step in missing {
        let message = format!(
            "{} is not among the plugins here, and is left out",
            step.name
        );
        errors.push("", message);
    }
    let path = curation.path.display().to_string();
    let known = datasets::choices(&view.state).await?;
    let known = known.into_iter().find(|(_, _, other)| *other == path);
    let mut fields = texts(&curation, &pipeline);
    fields.push(match known {
        Some((id, _, _)) => ("dataset".to_owned(), id),
        None => ("path".to_owned(), path),
    });
    Ok((fields, errors))
}

/// The fields of a curation but for its dataset; what is as usual stays open.
fn texts(curation: &Curation, pipeline: &Pipeline) -> Vec<(String, String)> {
    // Two datasets of one name could not be told apart.
    let name = match curation.status {
        CurationStatus::Done => {
            let name: String = curation.name.chars().take(114).collect();
            format!("{name} again")
        }
        _ => curation.name.clone(),
    };
    let mut fields = vec![
        ("name".to_owned(), name),
        ("format".to_owned(), curation.format.clone()),
    ];
    let mut add = |name: String, value: String| fields.push((name, value));
    if pipeline.exact_duplicates {
        add("exact_duplicates".to_owned(), "true".to_owned());
    }
    let threshold = pipeline.near_duplicates.threshold;
    if threshold != NearDuplicates::default().threshold {
        add("threshold".to_owned(), threshold.to_string());
    }
    if let Some(HoldOut { share, seed }) = pipeline.hold_out {
        add("hold_out_share".to_owned(), share.to_string());
        if seed != 0 {
            add("hold_out_seed".to_owned(), seed.to_string());
        }
    }
    let columns = toml::to_string(&pipeline.columns).unwrap_or_default();
    add("columns".to_owned(), columns.trim_end().to_owned());
    for (place, step) in pipeline.steps.iter().enumerate() {
        let plugin = &step.name;
        add(format!("use.{plugin}"), "true".to_owned());
        add(format!("order.{plugin}"), (place + 1).to_string());
        if step.on_error == OnError::Keep {
            add(format!("on_error.{plugin}"), "keep".to_owned());
        }
        if step.only.is_some() {
            add(format!("only.{plugin}"), "true".to_owned());
        }
        for (key, value) in &step.config {
            add(
                format!("config.{plugin}.{}", schema_form::field(key)),
                schema_form::text(value),
            );
        }
    }
    fields
}
