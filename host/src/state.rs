//! What every handler shares.

use std::sync::Mutex;
use std::time::Instant;

use actix_web::web;
use anyhow::Context;
use plugin_host::PluginHost;
use store::Store;

use crate::api::generate::Playground;
use crate::config::Config;
use crate::curations::Curations;
use crate::error::AppError;
use crate::events::Hub;
use crate::exports::Exports;
use crate::safety::hosts::AllowedHosts;
use crate::safety::keys::Keys;
use crate::safety::session::Attempts;
use crate::templates::Templates;

/// One for the whole process, behind `web::Data`.
pub struct AppState {
    /// The settings.
    pub config: Config,
    /// Runs and everything that hangs on them. Sync: call it through [`AppState::store`].
    pub store: Store,
    /// Loaded plugins. Sync: call it through [`AppState::plugins`].
    pub plugin_host: PluginHost,
    /// Parsed templates.
    pub templates: Templates,
    /// Live events of runs.
    pub events: Hub,
    /// The model that `/try` talks to.
    pub playground: Playground,
    /// Exports that were asked for.
    pub exports: Exports,
    /// Curations that were asked for.
    pub curations: Curations,
    /// Signs form tokens and sessions.
    pub keys: Keys,
    /// Names under which the studio answers.
    pub hosts: AllowedHosts,
    /// Wrong passwords of late.
    pub attempts: Attempts,
    /// When the process began to serve.
    pub started: Instant,
    /// How the worker process fares.
    pub worker: Mutex<WorkerHealth>,
}

/// How the worker process that `serve` started fares.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WorkerHealth {
    /// This process was told not to start one; another machine may have some.
    Elsewhere,
    /// It lives.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It ended and is started again.
    Restarting {
        /// How it ended.
        reason: String,
    },
}

impl AppState {
    /// Runs a database call on a thread that may block.
    ///
    /// # Errors
    /// Whatever the call fails with.
    pub async fn store<T, F>(&self, call: F) -> Result<T, AppError>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> Result<T, store::Error> + Send + 'static,
    {
        let store = self.store.clone();
        Ok(blocking(move || call(&store)).await??)
    }

    /// Runs a plugin host call on a thread that may block.
    ///
    /// # Errors
    /// When the call panicked.
    pub async fn plugins<T, F>(&self, call: F) -> Result<T, AppError>
    where
        T: Send + 'static,
        F: FnOnce(&PluginHost) -> T + Send + 'static,
    {
        let host = self.plugin_host.clone();
        blocking(move || call(&host)).await
    }

    /// The worker's health now.
    pub fn worker(&self) -> WorkerHealth {
        self.worker.lock().expect("no holder panics").clone()
    }

    /// Records how the worker fares.
    pub fn set_worker(&self, health: WorkerHealth) {
        *self.worker.lock().expect("no holder panics") = health;
    }
}

/// Runs anything slow on a thread that may block.
///
/// # Errors
/// When the call panicked.
pub async fn blocking<T, F>(call: F) -> Result<T, AppError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    Ok(web::block(call).await.context("a blocking call panicked")?)
}
