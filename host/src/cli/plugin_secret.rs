//! `codetune plugin secret`: secrets that plugins may be granted by name.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::usage_error;
use crate::config::Config;
use crate::secrets::{Error, Secrets};

/// Arguments of `codetune plugin secret`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin secret set API_KEY < key.txt\n  codetune plugin secret list\n  \
    codetune plugin secret remove API_KEY"
)]
pub(crate) struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Keep the value that comes in on standard input, so that no shell remembers it
    Set {
        /// Letters, digits, `_` and `-`
        name: String,
    },
    /// The names; values are shown nowhere
    List {
        /// One JSON array on standard output
        #[arg(long)]
        json: bool,
    },
    /// Forget a value
    Remove {
        /// Its name
        name: String,
    },
}

/// Does what was asked for.
///
/// # Errors
/// A name or value that will not do, or a data folder that cannot be written.
pub(crate) fn run(args: &SecretArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let secrets = Secrets::new(&config.paths.data);
    let refused = |error: Error| match error {
        Error::Invalid(message) => usage_error(message),
        error => error.into(),
    };
    match &args.command {
        SecretCommand::Set { name } => {
            if std::io::stdin().is_terminal() {
                eprintln!("the value, then Ctrl-D:");
            }
            let mut value = String::new();
            std::io::stdin()
                .read_to_string(&mut value)
                .map_err(|error| usage_error(format!("standard input: {error}")))?;
            secrets.set(name, &value).map_err(refused)?;
            println!("{name} is kept; plugins get it by name when you grant it");
        }
        SecretCommand::List { json } => {
            let names = secrets.names().map_err(refused)?;
            if *json {
                println!("{}", json!(names));
            } else {
                names.iter().for_each(|name| println!("{name}"));
            }
        }
        SecretCommand::Remove { name } => {
            secrets.remove(name).map_err(refused)?;
            println!("{name} is forgotten");
        }
    }
    Ok(ExitCode::SUCCESS)
}
