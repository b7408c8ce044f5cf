use std::process::ExitCode;

use clap::Args;

use crate::config::Config;
use crate::server;

/// Arguments of `codetune serve`.
#[derive(Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  codetune serve\n  codetune serve --port 8080 --no-worker\n  \
                  CODETUNE_PASSWORD='a long one' codetune serve --host 0.0.0.0"
)]
pub(super) struct ServeArgs {
    /// Address to listen on; anything but this machine needs CODETUNE_PASSWORD [default: HOST, else 127.0.0.1]
    #[arg(long)]
    host: Option<String>,

    /// Port; 0 takes a free one [default: PORT, else 7860]
    #[arg(long)]
    port: Option<u16>,

    /// Start no worker: another process, perhaps on another machine, takes the runs
    #[arg(long)]
    no_worker: bool,
}

/// Runs the studio until it is told to stop.
///
/// # Errors
/// A refusal to listen, a taken port, a database that cannot be opened.
pub(super) fn run(args: ServeArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut config = config.clone();
    if let Some(host) = args.host {
        config.server.host = host;
    }
    if let Some(port) = args.port {
        config.server.port = port;
    }
    actix_web::rt::System::new().block_on(server::serve(config, !args.no_worker))?;
    Ok(ExitCode::SUCCESS)
}
