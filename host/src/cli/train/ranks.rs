//! `codetune train --devices`: a process for each device, which train together.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use engine::StopFlag;

use super::TrainArgs;
use crate::cli::usage_error;
use crate::config::Config;

/// How a process of a group exits that ended because of another one.
pub(super) const ENDED_BY_ANOTHER: u8 = 3;
/// How long the others may take to end once one has failed; they learn of it at once.
const GRACE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// One of the processes.
struct Rank {
    device: String,
    child: Child,
    ended: Option<ExitStatus>,
    /// This program ended it, so that its status says nothing.
    killed: bool,
}

/// The devices that `--devices` names: `0,1` for GPUs, `cpu` for a process on the CPU.
pub(super) fn devices(list: &str) -> anyhow::Result<Vec<String>> {
    let mut devices = Vec::new();
    for word in list.split(',').map(str::trim) {
        let device = match word.strip_prefix("cuda:").unwrap_or(word).parse::<u32>() {
            Ok(number) => format!("cuda:{number}"),
            Err(_) if word == "cpu" => word.to_owned(),
            Err(_) => {
                return Err(usage_error(format!(
                    "--devices {list}: {word:?} is no device; name GPUs by number, as 0,1, or cpu,cpu for processes on the CPU"
                )));
            }
        };
        if device != "cpu" && devices.contains(&device) {
            return Err(usage_error(format!(
                "--devices {list}: {device} stands there twice, and a GPU serves one process"
            )));
        }
        devices.push(device);
    }
    Ok(devices)
}

/// Starts the processes and waits for them. The first one's output is this program's; of the others only what they write
/// on standard error is shown, with their rank before it.
pub(super) fn run(
    args: &TrainArgs,
    devices: &[String],
    stop: &StopFlag,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .context("cannot find a free port for the processes to meet at")?
        .port();
    let mut ranks: Vec<Rank> = Vec::new();
    for rank in 0..devices.len() {
        match start(args, devices, rank, port, config) {
            Ok(started) => ranks.push(started),
            Err(error) => {
                kill(&mut ranks);
                return Err(error);
            }
        }
    }
    let mut give_up = None;
    while ranks.iter().any(|rank| rank.ended.is_none()) {
        for rank in &mut ranks {
            if rank.ended.is_none() {
                rank.ended = rank.child.try_wait().context("cannot wait for a process")?;
            }
        }
        let failed = |rank: &Rank| rank.ended.is_some_and(|status| !status.success());
        if stop.is_stopped() {
            // Closed standard input asks a process to save and end.
            ranks
                .iter_mut()
                .for_each(|rank| drop(rank.child.stdin.take()));
        }
        if ranks.iter().any(failed) {
            ranks
                .iter_mut()
                .for_each(|rank| drop(rank.child.stdin.take()));
            let until = *give_up.get_or_insert_with(|| Instant::now() + GRACE);
            if Instant::now() > until {
                kill(&mut ranks);
            }
        }
        std::thread::sleep(PAUSE);
    }
    Ok(verdict(&ranks))
}

fn start(
    args: &TrainArgs,
    devices: &[String],
    rank: usize,
    port: u16,
    config: &Config,
) -> anyhow::Result<Rank> {
    let device = devices[rank].clone();
    let mut command = Command::new(&config.paths.program);
    command.arg("train").arg(&args.run).arg("--one-of-several");
    for (given, flag) in [(args.resume, "--resume"), (args.json, "--json")] {
        if given {
            command.arg(flag);
        }
    }
    // The last one wins, so that the device is this process's whatever else was set.
    let own = format!("model.device={device:?}");
    for set in args.set.iter().chain([&own]) {
        command.arg("--set").arg(set);
    }
    command
        .env("RANK", rank.to_string())
        .env("LOCAL_RANK", rank.to_string())
        .env("WORLD_SIZE", devices.len().to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .env_remove("TORCHELASTIC_USE_AGENT_STORE")
        .stdin(Stdio::piped());
    if device == "cpu" {
        // They would wait for each other's threads at every product.
        let threads = std::thread::available_parallelism().map_or(1, usize::from) / devices.len();
        command.env("RAYON_NUM_THREADS", threads.max(1).to_string());
    }
    if rank > 0 {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
    }
    let mut child = command.spawn().with_context(|| {
        format!(
            "cannot start process rank {rank}: {}",
            config.paths.program.display()
        )
    })?;
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("[rank {rank}] {line}");
            }
        });
    }
    Ok(Rank {
        device,
        child,
        ended: None,
        killed: false,
    })
}

fn kill(ranks: &mut [Rank]) {
    for rank in ranks.iter_mut().filter(|rank| rank.ended.is_none()) {
        rank.killed = true;
        // It may just have ended by itself.
        let _ = rank.child.kill();
        rank.ended = rank.child.wait().ok();
    }
}

/// How the whole ends: as the process that failed of its own, which is named.
fn verdict(ranks: &[Rank]) -> ExitCode {
    let failed = |rank: &&Rank| rank.ended.is_none_or(|status| !status.success());
    let of_its_own = |rank: &&Rank| {
        let by_another = Some(i32::from(ENDED_BY_ANOTHER));
        failed(rank) && !rank.killed && rank.ended.and_then(|status| status.code()) != by_another
    };
    let Some(culprit) = ranks
        .iter()
        .find(of_its_own)
        .or_else(|| ranks.iter().find(failed))
    else {
        return ExitCode::SUCCESS;
    };
    let number = ranks.iter().position(|rank| std::ptr::eq(rank, culprit));
    let how = match (culprit.killed, culprit.ended) {
        (true, _) => "did not end in time and was killed".to_owned(),
        (false, Some(status)) => format!("failed ({status})"),
        (false, None) => "was lost".to_owned(),
    };
    eprintln!(
        "error: process rank {} of {} on {} {how}, and the others ended with it",
        number.unwrap_or_default(),
        ranks.len(),
        culprit.device
    );
    match culprit.ended.and_then(|status| status.code()) {
        Some(2) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::devices;

    #[test]
    fn devices_are_numbers_of_gpus_or_the_cpu() {
        assert_eq!(devices("0,1").unwrap(), ["cuda:0", "cuda:1"]);
        assert_eq!(devices("cuda:2").unwrap(), ["cuda:2"]);
        assert_eq!(devices("cpu, cpu").unwrap(), ["cpu", "cpu"]);
        let error = devices("0,gpu").unwrap_err().to_string();
        assert!(
            error.contains("\"gpu\" is no device; name GPUs by number"),
            "{error}"
        );
        let error = devices("1,0,1").unwrap_err().to_string();
        assert!(error.contains("cuda:1 stands there twice"), "{error}");
    }
}
