//! `codetune train`: a run in this process, without a database.

mod progress;
mod ranks;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use domain::{RunEvent, RunId};
use engine::{StopFlag, TrainOptions};

use self::progress::Progress;
use super::run_file;
use crate::config::Config;
use crate::jobs::shutdown;
use crate::plugins;

/// Arguments of `codetune train`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  codetune train RUN.toml\n  \
    codetune train RUN.toml --set train.learning_rate=1e-4 --json\n  \
    codetune train RUN.toml --resume\n  \
    codetune train RUN.toml --devices 0,1\n  \
    torchrun --nproc-per-node 2 --no-python codetune train RUN.toml\n\n\
    Ctrl-C ends the step, saves, and ends the run; a second Ctrl-C ends it at once.")]
pub(crate) struct TrainArgs {
    /// The run's RUN.toml
    run: PathBuf,
    /// Go on from the last good checkpoint in train.output
    #[arg(long)]
    resume: bool,
    /// Override one setting: section.key=value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// One JSON object a line on standard output, and nothing else
    #[arg(long)]
    json: bool,
    /// Train on several devices, with a process for each: GPUs by number, as 0,1, or cpu,cpu
    #[arg(long, value_name = "LIST")]
    devices: Option<String>,
    /// Started by --devices: end once standard input is closed
    #[arg(long, hide = true)]
    one_of_several: bool,
}

/// Trains, and tells of it as it goes: exit code 2 for a config or data that cannot be used, 1 for a fault.
pub(crate) fn run(args: &TrainArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut output: Box<dyn Listener> = if args.json {
        Box::new(Lines)
    } else {
        Box::new(Progress::new())
    };
    let run_config = match run_file::read(&args.run, &args.set) {
        Ok(run_config) => run_config,
        Err(error) => return Ok(output.fail(2, "bad_config", &error.to_string())),
    };
    let devices = args.devices.as_deref().map(ranks::devices).transpose()?;
    if devices.is_none()
        && let Err(error) = crate::gpu::hand_over("model.device", &run_config.model.device, config)
    {
        return Ok(output.fail(2, "bad_config", &error.to_string()));
    }
    let stop = StopFlag::new();
    shutdown::on_signals({
        let stop = stop.clone();
        move || stop.stop()
    })?;
    if args.one_of_several {
        let stop = stop.clone();
        shutdown::on_stdin_closed(move || stop.stop())?;
    }
    let run_config = match run_file::local(&run_config, &config.hub, &stop) {
        Ok(run_config) => run_config,
        Err(error) => {
            return Ok(output.fail(exit_code(&error), error.code(), &error.to_string()));
        }
    };
    let mut hear = |event| {
        if output.hear(&event).is_err() {
            // Nobody reads any more (a closed pipe): save and end.
            stop.stop();
        }
    };
    let open = || super::plugin::open_named(config);
    let prepared = plugins::prepare(config, open, &run_config, &stop, &mut hear);
    if let Some(devices) = devices {
        // What was fetched and curated here the processes find done.
        return match prepared {
            Ok(_) => ranks::run(args, &devices, &stop, config),
            Err(error) => Ok(output.fail(exit_code(&error), error.code(), &error.to_string())),
        };
    }
    let result = prepared.and_then(|prepared| {
        let options = TrainOptions {
            run: RunId::new().to_string(),
            resume: args.resume,
            curation: prepared.curation,
            scorer: prepared.scorer,
            world: config.world.clone(),
            ..TrainOptions::default()
        };
        engine::train(&prepared.run, &options, &stop, &mut hear)
    });
    Ok(match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error @ (engine::Error::Peer(_) | engine::Error::Stopped(_)))
            if args.one_of_several =>
        {
            output.fail(ranks::ENDED_BY_ANOTHER, error.code(), &error.to_string())
        }
        Err(error) => output.fail(exit_code(&error), error.code(), &error.to_string()),
    })
}

/// Faults of what the user gave are 2, all others 1.
pub(super) fn exit_code(error: &engine::Error) -> u8 {
    use engine::Error;
    match error {
        Error::Fields(_) | Error::File { .. } | Error::Input(_) | Error::NoSupervisedToken(_) => 2,
        _ => 1,
    }
}

/// Shows a run's events.
trait Listener {
    /// Shows one event.
    fn hear(&mut self, event: &RunEvent) -> io::Result<()>;

    /// Takes down what is drawn, so that a message stands alone.
    fn clear(&mut self) {}

    /// Shows a fault, on standard error too, and says how the program exits.
    fn fail(&mut self, exit_code: u8, code: &str, message: &str) -> ExitCode {
        self.clear();
        let _ = self.hear(&RunEvent::Error {
            code: code.to_owned(),
            message: message.to_owned(),
        });
        eprintln!("error: {message}");
        ExitCode::from(exit_code)
    }
}

/// The contract of `train --json`.
struct Lines;

impl Listener for Lines {
    fn hear(&mut self, event: &RunEvent) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, event)?;
        out.write_all(b"\n")?;
        out.flush()
    }
}
