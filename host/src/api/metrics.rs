use std::collections::BTreeMap;

use actix_web::web::{Data, Json, Path, Query};
use domain::RunId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::runs;
use crate::error::AppError;
use crate::state::AppState;

/// Which curves, and how fine.
#[derive(Debug, Deserialize, IntoParams)]
pub struct MetricsQuery {
    /// Names, separated by commas; all when left out.
    #[serde(default)]
    name: String,
    /// Most points per curve; longer ones are reduced so that every spike stays. 2000.
    max_points: Option<usize>,
}

/// Curves of a run by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricsBody {
    /// Number of the newest event that is in the curves; follow the events after it.
    pub last_event: i64,
    /// `loss`, `eval_loss`, `learning_rate`, `grad_norm`, `tokens_per_second`, …
    pub series: BTreeMap<String, Series>,
}

/// One curve.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Series {
    /// Optimizer steps, rising.
    pub steps: Vec<u64>,
    /// One value a step.
    pub values: Vec<f64>,
}

/// Curves of a run, reduced by min and max buckets.
#[utoipa::path(get, path = "/api/v1/runs/{id}/metrics", tag = "runs", params(("id" = Uuid, Path), MetricsQuery),
    responses((status = 200, body = MetricsBody), (status = 404, body = super::openapi::ErrorBody)))]
pub async fn series(
    state: Data<AppState>,
    id: Path<RunId>,
    query: Query<MetricsQuery>,
) -> Result<Json<MetricsBody>, AppError> {
    let run = runs::find(&state, *id).await?;
    let most = query.max_points.unwrap_or(2000).clamp(2, 20_000);
    let wanted = query.name.clone();
    let series = state
        .store(move |store| {
            store
                .metric_names(run.id)?
                .into_iter()
                .filter(|name| wanted.is_empty() || wanted.split(',').any(|word| word == name))
                .map(|name| {
                    let mut curve = Series::default();
                    for point in store.metrics(run.id, &name, most)? {
                        curve.steps.push(point.step);
                        curve.values.push(point.value);
                    }
                    Ok((name, curve))
                })
                .collect::<Result<_, store::Error>>()
        })
        .await?;
    Ok(Json(MetricsBody {
        last_event: run.event_seq,
        series,
    }))
}
