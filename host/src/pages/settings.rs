use serde::Serialize;

use crate::error::HtmlResult;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct SettingsPage {
    groups: Vec<Group>,
}

impl Page for SettingsPage {
    const TEMPLATE: &'static str = "settings.html";
}

#[derive(Serialize)]
struct Group {
    title: &'static str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    variable: &'static str,
    value: String,
    help: &'static str,
}

fn row(variable: &'static str, value: impl ToString, help: &'static str) -> Row {
    Row {
        variable,
        value: value.to_string(),
        help,
    }
}

fn set(secret: &Option<String>) -> &'static str {
    if secret.is_some() {
        "set (hidden)"
    } else {
        "not set"
    }
}

/// `GET /settings`: what is in force; secrets only as "set".
pub async fn show(view: View) -> HtmlResult {
    let config = &view.state.config;
    let (server, hub) = (&config.server, &config.hub);
    let pool = view.state.store.pool_status();
    let allowed = if server.allowed_hosts.is_empty() {
        "none".to_owned()
    } else {
        server.allowed_hosts.join(", ")
    };
    let groups = vec![
        Group {
            title: "Server",
            rows: vec![
                row("HOST", &server.host, "Address to listen on."),
                row("PORT", server.port, "Port; 0 takes a free one."),
                row(
                    "CODETUNE_PASSWORD",
                    set(&server.password),
                    "Needed to listen on anything but this machine.",
                ),
                row(
                    "CODETUNE_ALLOWED_HOSTS",
                    allowed,
                    "Further names under which the studio answers.",
                ),
                row(
                    "SPACE_ID",
                    server.space_id.as_deref().unwrap_or("not set"),
                    "Set by Hugging Face in a Space.",
                ),
            ],
        },
        Group {
            title: "Database",
            rows: vec![
                row(
                    "DATABASE_URL",
                    view.state.store.place(),
                    "Where runs, metrics and events are kept.",
                ),
                row(
                    "SQL_DEBUG",
                    config.database.sql_debug,
                    "Log statements, with their values hidden.",
                ),
                row(
                    "CODETUNE_HISTORY_DAYS",
                    config.history.days,
                    "Days that plugins' calls and their audit are kept; 0 is no limit.",
                ),
                row(
                    "CODETUNE_HISTORY_ROWS",
                    config.history.rows,
                    "Rows of each that are kept; 0 is no limit.",
                ),
                row(
                    "",
                    format!(
                        "{} open, {} idle, at most {}",
                        pool.connections, pool.idle, pool.max_size
                    ),
                    "Connections now.",
                ),
            ],
        },
        Group {
            title: "Folders",
            rows: vec![
                row(
                    "CODETUNE_DATA_DIR",
                    config.paths.data.display(),
                    "Database, runs, caches.",
                ),
                row(
                    "CODETUNE_PLUGINS_DIR",
                    config.paths.plugins.display(),
                    "Built plugins; watched.",
                ),
            ],
        },
        Group {
            title: "Hugging Face hub",
            rows: vec![
                row(
                    "HF_HUB_CACHE",
                    hub.cache.display(),
                    "Where downloads are kept.",
                ),
                row("HF_ENDPOINT", &hub.endpoint, "The hub, or a mirror."),
                row("HF_TOKEN", set(&hub.token), "Sent to the endpoint only."),
                row(
                    "HF_HUB_DOWNLOAD_TIMEOUT",
                    hub.timeout.as_secs(),
                    "Seconds that the hub may be silent.",
                ),
                row(
                    "HF_HUB_OFFLINE",
                    hub.offline,
                    "Whether no request is ever made to it.",
                ),
            ],
        },
        Group {
            title: "Log",
            rows: vec![
                row(
                    "LOG_LEVEL",
                    config.log.level.as_str(),
                    "How much is logged.",
                ),
                row(
                    "LOG_FORMAT",
                    if config.log.json { "json" } else { "text" },
                    "Lines for people or for machines.",
                ),
                row(
                    "LOG_FILE",
                    config
                        .log
                        .file
                        .as_ref()
                        .map_or_else(|| "not set".to_owned(), |path| path.display().to_string()),
                    "A rotating file beside standard error.",
                ),
            ],
        },
    ];
    view.page(&SettingsPage { groups })
}
