//! Removes what need not be kept of the plugins' history and audit, while the server runs.

use std::time::Duration;

use actix_web::web::Data;
use chrono::Utc;

use crate::error::AppError;
use crate::state::AppState;

/// How often.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Rows of each table that go in one transaction: others write in between, and a stop waits for no more than this.
const BATCH: u32 = 500;

/// Looks every hour until the server ends, the first time at once.
pub async fn follow(state: Data<AppState>) {
    loop {
        match prune(&state).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!("{gone} old rows of the plugins' history and audit removed"),
            Err(error) => tracing::warn!("the plugins' history cannot be pruned: {error:#}"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Removes everything that need not be kept now, and says how many rows that were.
///
/// # Errors
/// When the database fails; what went before is gone.
pub async fn prune(state: &AppState) -> Result<usize, AppError> {
    let keep = state.config.history.retention(Utc::now());
    let mut all = 0;
    loop {
        let gone = state
            .store(move |store| store.prune_plugin_history(&keep, BATCH))
            .await?;
        all += gone;
        if gone == 0 {
            return Ok(all);
        }
    }
}
