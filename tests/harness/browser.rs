//! The real program and a real browser, for tests that are ignored where there is no Chromium.

use std::io::{BufRead, BufReader};
use std::path::Path;
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
            .env("CODETUNE_DATA_DIR", folder.path().join("data"))
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

/// What a page looks like after its scripts have run.
pub(crate) struct Loaded {
    /// The document.
    pub dom: String,
    /// What the browser complained about: errors, refused scripts and styles.
    pub complaints: Vec<String>,
}

/// Loads a page in headless Chromium and lets its scripts run for `budget_ms` of virtual time.
pub(crate) fn load(url: &str, budget_ms: u32, size: &str, shot: Option<&Path>) -> Loaded {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--virtual-time-budget={budget_ms}"))
        .arg(format!("--window-size={size}"));
    match shot {
        Some(path) => command.arg(format!("--screenshot={}", path.display())),
        None => command.arg("--dump-dom"),
    };
    let output = command.arg(url).output().expect("chromium is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    Loaded {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        complaints: stderr
            .lines()
            .filter(|line| {
                line.contains("CONSOLE")
                    && (line.contains("Refused")
                        || line.contains("Content Security Policy")
                        || line.contains("Error")
                        || line.contains("error"))
            })
            .map(str::to_owned)
            .collect(),
    }
}
