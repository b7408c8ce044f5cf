//! The composition root: settings become a state, a state becomes an app, an app runs until it is told to stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Compress, from_fn};
use actix_web::web::{self, Data, FormConfig, JsonConfig, PathConfig, PayloadConfig, QueryConfig};
use actix_web::{App, Error, HttpServer};
use anyhow::Context;
use plugin_host::{HostConfig, PluginHost};
use store::Store;

use crate::api::generate::Playground;
use crate::config::Config;
use crate::curations::Curations;
use crate::events::Hub;
use crate::exports::Exports;
use crate::jobs::spawn::{Supervisor, WorkerNews};
use crate::lending::Lending;
use crate::plugin_history;
use crate::plugin_settings::{self, Settings};
use crate::safety::hosts::AllowedHosts;
use crate::safety::keys::Keys;
use crate::safety::session::Attempts;
use crate::safety::{bind, gate, headers};
use crate::secrets::Secrets;
use crate::state::{AppState, WorkerHealth};
use crate::templates::Templates;
use crate::{error, routes};

/// Largest body of a request; plugins take source files.
pub const MAX_BODY_BYTES: usize = 4 << 20;
/// Live streams never end by themselves; a stop does not wait for them longer.
const STOP_TIME_S: u64 = 2;
/// Compiled plugins load in a few milliseconds; new ones take seconds, and join when they are ready.
const PLUGIN_PATIENCE: Duration = Duration::from_millis(150);
/// Pages are rendered on these; everything slow has threads of its own.
const WEB_THREADS: usize = 2;

/// Opens everything that the pages need, for a server that listens on `bound`. Plugins that are not compiled yet are
/// waited for no longer than `patience`, so that the first page does not wait for a compiler.
///
/// # Errors
/// A database that cannot be opened, a plugin host that cannot start, a data folder that cannot be written.
pub fn open(
    config: Config,
    bound: SocketAddr,
    patience: Duration,
) -> anyhow::Result<Data<AppState>> {
    let data = &config.paths.data;
    let keys = Keys::load(data).with_context(|| {
        format!(
            "{} cannot be written; set CODETUNE_DATA_DIR to a folder that can",
            data.display()
        )
    })?;
    let (store, plugin_host) = std::thread::scope(|scope| {
        let plugins = scope.spawn(|| {
            let folders = HostConfig {
                plugins_dir: config.paths.plugins.clone(),
                cache_dir: config.paths.plugin_cache(),
                remembers: true,
            };
            PluginHost::open_within(folders, patience)
        });
        let store = Store::open(&config.store_config()).context("cannot open the database");
        let plugins = plugins.join().expect("opening plugins does not panic");
        (store, plugins.context("cannot start the plugin host"))
    });
    let (store, plugin_host) = (store?, plugin_host?);
    Settings::default().apply(&store, &plugin_host)?;
    let playground = Playground::default();
    let secrets = Secrets::new(data);
    plugin_host.lend(Arc::new(Lending::new(
        playground.clone(),
        secrets.clone(),
        store.clone(),
    )));
    Ok(Data::new(AppState {
        hosts: AllowedHosts::new(&config.server, bound),
        templates: Templates::load()?,
        plugin_host,
        keys,
        events: Hub::default(),
        playground,
        secrets,
        exports: Exports::open(config.paths.program.clone(), config.paths.exports()),
        curations: Curations::open(&config, store.clone()),
        store,
        attempts: Attempts::default(),
        started: Instant::now(),
        worker: Mutex::new(WorkerHealth::Elsewhere),
        config,
    }))
}

/// The app with everything around its routes; from the outside in: headers, compression, error pages, the gate.
pub fn app(
    state: Data<AppState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(state)
        .app_data(PayloadConfig::new(MAX_BODY_BYTES))
        .app_data(
            JsonConfig::default()
                .limit(MAX_BODY_BYTES)
                .error_handler(error::of_json),
        )
        .app_data(
            FormConfig::default()
                .limit(MAX_BODY_BYTES)
                .error_handler(error::of_form),
        )
        .app_data(QueryConfig::default().error_handler(error::of_query))
        .app_data(PathConfig::default().error_handler(error::of_path))
        .configure(|app: &mut web::ServiceConfig| routes::configure(app))
        .wrap(from_fn(gate::check))
        .wrap(from_fn(error::show_as_page))
        .wrap(Compress::default())
        .wrap(from_fn(headers::add))
}

/// Runs the studio until SIGINT or SIGTERM: pages, plugin watcher, and a worker process when `with_worker`.
///
/// # Errors
/// A refusal to listen, a port that is taken, or what [`open`] fails with.
pub async fn serve(config: Config, with_worker: bool) -> anyhow::Result<()> {
    let address = bind::address(&config.server).map_err(crate::cli::usage_error)?;
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}; is another studio running? PORT sets another port")
    })?;
    let bound = listener.local_addr()?;
    let state = open(config.clone(), bound, PLUGIN_PATIENCE)?;
    if let Some(fallback) = state.store.fallback() {
        tracing::warn!("working on the fallback database: {}", fallback.reason);
    }
    // Dropped at the end: the watch ends with the server.
    let _watcher = match state.plugin_host.watch() {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!("changed plugins are loaded at the next start only: {error}");
            None
        }
    };
    let server = HttpServer::new({
        let state = state.clone();
        move || app(state.clone())
    })
    .workers(WEB_THREADS)
    .shutdown_timeout(STOP_TIME_S)
    .client_request_timeout(Duration::from_secs(10))
    .listen(listener)
    .context("cannot listen")?
    .run();
    announce(bound);
    // What was decided meanwhile, once more, costs nothing; it ends with the server.
    let following = tokio::spawn(plugin_settings::follow(state.clone(), Settings::default()));
    let pruning = tokio::spawn(plugin_history::follow(state.clone()));
    let supervisor = with_worker.then(|| {
        let state = state.clone();
        Supervisor::start(config, state.store.clone(), move |news| {
            state.set_worker(match news {
                WorkerNews::Running { pid } => WorkerHealth::Running { pid },
                WorkerNews::Restarting { reason } => WorkerHealth::Restarting { reason },
            });
        })
    });
    let served = server.await.context("the server failed");
    following.abort();
    pruning.abort();
    if let Some(supervisor) = supervisor {
        tracing::info!("stopping; a run that is going saves first");
        supervisor.stop().await;
    }
    served
}

/// The address that a browser on this machine can open.
fn announce(bound: SocketAddr) {
    let host = if bound.ip().is_unspecified() {
        format!("127.0.0.1:{}", bound.port())
    } else {
        bound.to_string()
    };
    println!("CodeTune Studio is at http://{host}");
    tracing::info!("listening on {bound}");
}
