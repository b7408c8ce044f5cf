use actix_web::http::header;
use actix_web::web::{Bytes, Data, Path, Query};
use actix_web::{Error, HttpRequest, HttpResponse};
use domain::RunId;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::runs;
use crate::error::AppError;
use crate::state::AppState;

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
pub struct EventsQuery {
    /// The last number that the caller has; the header `Last-Event-ID` wins.
    #[serde(default)]
    after: i64,
}

/// Events of a run as server-sent events: what the caller missed, then what comes. `id` is the event's number;
/// `status` messages have none. The stream ends when the run has.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "runs",
    params(("id" = Uuid, Path), EventsQuery, ("Last-Event-ID" = Option<i64>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String)))]
pub async fn follow(
    request: HttpRequest,
    state: Data<AppState>,
    id: Path<RunId>,
    query: Query<EventsQuery>,
) -> Result<HttpResponse, AppError> {
    let run = runs::find(&state, *id).await?;
    let after = request
        .headers()
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(query.after);
    let stream = state.events.follow(state.store.clone(), run.id, after);
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // A compressor would hold small messages back.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(ReceiverStream::new(stream).map(Ok::<Bytes, Error>)))
}
