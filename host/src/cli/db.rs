//! `codetune db`: the database itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use store::Store;

use super::usage_error;
use crate::config::Config;

/// Arguments of `codetune db`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune db status --json\n  codetune db backup studio-backup.db\n  \
    DATABASE_URL=postgres://studio@db/studio codetune db migrate"
)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Apply missing migrations (every start of the studio does so too)
    Migrate {
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Take back the newest migrations; the data in their tables is lost
    Revert {
        /// How many
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// Do it without a question: there is no way back
        #[arg(long)]
        yes: bool,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Say which database is in use, its migrations, and what is only in the fallback
    Status {
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Look for damage; exit code 1 when some is found
    Check {
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Copy the SQLite database into a new file, while it is used
    Backup {
        /// The new file
        to: PathBuf,
    },
    /// Put a copy in the place of the SQLite database; what was there is kept beside it
    Restore {
        /// The copy
        from: PathBuf,
    },
}

/// Runs one of the sub-commands.
pub(crate) fn run(args: &DbArgs, config: &Config) -> anyhow::Result<ExitCode> {
    match &args.command {
        DbCommand::Migrate { json } => migrate(config, *json),
        DbCommand::Revert { count, yes, json } => revert(config, *count, *yes, *json),
        DbCommand::Status { json } => status(config, *json),
        DbCommand::Check { json } => check(config, *json),
        DbCommand::Backup { to } => {
            let store = Store::open(&config.store_config())?;
            store.backup(to)?;
            println!("{} holds a copy of {}", to.display(), store.place());
            Ok(ExitCode::SUCCESS)
        }
        DbCommand::Restore { from } => {
            store::restore(&config.store_config(), from)?;
            println!("the database is now the one of {}", from.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The configured database: a command that changes it must not land in the fallback by accident.
fn configured(config: &Config) -> anyhow::Result<Store> {
    let store = Store::connect(&config.store_config())?;
    match store.fallback() {
        Some(fallback) => Err(anyhow::anyhow!("{}", fallback.reason)),
        None => Ok(store),
    }
}

fn migrate(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let applied = configured(config)?.migrate()?;
    if json {
        println!("{}", json!({ "applied": applied }));
    } else if applied.is_empty() {
        println!("nothing to do: every migration is applied");
    } else {
        println!("applied {}", applied.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn revert(config: &Config, count: usize, yes: bool, json: bool) -> anyhow::Result<ExitCode> {
    if !yes {
        return Err(usage_error(
            "db revert deletes the data of the tables that it takes back: make a backup, then add --yes",
        ));
    }
    let reverted = configured(config)?.revert(count)?;
    if json {
        println!("{}", json!({ "reverted": reverted }));
    } else if reverted.is_empty() {
        println!("nothing to do: no migration is applied");
    } else {
        println!("took back {}", reverted.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let store = Store::connect(&config.store_config())?;
    let migrations = store.migration_status()?;
    let is_current = migrations.iter().all(|migration| migration.applied);
    let runs = if is_current {
        Some(store.count_runs(&store::RunFilter::default())?)
    } else {
        None
    };
    // A studio that always ran on SQLite has no fallback to speak of.
    let fallback_path = &config.database.fallback_path;
    let has_fallback = fallback_path.is_file()
        && (store.fallback().is_some() || store.backend() == store::Backend::Postgres);
    let only_in_fallback = if has_fallback && is_current {
        Some(
            store
                .only_in_fallback(fallback_path)
                .with_context(|| format!("{} cannot be read", fallback_path.display()))?,
        )
    } else {
        None
    };
    if json {
        let report = json!({
            "backend": store.backend(),
            "place": store.place(),
            "fallback": store.fallback().map(|fallback| &fallback.reason),
            "fallback_path": fallback_path,
            "migrations": migrations,
            "runs": runs,
            "only_in_fallback": only_in_fallback,
        });
        println!("{report}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("database    {}", store.place());
    if let Some(fallback) = store.fallback() {
        println!("fallback    IN USE: {}", fallback.reason);
    }
    for migration in &migrations {
        let state = if migration.applied {
            "applied"
        } else {
            "missing"
        };
        println!("migration   {} {state}", migration.name);
    }
    if let Some(runs) = runs {
        println!("runs        {runs}");
    }
    match only_in_fallback {
        Some(only) if !only.is_empty() => {
            println!(
                "only in     {}: {} runs, {} datasets, {} adapters, {} plugin calls",
                fallback_path.display(),
                only.runs.len(),
                only.datasets,
                only.adapters,
                only.plugin_executions
            );
            for id in only.runs {
                println!("            run {id}");
            }
        }
        Some(_) => println!("only in     {}: nothing", fallback_path.display()),
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn check(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let store = configured(config)?;
    let damage = store.find_damage()?;
    if json {
        println!("{}", json!({ "place": store.place(), "damage": damage }));
    } else if damage.is_empty() {
        println!("{}: no damage found", store.place());
    } else {
        for line in &damage {
            println!("{line}");
        }
    }
    Ok(ExitCode::from(u8::from(!damage.is_empty())))
}
