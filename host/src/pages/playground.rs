use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Bytes, Query};
use domain::FieldErrors;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_stream::wrappers::ReceiverStream;

use crate::api::generate::{GenerateBody, MAX_NEW_TOKENS, SideBySide};
use crate::api::models::{self, Models};
use crate::error::{AppError, HtmlResult};
use crate::safety::csrf::CheckedForm;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct TryPage {
    known: Models,
    model: String,
    adapter: String,
    max_new_tokens: usize,
}

impl Page for TryPage {
    const TEMPLATE: &'static str = "try.html";
}

#[derive(Serialize)]
struct Answer {
    prompt: String,
    #[serde(flatten)]
    both: SideBySide,
}

impl Page for Answer {
    const TEMPLATE: &'static str = "fragments/answer.html";
}

/// What to begin with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Begin {
    model: String,
    adapter: String,
}

/// `GET /try`.
pub async fn show(view: View, begin: Query<Begin>) -> HtmlResult {
    let known = models::known(&view.state).await?;
    let adapter = known
        .adapters
        .iter()
        .find(|adapter| adapter.id == begin.adapter)
        .or_else(|| known.adapters.first().filter(|_| begin.model.is_empty()));
    let model = adapter
        .map(|adapter| adapter.model.clone())
        .or_else(|| Some(begin.model.clone()).filter(|id| !id.is_empty()))
        .or_else(|| known.models.first().map(|model| model.id.clone()))
        .unwrap_or_default();
    view.page(&TryPage {
        adapter: adapter
            .map(|adapter| adapter.id.clone())
            .unwrap_or_default(),
        model,
        max_new_tokens: MAX_NEW_TOKENS,
        known,
    })
}

/// `POST /try`: the answers as a fragment.
pub async fn generate(view: View, form: CheckedForm) -> HtmlResult {
    let body = read(&form)?;
    let prompt = body.prompt.clone();
    let both = view
        .state
        .playground
        .generate(&view.state, body, true)
        .await?;
    view.page(&Answer { prompt, both })
}

/// `POST /try/stream`: the answers as they are written, as server-sent events.
pub async fn stream(view: View, form: CheckedForm) -> Result<HttpResponse, AppError> {
    let state = &view.state;
    let pieces = state.playground.stream(state, read(&form)?).await?;
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // A compressor would hold small messages back.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(ReceiverStream::new(pieces).map(Ok::<Bytes, actix_web::Error>)))
}

fn read(form: &CheckedForm) -> Result<GenerateBody, AppError> {
    let mut errors = FieldErrors::default();
    // `model` or `model/adapter`: an adapter only makes sense on its own base.
    let choice = form.get("model").unwrap_or_default();
    let (model, adapter) = choice.split_once('/').unwrap_or((choice, ""));
    let body = GenerateBody {
        model: model.to_owned(),
        adapter: Some(adapter.to_owned()).filter(|id| !id.is_empty()),
        // Browsers send the line ends of forms as CR LF.
        prompt: form.get("prompt").unwrap_or_default().replace("\r\n", "\n"),
        max_new_tokens: number(form, "max_new_tokens", &mut errors),
        temperature: number(form, "temperature", &mut errors),
        top_k: number(form, "top_k", &mut errors),
        top_p: number(form, "top_p", &mut errors),
        repetition_penalty: number(form, "repetition_penalty", &mut errors),
        num_beams: number(form, "num_beams", &mut errors),
        seed: number(form, "seed", &mut errors).unwrap_or(0),
        ..GenerateBody::default()
    };
    errors.into_result()?;
    Ok(body)
}

fn number<T: std::str::FromStr>(
    form: &CheckedForm,
    field: &str,
    errors: &mut FieldErrors,
) -> Option<T> {
    let text = form.get(field)?.trim();
    if text.is_empty() {
        return None;
    }
    let parsed = text.parse().ok();
    if parsed.is_none() {
        errors.push(field, format!("must be a number, not {text:?}"));
    }
    parsed
}
