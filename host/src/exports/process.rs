//! `codetune export` as a child process: a model too large for the machine's memory takes no page down.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use super::{ExportFile, NewExport};

/// What an export came to.
pub(super) struct Made {
    pub(super) files: Vec<ExportFile>,
    pub(super) warnings: Vec<String>,
    pub(super) checked: Option<String>,
}

/// Bytes of a process's complaints that are looked at.
const COMPLAINTS: u64 = 64 << 10;

/// Runs the export to its end; `tell` hears the stage and the share of it that is done. Dropped early, the process is killed.
///
/// # Errors
/// Why it failed, in a sentence.
pub(super) async fn run(
    program: &Path,
    new: &NewExport,
    output: &Path,
    tell: &mut (dyn FnMut(&str, f64) + Send),
) -> Result<Made, String> {
    let mut command = Command::new(program);
    command.args(["export", "--progress", "--force", "--format", &new.format]);
    command.arg("--model").arg(&new.model);
    command.arg("--output").arg(output);
    if let Some(adapter) = &new.adapter {
        command.arg("--adapter").arg(adapter);
    }
    if let Some(dtype) = &new.dtype {
        command.args(["--dtype", dtype]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let (Some(out), Some(complaints)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("the export has no pipes".to_owned());
    };
    let mut text = Vec::new();
    let mut complaints = complaints.take(COMPLAINTS);
    let (ended, _) = tokio::join!(hear(out, tell), complaints.read_to_end(&mut text));
    let status = child
        .wait()
        .await
        .map_err(|error| format!("the export was lost: {error}"))?;
    match ended {
        Some(ended) => ended,
        None => {
            let text = String::from_utf8_lossy(&text);
            let last = text.lines().rfind(|line| !line.trim().is_empty());
            Err(match last {
                Some(line) if status.code().is_some() => line.to_owned(),
                // A signal: most often the system, which ran out of memory.
                _ => format!(
                    "the export ended without a word ({status}); the machine may have too little memory for it"
                ),
            })
        }
    }
}

/// Reads what the process says; the outcome, where it came to one.
async fn hear(
    out: impl tokio::io::AsyncRead + Unpin + Send,
    tell: &mut (dyn FnMut(&str, f64) + Send),
) -> Option<Result<Made, String>> {
    let mut lines = BufReader::new(out).lines();
    let mut outcome = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        match said["event"].as_str() {
            Some("progress") => {
                let progress = &said["progress"];
                let number = |key: &str| progress[key].as_f64().unwrap_or_default();
                let share = number("done") / number("total").max(1.0);
                tell(progress["stage"].as_str().unwrap_or_default(), share);
            }
            Some("finished") => outcome = Some(Ok(made(&said["report"]))),
            Some("error") => {
                let message = said["message"].as_str().unwrap_or_default();
                outcome = Some(Err(message.to_owned()));
            }
            _ => {}
        }
    }
    outcome
}

fn made(report: &Value) -> Made {
    let list = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let file = |file: &Value| {
        let path = Path::new(file["path"].as_str()?);
        Some(ExportFile {
            name: path.file_name()?.to_str()?.to_owned(),
            bytes: file["bytes"].as_u64()?,
        })
    };
    let verified = &report["verification"];
    let checked = verified["relative_error"].as_f64().map(|error| {
        let tokens = &verified["prompt_tokens"];
        let agree = 100.0 * verified["greedy_agreement"].as_f64().unwrap_or_default();
        match error {
            0.0 => format!("Read again: over {tokens} tokens its logits are those of base and adapter."),
            error => format!(
                "Read again: over {tokens} tokens its logits differ from those of base and adapter by a relative error of {error:.1e}; {agree:.1} % of the likeliest tokens agree."
            ),
        }
    });
    Made {
        files: list("files").iter().filter_map(file).collect(),
        warnings: list("warnings")
            .iter()
            .filter_map(|warning| Some(warning.as_str()?.to_owned()))
            .collect(),
        checked,
    }
}
