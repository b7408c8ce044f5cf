use std::fmt::Write;

use actix_web::http::header;
use actix_web::web::Path;
use actix_web::{HttpResponse, Responder};
use chrono::{DateTime, Utc};
use domain::{CurationSummary, PluginStage, RunEvent, RunId};
use serde::Serialize;

use super::run_view::RunView;
use crate::api::{runs, submit};
use crate::error::{AppError, HtmlResult, see_other};
use crate::safety::csrf::CheckedForm;
use crate::state::blocking;
use crate::templates::{Page, View};

const LOG_LINES: usize = 400;
const FIRST_EVENTS: i64 = 200;
const LAST_EVENTS: i64 = 3000;

#[derive(Serialize)]
struct RunPage {
    run: RunView,
    toml: String,
    log: Vec<LogLine>,
    checkpoints: Vec<CheckpointRow>,
    trainable_parameters: Option<u64>,
    all_parameters: Option<u64>,
    adapter: Option<String>,
    /// Pairs are trained on: there are rewards to draw.
    preference: bool,
    /// It trained on a GPU: there are figures of that to draw.
    on_gpu: bool,
    /// The GPUs of this machine as they are now, while it trains on one.
    gpus: Vec<engine::gpu::Gpu>,
    /// Plugins that score what the model writes, comma between them; their scores are drawn.
    scorers: Option<String>,
    /// Its data goes through curators.
    is_curated: bool,
    curation: Option<CurationSummary>,
}

impl Page for RunPage {
    const TEMPLATE: &'static str = "run.html";
}

#[derive(Serialize)]
struct LogLine {
    at: DateTime<Utc>,
    kind: &'static str,
    text: String,
}

#[derive(Serialize)]
struct CheckpointRow {
    step: u64,
    created_at: DateTime<Utc>,
}

/// `GET /runs/{id}`.
pub async fn show(view: View, id: Path<RunId>) -> HtmlResult {
    let state = &view.state;
    let id = *id;
    let run = runs::find(state, id).await?;
    let toml = run.config.to_toml();
    let preference = run.config.train.method.is_paired();
    let scorers: Vec<String> = run
        .config
        .plugins_of(PluginStage::Score)
        .map(|plugin| plugin.name.clone())
        .collect();
    let (is_curated, curation) = (run.config.is_curated(), run.curation.clone());
    let last_event = run.event_seq;
    let named_gpu = run.config.model.device.starts_with("cuda");
    let (notes, checkpoints, adapters, names) = state
        .store(move |store| {
            // Steps are drawn, not listed; everything else that the run said is its log. Of a long run the
            // beginning and the end are read: what a page shows must not grow with the run.
            let mut notes = store.events_after(id, 0, FIRST_EVENTS)?;
            let read = notes.last().map_or(0, |event| event.seq);
            let from = read.max(last_event - LAST_EVENTS);
            notes.extend(store.events_after(id, from, LAST_EVENTS)?);
            notes.retain(|event| !matches!(event.event, RunEvent::Step { .. }));
            let names = store.metric_names(id)?;
            Ok((
                notes,
                store.list_checkpoints(id)?,
                store.list_adapters()?,
                names,
            ))
        })
        .await?;
    let started = notes.iter().rev().find_map(|event| match event.event {
        RunEvent::Started {
            trainable_parameters,
            all_parameters,
            ..
        } => Some((trainable_parameters, all_parameters)),
        _ => None,
    });
    // The figures come with the first step, the log says it before.
    let says_gpu = |event: &RunEvent| matches!(event, RunEvent::Log { message } if message.starts_with("trains on cuda"));
    let on_gpu = named_gpu
        || names.iter().any(|name| name == "device_memory_peak_gb")
        || notes.iter().any(|note| says_gpu(&note.event));
    let run: RunView = run.into();
    let gpus = match on_gpu && !run.is_final {
        true => {
            let config = state.config.clone();
            blocking(move || crate::gpu::devices(&config)).await?.gpus
        }
        false => Vec::new(),
    };
    let skip = notes.len().saturating_sub(LOG_LINES);
    view.page(&RunPage {
        run,
        toml,
        preference,
        on_gpu,
        gpus,
        scorers: (!scorers.is_empty()).then(|| scorers.join(",")),
        is_curated,
        curation,
        log: notes
            .iter()
            .skip(skip)
            .map(|event| LogLine {
                at: event.created_at,
                kind: event.event.name(),
                text: sentence(&event.event, &scorers),
            })
            .collect(),
        checkpoints: checkpoints
            .into_iter()
            .map(|checkpoint| CheckpointRow {
                step: checkpoint.step,
                created_at: checkpoint.created_at,
            })
            .collect(),
        trainable_parameters: started.map(|(trainable, _)| trainable),
        all_parameters: started.map(|(_, all)| all),
        adapter: adapters
            .into_iter()
            .find(|adapter| adapter.run_id == Some(id))
            .map(|adapter| adapter.id.to_string()),
    })
}

/// Whether a score bears a plugin's name: `parses/parses`.
fn is_of(score: &str, plugin: &str) -> bool {
    let rest = score.strip_prefix(plugin);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// An event as a line of the log; the live page writes the same (run.js).
fn sentence(event: &RunEvent, scorers: &[String]) -> String {
    match event {
        RunEvent::Curating {
            rows,
            kept,
            seconds_left,
            ..
        } => {
            let left = seconds_left.map_or_else(String::new, |left| format!(", {left:.0} s left"));
            format!("Curating: {rows} rows, {kept} kept{left}")
        }
        RunEvent::Curated { summary, .. } => format!(
            "Curated: {} of {} rows kept, {} of them rewritten",
            summary.kept, summary.rows, summary.rewritten
        ),
        RunEvent::Started {
            trainable_parameters,
            supervised_tokens_per_epoch,
            total_steps,
            ..
        } => format!(
            "Started: {trainable_parameters} trainable parameters, {supervised_tokens_per_epoch} supervised \
             tokens an epoch, {total_steps} steps"
        ),
        RunEvent::Step { step, loss, .. } => format!("Step {step}: loss {loss:.4}"),
        RunEvent::Eval {
            step,
            eval_loss,
            scores,
        } => {
            // What plugins said; the other figures are curves.
            let scores = scores
                .iter()
                .filter(|(name, _)| scorers.iter().any(|plugin| is_of(name, plugin)));
            let scores: String = scores
                .map(|(name, score)| format!(", {name} {:.4}", score.as_f64().unwrap_or_default()))
                .collect();
            format!("Evaluation after step {step}: held-out loss {eval_loss:.4}{scores}")
        }
        RunEvent::Checkpoint { step, .. } => format!("Checkpoint of step {step} saved"),
        RunEvent::Log { message } => message.clone(),
        RunEvent::Error { code, message } => format!("{message} ({code})"),
        RunEvent::Finished { reason, steps, .. } => {
            let reason = serde_json::to_value(reason).unwrap_or_default();
            format!(
                "Finished after {steps} steps: {}",
                reason.as_str().unwrap_or_default()
            )
        }
    }
}

/// `GET /runs/{id}/config.toml`.
pub async fn config(view: View, id: Path<RunId>) -> Result<impl Responder, AppError> {
    let run = runs::find(&view.state, *id).await?;
    Ok(download(
        &format!("run-{id}.toml"),
        "application/toml",
        run.config.to_toml(),
    ))
}

/// `GET /runs/{id}/metrics.csv`: every curve, one line a point.
pub async fn csv(view: View, id: Path<RunId>) -> Result<impl Responder, AppError> {
    let run = runs::find(&view.state, *id).await?;
    let text = view
        .state
        .store(move |store| {
            let mut text = "step,epoch,name,value\n".to_owned();
            for name in store.metric_names(run.id)? {
                for point in store.metrics(run.id, &name, usize::MAX)? {
                    let name = cell(&name);
                    let _ = writeln!(
                        text,
                        "{},{},{name},{}",
                        point.step, point.epoch, point.value
                    );
                }
            }
            Ok(text)
        })
        .await?;
    Ok(download(&format!("run-{id}.csv"), "text/csv", text))
}

/// A cell that is one cell and no formula: a spreadsheet computes what begins with `=`, `+`, `-` or `@`.
fn cell(text: &str) -> String {
    let text = text.replace('"', "\"\"");
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{text}\"")
}

fn download(name: &str, content_type: &str, body: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(format!("{content_type}; charset=utf-8"))
        .insert_header((
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ))
        .body(body)
}

/// `POST /runs/{id}/stop`.
pub async fn stop(view: View, id: Path<RunId>, _: CheckedForm) -> Result<impl Responder, AppError> {
    let id = *id;
    view.state
        .store(move |store| store.request_stop(id))
        .await?;
    Ok(see_other(format!("/runs/{id}")))
}

/// `POST /runs/{id}/resume`.
pub async fn resume(
    view: View,
    id: Path<RunId>,
    _: CheckedForm,
) -> Result<impl Responder, AppError> {
    let id = *id;
    view.state.store(move |store| store.requeue_run(id)).await?;
    Ok(see_other(format!("/runs/{id}")))
}

/// `POST /runs/{id}/rename`.
pub async fn rename(
    view: View,
    id: Path<RunId>,
    form: CheckedForm,
) -> Result<impl Responder, AppError> {
    let id = *id;
    let name = submit::name(form.get("name").unwrap_or_default())?;
    view.state
        .store(move |store| store.rename_run(id, &name))
        .await?;
    Ok(see_other(format!("/runs/{id}")))
}

/// `POST /runs/{id}/delete`.
pub async fn delete(
    view: View,
    id: Path<RunId>,
    _: CheckedForm,
) -> Result<impl Responder, AppError> {
    runs::remove(&view.state, *id).await?;
    Ok(see_other("/runs"))
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_cell_is_never_a_formula() {
        assert_eq!(cell("loss"), "\"loss\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("a\"b"), "\"a\"\"b\"");
    }
}
