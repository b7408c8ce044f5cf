use std::path::{Path, PathBuf};

use super::Source;

/// Folders.
#[derive(Debug, Clone)]
pub struct PathsConfig {
    /// `CODETUNE_DATA_DIR`; database, runs, caches and logs. By default `codetune` in the user's data folder.
    pub data: PathBuf,
    /// `CODETUNE_PLUGINS_DIR`; built plugins, watched. By default `plugins` in the working folder, or beside the program.
    pub plugins: PathBuf,
    /// This program's own file, which workers and exports are started from.
    pub program: PathBuf,
}

impl PathsConfig {
    pub(super) fn read(source: Source<'_>) -> Self {
        let data = source("CODETUNE_DATA_DIR")
            .map(PathBuf::from)
            .or_else(|| source("XDG_DATA_HOME").map(|home| Path::new(&home).join("codetune")))
            .or_else(|| source("HOME").map(|home| Path::new(&home).join(".local/share/codetune")))
            .or_else(|| source("LOCALAPPDATA").map(|home| Path::new(&home).join("codetune")))
            .unwrap_or_else(|| PathBuf::from("data"));
        let plugins = source("CODETUNE_PLUGINS_DIR")
            .map(PathBuf::from)
            .unwrap_or_else(|| shipped("plugins"));
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("codetune"));
        Self {
            data,
            plugins,
            program,
        }
    }

    /// Where a run keeps its config, log, checkpoints and result.
    pub fn run(&self, id: domain::RunId) -> PathBuf {
        self.data.join("runs").join(id.to_string())
    }

    /// What visitors had exported, a folder each.
    pub fn exports(&self) -> PathBuf {
        self.data.join("exports")
    }

    /// What visitors had curated, a folder each.
    pub fn curations(&self) -> PathBuf {
        self.data.join("curations")
    }

    /// Compiled plugins.
    pub fn plugin_cache(&self) -> PathBuf {
        self.data.join("cache").join("plugins")
    }

    /// The sample project: a tiny model and a small dataset.
    pub fn sample(&self) -> PathBuf {
        shipped("host/sample")
    }
}

/// A folder that comes with the program: in the working folder, else beside the program, as in a release archive,
/// else in the checkout that it was built from.
fn shipped(folder: &str) -> PathBuf {
    let beside_program = std::env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.join(folder)));
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    [
        Some(PathBuf::from(folder)),
        beside_program,
        checkout.map(|root| root.join(folder)),
    ]
    .into_iter()
    .flatten()
    .find(|path| path.is_dir())
    .unwrap_or_else(|| PathBuf::from(folder))
}
