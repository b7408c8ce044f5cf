use domain::{PluginHealth, PluginInfo};
use serde::Serialize;

use crate::error::HtmlResult;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct PluginsPage {
    plugins: Vec<PluginInfo>,
    /// Some may come yet.
    is_loading: bool,
    /// How many are still to be compiled.
    awaited: usize,
    folder: String,
}

impl Page for PluginsPage {
    const TEMPLATE: &'static str = "plugins.html";
}

/// `GET /plugins`.
pub async fn list(view: View) -> HtmlResult {
    let (is_loading, awaited, mut plugins) = view
        .state
        .plugins(|host| (host.is_loading(), host.awaited(), host.list()))
        .await?;
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    view.page(&PluginsPage {
        plugins,
        is_loading,
        awaited,
        folder: view.state.config.paths.plugins.display().to_string(),
    })
}

/// Why a plugin cannot be used now, where it cannot.
pub fn problem(health: &PluginHealth) -> Option<String> {
    match health {
        PluginHealth::Ready => None,
        PluginHealth::Disabled => Some("It is disabled.".to_owned()),
        PluginHealth::NeedsConsent { message }
        | PluginHealth::Broken { message }
        | PluginHealth::Resting { message, .. } => Some(message.clone()),
    }
}
