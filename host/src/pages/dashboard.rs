use domain::{PluginHealth, RunStatus};
use serde::Serialize;
use store::RunFilter;

use super::run_view::RunView;
use crate::api::submit;
use crate::api::system::{self, SystemBody};
use crate::error::HtmlResult;
use crate::templates::{Page, View};

const RECENT: i64 = 6;

#[derive(Serialize)]
struct DashboardPage {
    active: Vec<RunView>,
    recent: Vec<RunView>,
    total: i64,
    has_sample: bool,
    system: SystemBody,
    plugins_ready: usize,
    plugins_total: usize,
    plugins_loading: bool,
}

impl Page for DashboardPage {
    const TEMPLATE: &'static str = "dashboard.html";
}

/// `GET /`.
pub async fn show(view: View) -> HtmlResult {
    let state = &view.state;
    let (mut active, recent, total) = state
        .store(|store| {
            let active = RunFilter {
                status: vec![RunStatus::Running, RunStatus::Stopping, RunStatus::Queued],
                limit: 20,
                ..RunFilter::default()
            };
            let all = RunFilter {
                limit: RECENT,
                ..RunFilter::default()
            };
            Ok((
                store.list_runs(&active)?,
                store.list_runs(&all)?,
                store.count_runs(&all)?,
            ))
        })
        .await?;
    // What runs, then what waits, in the order in which a worker takes it.
    active.sort_by_key(|run| (run.status == RunStatus::Queued, run.created_at));
    let (plugins_loading, plugins) = state
        .plugins(|host| (host.is_loading(), host.list()))
        .await?;
    view.page(&DashboardPage {
        active: active.into_iter().map(Into::into).collect(),
        recent: recent.into_iter().map(Into::into).collect(),
        total,
        has_sample: submit::sample(&state.config.paths).is_ok(),
        system: system::read(state).await?,
        plugins_ready: plugins
            .iter()
            .filter(|plugin| plugin.health == PluginHealth::Ready)
            .count(),
        plugins_total: plugins.len(),
        plugins_loading,
    })
}
