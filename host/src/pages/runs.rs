use actix_web::web::Query;
use domain::RunStatus;
use serde::{Deserialize, Serialize};
use store::{RunFilter, RunOrder};

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
    let order = match query.sort.as_str() {
        "oldest" => RunOrder::Oldest,
        "name" => RunOrder::Name,
        "loss" => RunOrder::Loss,
        "eval" => RunOrder::EvalLoss,
        "steps" => RunOrder::Steps,
        _ => RunOrder::Newest,
    };
    let mut filter = RunFilter {
        status: status.into_iter().collect(),
        search: Some(search.clone()).filter(|text| !text.is_empty()),
        order,
        limit: PER_PAGE,
        ..RunFilter::default()
    };
    let wanted = query.page;
    let (runs, total, page, pages) = view
        .state
        .store(move |store| {
            let total = store.count_runs(&filter)?;
            let pages = (total + PER_PAGE - 1) / PER_PAGE;
            // A page that is no more, after a deletion, is the last one.
            let page = wanted.clamp(1, pages.max(1));
            filter.offset = (page - 1) * PER_PAGE;
            Ok((store.list_runs(&filter)?, total, page, pages))
        })
        .await?;
    let runs = runs.into_iter().map(Into::into).collect();
    view.page(&RunsPage {
        runs,
        total,
        statuses: RunStatus::ALL.map(RunStatus::as_str).to_vec(),
        status: status.map(RunStatus::as_str).unwrap_or_default().to_owned(),
        search,
        sort: query.sort.clone(),
        page,
        pages,
    })
}
