//! `codetune dataset curate` as a child process: a plugin or a dataset that takes the machine's memory takes no page down.

use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::shelf::End;

/// What to run.
pub(super) struct Task<'a> {
    pub(super) config: &'a Config,
    pub(super) path: &'a Path,
    pub(super) format: &'a str,
    pub(super) pipeline: &'a Path,
    pub(super) out: &'a Path,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Said {
    pub(super) rows: u64,
    pub(super) kept: u64,
    pub(super) seconds: f64,
    pub(super) seconds_left: Option<f64>,
}

/// What it came to.
pub(super) enum Made {
    Finished,
    /// Somebody wanted it to end.
    Ended(End),
    /// Why, in a sentence.
    Failed(String),
}

/// Bytes of the report that are read from the process, and thrown away: it stands in the folder too.
const REPORT: u64 = 64 << 20;

/// Runs the curation to its end, or until `ended` says how to end it early; `tell` hears how far it is.
pub(super) async fn run(
    task: &Task<'_>,
    tell: &mut (dyn FnMut(Said) + Send),
    ended: &mut oneshot::Receiver<End>,
) -> Made {
    let paths = &task.config.paths;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut command = Command::new(&paths.program);
    // In the environment and not in the arguments, which every user of the machine can read.
    command
        .env("DATABASE_URL", &task.config.database.url)
        .env("CODETUNE_DATA_DIR", absolute(&paths.data))
        .env("CODETUNE_PLUGINS_DIR", absolute(&paths.plugins));
    command.args(["dataset", "curate", "--json", "--until-stdin-closes"]);
    command.args(["--format", task.format]);
    command.arg("--pipeline").arg(task.pipeline);
    command.arg("--out").arg(task.out);
    command.arg("--").arg(task.path);
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            return Made::Failed(format!("cannot start {}: {error}", paths.program.display()));
        }
    };
    // Closed to ask for a stop, and by the system when the studio goes, however it goes.
    let mut lifeline = child.stdin.take();
    let (Some(out), Some(complaints)) = (child.stdout.take(), child.stderr.take()) else {
        return Made::Failed("the curation has no pipes".to_owned());
    };
    let mut report = Vec::new();
    let mut out = out.take(REPORT);
    let mut end = None;
    let work = async { tokio::join!(hear(complaints, tell), out.read_to_end(&mut report)) };
    tokio::pin!(work);
    let (last, _) = loop {
        tokio::select! {
            done = &mut work => break done,
            wanted = &mut *ended, if end.is_none() => {
                let wanted = wanted.unwrap_or(End::Delete);
                end = Some(wanted);
                lifeline = None;
                if wanted == End::Delete
                    && let Err(error) = child.start_kill()
                {
                    tracing::warn!("the curation cannot be ended: {error}");
                }
            }
        }
    };
    let status = child.wait().await;
    drop(lifeline);
    match (status, end) {
        (Ok(status), _) if status.success() => Made::Finished,
        (_, Some(end)) => Made::Ended(end),
        (Ok(status), None) => Made::Failed(match last {
            Some(line) if status.code().is_some() => line.trim_start_matches("error: ").to_owned(),
            // A signal: most often the system, which ran out of memory.
            _ => format!(
                "the curation ended without a word ({status}); the machine may have too little memory for it"
            ),
        }),
        (Err(error), None) => Made::Failed(format!("the curation was lost: {error}")),
    }
}

/// Reads what the process says; its last words that are no progress.
async fn hear(
    said: impl tokio::io::AsyncRead + Unpin + Send,
    tell: &mut (dyn FnMut(Said) + Send),
) -> Option<String> {
    let mut lines = BufReader::new(said).lines();
    let mut last = None;
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Said>(&line) {
            Ok(said) => tell(said),
            Err(_) if !line.trim().is_empty() => last = Some(line),
            Err(_) => {}
        }
    }
    last
}
