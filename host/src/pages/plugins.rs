use domain::PluginInfo;
use serde::Serialize;

use crate::error::HtmlResult;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct PluginsPage {
    plugins: Vec<PluginInfo>,
    folder: String,
}

impl Page for PluginsPage {
    const TEMPLATE: &'static str = "plugins.html";
}

/// `GET /plugins`.
pub async fn list(view: View) -> HtmlResult {
    let mut plugins = view.state.plugins(|host| host.list()).await?;
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    view.page(&PluginsPage {
        plugins,
        folder: view.state.config.paths.plugins.display().to_string(),
    })
}
