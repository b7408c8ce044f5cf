//! `codetune worker`: takes runs from the queue and trains them.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use domain::RunStatus;
use store::Store;

use crate::config::Config;
use crate::jobs::worker::{self, Outcome, WorkerOptions};
use crate::jobs::{Shutdown, shutdown};

/// Arguments of `codetune worker`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune worker\n  codetune worker --once\n  \
    DATABASE_URL=postgres://studio@db/studio codetune worker\n\n\
    Ctrl-C ends the step, saves, and puts the run back into the queue."
)]
pub(crate) struct WorkerArgs {
    /// End after one run, or at once when none waits
    #[arg(long)]
    once: bool,
    /// Name of this worker; no two may have the same [default: host, process and a random part]
    #[arg(long)]
    name: Option<String>,
    /// End when standard input is closed, which the studio does when it goes
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    /// Milliseconds of silence after which others may give up this worker's run
    #[arg(long, hide = true, default_value_t = 15_000)]
    lease_ms: u64,
}

/// Works until it is told to go; with `--once`, exit code 1 says that the run failed.
pub(crate) fn run(args: &WorkerArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let stop = Shutdown::default();
    shutdown::on_signals({
        let stop = stop.clone();
        move || stop.request()
    })?;
    if args.until_stdin_closes {
        let stop = stop.clone();
        shutdown::on_stdin_closed(move || stop.request())?;
    }
    let store = Store::open(&config.store_config())?;
    let mut options = WorkerOptions {
        once: args.once,
        lease: Duration::from_millis(args.lease_ms),
        beat: Duration::from_millis(args.lease_ms / 5),
        ..WorkerOptions::default()
    };
    if let Some(name) = &args.name {
        options.name.clone_from(name);
    }
    let outcome = worker::run(config, &store, &options, &stop)?;
    let failed = args.once && outcome == Some(Outcome::Ended(RunStatus::Failed));
    Ok(ExitCode::from(u8::from(failed)))
}
