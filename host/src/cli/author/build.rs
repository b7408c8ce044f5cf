//! `codetune plugin build`: the commands of a project's `build.toml`, and the component beside its `plugin.toml`.

use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use super::usage_error;

/// Arguments of `codetune plugin build`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune plugin build my-plugin")]
pub(crate) struct BuildArgs {
    /// The project: a folder with build.toml and plugin.toml
    folder: PathBuf,
}

/// `build.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// Commands, each a list of words; no shell is between.
    steps: Vec<Vec<String>>,
    /// The component that they make, in the project's folder.
    output: PathBuf,
    /// Files and folders whose changes matter.
    pub(super) sources: Vec<PathBuf>,
}

/// Builds and says so.
///
/// # Errors
/// No project, or a command that fails.
pub(crate) fn run(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    build(&args.folder)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a folder says how it is built.
pub(super) fn is_project(folder: &Path) -> bool {
    folder.join("build.toml").is_file()
}

/// Reads `build.toml`.
///
/// # Errors
/// Names the file, and what is wrong in it.
pub(super) fn read(folder: &Path) -> anyhow::Result<Recipe> {
    let path = folder.join("build.toml");
    let shown = path.display();
    let text =
        std::fs::read_to_string(&path).map_err(|error| usage_error(format!("{shown}: {error}")))?;
    recipe(&text).map_err(|error| usage_error(format!("{shown}: {error}")))
}

/// Parses `build.toml`.
///
/// # Errors
/// One sentence.
pub(super) fn recipe(text: &str) -> Result<Recipe, String> {
    let recipe: Recipe =
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    if recipe.steps.is_empty() || recipe.steps.iter().any(Vec::is_empty) {
        return Err("steps: a list of commands, each a list of at least one word".to_owned());
    }
    let is_inside = |path: &Path| {
        path.components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    for path in recipe.sources.iter().chain([&recipe.output]) {
        if !is_inside(path) {
            return Err(format!(
                "{} must lie in the project's folder",
                path.display()
            ));
        }
    }
    Ok(recipe)
}

/// Runs the commands and puts what they made beside `plugin.toml`. What commands print goes to standard
/// error: standard output is the caller's.
///
/// # Errors
/// Names the command that fails, or the file that it did not make.
pub(super) fn build(folder: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let recipe = read(folder)?;
    let component = super::component(folder)?;
    let output = folder.join(&recipe.output);
    // Not every tool makes the folder that it writes into.
    if let Some(parent) = output.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    for step in &recipe.steps {
        let command = step.join(" ");
        let status = Command::new(&step[0])
            .args(&step[1..])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .with_context(|| {
                format!(
                    "{} cannot be started; README.md of {} says what it needs",
                    step[0],
                    folder.display()
                )
            })?;
        anyhow::ensure!(
            status.success(),
            "`{command}` failed in {}: {status}",
            folder.display()
        );
    }
    let bytes = std::fs::read(&output)
        .with_context(|| format!("build.toml: the commands did not make {}", output.display()))?;
    super::write(&component, &bytes)?;
    eprintln!(
        "{}: {} bytes, built in {:.1} s",
        component.display(),
        bytes.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::recipe;

    #[test]
    fn a_recipe_stays_in_its_folder_and_names_its_fault() {
        let fault = |text: &str| recipe(text).unwrap_err();
        assert!(fault("steps = []\noutput = \"a\"\nsources = []").contains("steps"));
        assert!(fault("steps = [[]]\noutput = \"a\"\nsources = []").contains("steps"));
        assert!(fault("steps = [[\"a\"]]\noutput = \"../a\"\nsources = []").contains("../a"));
        assert!(fault("steps = [[\"a\"]]\noutput = \"a\"\nsources = [\"/etc\"]").contains("/etc"));
        assert!(
            fault("steps = [[\"a\"]]\noutput = \"a\"\nsources = []\nshell = 1").contains("shell")
        );
        assert!(recipe("steps = [[\"a\"]]\noutput = \"b/a\"\nsources = [\"c\"]").is_ok());
    }
}
