use actix_web::web::Query;
use domain::RunStatus;
use serde::{Deserialize, Serialize};
use store::RunFilter;

use super::run_view::RunView;
use crate::error::HtmlResult;
use crate::templates::{Page, View};

const PER_PAGE: i64 = 50;

/// Filter and order, as they stand in the address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    status: String,
    search: String,
    sort: String,
    page: i64,
}

#[derive(Serialize)]
struct RunsPage {
    runs: Vec<RunView>,
    total: i64,
    statuses: Vec<&'static str>,
    status: String,
    search: String,
    sort: String,
    page: i64,
    pages: i64,
}

impl Page for RunsPage {
    const TEMPLATE: &'static str = "runs.html";
}

/// `GET /runs`.
pub async fn list(view: View, query: Query<ListQuery>) -> HtmlResult {
    // A status that is none shows all: the address is only a filter.
    let status = query.status.parse::<RunStatus>().ok();
    let search = query.search.trim().to_owned();
    let page = query.page.clamp(1, 100_000);
    let filter = RunFilter {
        status: status.into_iter().collect(),
        search: Some(search.clone()).filter(|text| !text.is_empty()),
        limit: PER_PAGE,
        offset: (page - 1) * PER_PAGE,
    };
    let (runs, total) = view
        .state
        .store(move |store| Ok((store.list_runs(&filter)?, store.count_runs(&filter)?)))
        .await?;
    let mut runs: Vec<RunView> = runs.into_iter().map(Into::into).collect();
    let by_number = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
    match query.sort.as_str() {
        "name" => runs.sort_by_key(|run| run.name.to_lowercase()),
        "loss" => runs.sort_by(|a, b| by_number(a.last_loss).total_cmp(&by_number(b.last_loss))),
        "eval" => runs.sort_by(|a, b| by_number(a.eval_loss).total_cmp(&by_number(b.eval_loss))),
        "steps" => runs.sort_by_key(|run| std::cmp::Reverse(run.step)),
        "oldest" => runs.sort_by_key(|run| run.created_at),
        _ => {}
    }
    view.page(&RunsPage {
        runs,
        total,
        statuses: RunStatus::ALL.map(RunStatus::as_str).to_vec(),
        status: status.map(RunStatus::as_str).unwrap_or_default().to_owned(),
        search,
        sort: query.sort.clone(),
        page,
        pages: (total + PER_PAGE - 1) / PER_PAGE,
    })
}
