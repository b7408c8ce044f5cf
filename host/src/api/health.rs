use std::fmt::Write;

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use domain::{PluginHealth, RunStatus};
use serde_json::{Value, json};
use store::RunFilter;

use crate::error::AppError;
use crate::state::{AppState, WorkerHealth};

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "system", responses((status = 200, body = Value)))]
pub async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Everything that the studio needs answers: 200, or 503 with what does not.
#[utoipa::path(get, path = "/readyz", tag = "system",
    responses((status = 200, body = Value), (status = 503, body = Value)))]
pub async fn ready(state: Data<AppState>) -> Result<HttpResponse, AppError> {
    let database = state.store(|store| store.check()).await;
    let plugins = state.plugins(|host| host.list()).await?;
    let broken: Vec<_> = plugins
        .iter()
        .filter(|plugin| matches!(plugin.health, PluginHealth::Broken { .. }))
        .map(|plugin| plugin.name.clone())
        .collect();
    let worker = state.worker();
    let mut warnings = Vec::new();
    if let Some(fallback) = state.store.fallback() {
        warnings.push(format!(
            "working on the fallback database: {}",
            fallback.reason
        ));
    }
    if !broken.is_empty() {
        warnings.push(format!(
            "plugins that cannot be called: {}",
            broken.join(", ")
        ));
    }
    if let WorkerHealth::Restarting { reason } = &worker {
        warnings.push(format!("the worker is being started again: {reason}"));
    }
    let is_ready = database.is_ok();
    if let Err(error) = &database {
        tracing::error!("readyz: {error:#}");
    }
    let body = json!({
        "status": if is_ready { "ok" } else { "unavailable" },
        "database": {
            "ok": is_ready,
            "backend": state.store.backend().as_str(),
            "fallback": state.store.fallback().is_some(),
        },
        "plugins": { "loaded": plugins.len() - broken.len(), "broken": broken },
        "worker": worker,
        "warnings": warnings,
    });
    Ok(if is_ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    })
}

/// Counters in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "system",
    responses((status = 200, content_type = "text/plain", body = String)))]
pub async fn metrics(state: Data<AppState>) -> Result<HttpResponse, AppError> {
    let counts = state
        .store(|store| {
            RunStatus::ALL
                .into_iter()
                .map(|status| {
                    let filter = RunFilter {
                        status: vec![status],
                        ..RunFilter::default()
                    };
                    Ok((status, store.count_runs(&filter)?))
                })
                .collect::<Result<Vec<_>, store::Error>>()
        })
        .await?;
    let plugins = state.plugins(|host| host.list()).await?;
    let ready = plugins
        .iter()
        .filter(|plugin| plugin.health == PluginHealth::Ready)
        .count();
    let pool = state.store.pool_status();
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, rows: &[(String, f64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    let by_status: Vec<_> = counts
        .iter()
        .map(|(status, count)| (format!("{{status=\"{status}\"}}"), *count as f64))
        .collect();
    gauge("codetune_runs", "Runs by status.", &by_status);
    gauge(
        "codetune_plugins_ready",
        "Plugins that can be called.",
        &one(ready as f64),
    );
    gauge(
        "codetune_plugins",
        "Plugins that were found.",
        &one(plugins.len() as f64),
    );
    gauge(
        "codetune_watched_runs",
        "Runs that somebody watches live.",
        &one(state.events.watched() as f64),
    );
    gauge(
        "codetune_database_connections",
        "Open database connections.",
        &one(f64::from(pool.connections)),
    );
    gauge(
        "codetune_database_idle_connections",
        "Connections that nobody uses.",
        &one(f64::from(pool.idle)),
    );
    gauge(
        "codetune_database_fallback",
        "1 while the fallback database is in use.",
        &one(f64::from(u8::from(state.store.fallback().is_some()))),
    );
    gauge(
        "codetune_uptime_seconds",
        "Seconds since the server started.",
        &one(state.started.elapsed().as_secs_f64()),
    );
    Ok(HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text))
}
