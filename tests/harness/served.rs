//! The real program as a server, for tests that need more of it than its handlers.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A running studio; stopped when dropped.
pub(crate) struct Server {
    pub url: String,
    child: Child,
    _stdin: Option<ChildStdin>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts `codetune serve` on a free port with a data folder of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_codetune"))
            .args(["serve", "--port", "0"])
            .args(arguments)
            .current_dir(super::root())
            .env("CODETUNE_DATA_DIR", super::data(folder.path()))
            .env_remove("DATABASE_URL")
            .env_remove("CODETUNE_PASSWORD")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap_or_else(|| panic!("the server said {line:?}"))
            .to_owned();
        Self {
            url,
            _stdin: child.stdin.take(),
            child,
            _folder: folder,
        }
    }

    /// The database of this studio, for putting things into it.
    pub(crate) fn store(&self) -> store::Store {
        let config = super::config(self._folder.path(), &[]);
        store::Store::open(&config.store_config()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that the worker ends too.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}
