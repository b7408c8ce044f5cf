use actix_web::web::Path;
use actix_web::{HttpResponse, Responder};
use serde::Serialize;
use uuid::Uuid;

use super::adapters::{self, Asked};
use crate::api::exports::{self, CreateExport};
use crate::error::{AppError, HtmlResult, see_other};
use crate::exports::Export;
use crate::safety::csrf::CheckedForm;
use crate::templates::{Page, View};

/// All exports, as the adapters page shows them and asks for again while one is made.
#[derive(Serialize)]
pub struct ExportsFragment {
    exports: Vec<Row>,
    /// One is not at its end.
    is_active: bool,
}

impl Page for ExportsFragment {
    const TEMPLATE: &'static str = "fragments/exports.html";
}

#[derive(Serialize)]
struct Row {
    title: String,
    bytes: u64,
    is_active: bool,
    #[serde(flatten)]
    export: Export,
}

impl ExportsFragment {
    /// As they stand now.
    pub fn of(exports: Vec<Export>) -> Self {
        Self {
            is_active: exports.iter().any(Export::is_active),
            exports: exports
                .into_iter()
                .map(|export| Row {
                    title: export.title(),
                    bytes: export.files.iter().map(|file| file.bytes).sum(),
                    is_active: export.is_active(),
                    export,
                })
                .collect(),
        }
    }
}

/// `GET /exports`: the fragment.
pub async fn list(view: View) -> HtmlResult {
    view.page(&ExportsFragment::of(view.state.exports.list()))
}

/// `POST /exports`; what cannot be exported so is said on the form.
pub async fn start(view: View, form: CheckedForm) -> Result<HttpResponse, AppError> {
    let set = |name: &str| {
        let text = form
            .get(name)
            .map(str::trim)
            .filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let source = set("source").unwrap_or_default();
    let (adapter, model) = match source.split_once(':') {
        Some(("adapter", id)) => (Some(id.to_owned()), None),
        Some(("model", id)) => (None, Some(id.to_owned())),
        _ => (None, None),
    };
    let body = CreateExport {
        adapter,
        model,
        format: set("format").unwrap_or_default(),
        dtype: set("dtype"),
    };
    let (format, dtype) = (body.format.clone(), body.dtype.clone());
    match exports::begin(&view.state, body).await {
        Ok(_) => Ok(see_other("/adapters#exports")),
        Err(AppError::Invalid(errors)) => {
            let asked = Asked {
                export: source,
                format,
                dtype: dtype.unwrap_or_default(),
                errors: errors.0,
            };
            adapters::show_refused(&view, asked).await
        }
        Err(other) => Err(other),
    }
}

/// `POST /exports/{id}/delete`.
pub async fn delete(
    view: View,
    id: Path<Uuid>,
    _: CheckedForm,
) -> Result<impl Responder, AppError> {
    exports::remove(&view.state, *id).await?;
    Ok(see_other("/adapters#exports"))
}
