//! `codetune plugin watch`: at every save it builds, checks and tests, and with `--install` puts the plugin where a
//! running studio picks it up.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use notify::{EventKind, RecursiveMode, Watcher};

use super::{build, check, install, test};
use crate::config::Config;

/// Editors write in bursts: a build waits until the sources are quiet for so long …
const QUIET: Duration = Duration::from_millis(100);
/// … but not longer than this after the first change.
const PATIENCE: Duration = Duration::from_secs(1);

/// Arguments of `codetune plugin watch`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin watch my-plugin\n  codetune plugin watch my-plugin --install"
)]
pub(crate) struct WatchArgs {
    /// The project: a folder with build.toml and plugin.toml
    folder: PathBuf,
    /// Copy each version that passes into the studio's plugins folder
    #[arg(long)]
    install: bool,
}

/// Builds once, then at every change of the sources, until Ctrl-C.
///
/// # Errors
/// No project, or sources that cannot be watched; a version that fails is told, and the next one waited for.
pub(crate) fn run(args: &WatchArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let folder = &args.folder;
    let sources = build::read(folder)?.sources;
    let (sender, changes) = channel();
    let watched: Vec<PathBuf> = sources.iter().map(|source| folder.join(source)).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error means that events were lost: that is a change too.
        let is_change = match event {
            Ok(event) => {
                !matches!(event.kind, EventKind::Access(_))
                    && event.paths.iter().any(|path| is_source(path, &watched))
            }
            Err(_) => true,
        };
        if is_change {
            let _ = sender.send(());
        }
    })?;
    // Folders, not files: an editor that renames puts another file in the place of the one that is watched.
    let failed = || format!("{} cannot be watched", folder.display());
    watcher
        .watch(folder, RecursiveMode::NonRecursive)
        .with_context(failed)?;
    for source in sources.iter().map(|source| folder.join(source)) {
        if source.is_dir() {
            watcher
                .watch(&source, RecursiveMode::Recursive)
                .with_context(failed)?;
        }
    }
    loop {
        match turn(args, config) {
            Ok(true) => {}
            Ok(false) => println!("kept away from the studio: an example fails"),
            Err(error) => println!("error: {error:#}"),
        }
        println!(
            "waiting for the next save in {} (Ctrl-C ends)",
            folder.display()
        );
        if !wait(&changes) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Event paths may be absolute where ours are not: a source is told by the end of its path.
fn is_source(path: &Path, watched: &[PathBuf]) -> bool {
    let resolve = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let path = resolve(path);
    watched
        .iter()
        .any(|source| path.starts_with(resolve(source)))
}

/// One build, check and test; whether all passed.
fn turn(args: &WatchArgs, config: &Config) -> anyhow::Result<bool> {
    let started = Instant::now();
    let folder = &args.folder;
    build::build(folder)?;
    check::check(folder, false, config)?;
    if folder.join("fixtures.json").exists() && !test::test_and_print(folder, config)? {
        return Ok(false);
    }
    if args.install {
        let place = install::from_folder(folder, config)?;
        println!(
            "{}: a running studio takes it up by itself",
            place.display()
        );
    } else {
        println!(
            "a running studio has it after `codetune plugin install {}`, or always with --install",
            folder.display()
        );
    }
    println!("{:.1} s from save to here", started.elapsed().as_secs_f64());
    Ok(true)
}

/// Waits for a change and then for quiet; false when the watcher is gone.
fn wait(changes: &Receiver<()>) -> bool {
    // What changed while it was building is one change.
    if changes.recv().is_err() {
        return false;
    }
    let first = Instant::now();
    loop {
        match changes.recv_timeout(QUIET) {
            Ok(()) if first.elapsed() < PATIENCE => {}
            Ok(()) | Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::is_source;

    #[test]
    fn what_a_build_writes_is_no_source() {
        let watched = [PathBuf::from("p/src"), PathBuf::from("p/Cargo.toml")];
        assert!(is_source(Path::new("p/src/lib.rs"), &watched));
        assert!(is_source(
            &std::path::absolute("p/Cargo.toml").unwrap(),
            &watched
        ));
        assert!(!is_source(Path::new("p/target/a.wasm"), &watched));
        assert!(!is_source(Path::new("p/p.wasm"), &watched));
    }
}
