//! Logging: colour on a terminal, JSON on request, and a rotating file.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::LogConfig;

const FILE_BYTES: usize = 10 << 20;
const OLD_FILES: usize = 5;

/// Starts logging to standard error and, when asked, to a file.
///
/// # Errors
/// When the log file's folder cannot be made or the file cannot be opened.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    // What the libraries say at `info` drowns what the studio says.
    let level = config.level.as_str();
    let filter = || {
        EnvFilter::new(format!(
            "{level},actix_server=warn,actix_http=warn,wasmtime=warn,cranelift=warn,h2=warn"
        ))
    };
    let terminal = if config.json {
        tracing_subscriber::fmt::layer()
            .json()
            .with_writer(io::stderr)
            .with_filter(filter())
            .boxed()
    } else {
        let colour = config.colour && io::stderr().is_terminal();
        tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(colour)
            .with_target(false)
            .with_filter(filter())
            .boxed()
    };
    let file = config
        .file
        .as_ref()
        .map(|path| {
            if let Some(folder) = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
            {
                std::fs::create_dir_all(folder).with_context(|| {
                    format!("LOG_FILE: cannot make the folder {}", folder.display())
                })?;
            }
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("LOG_FILE: cannot write {}", path.display()))?;
            let rotating = RotatingFile(Arc::new(Mutex::new(FileRotate::new(
                path,
                AppendCount::new(OLD_FILES),
                ContentLimit::BytesSurpassed(FILE_BYTES),
                Compression::None,
                None,
            ))));
            let layer = tracing_subscriber::fmt::layer().with_writer(move || rotating.clone());
            Ok::<_, anyhow::Error>(if config.json {
                layer.json().with_filter(filter()).boxed()
            } else {
                layer.with_ansi(false).with_filter(filter()).boxed()
            })
        })
        .transpose()?;
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(terminal)
        .with(file)
        .try_init();
    Ok(())
}

#[derive(Clone)]
struct RotatingFile(Arc<Mutex<FileRotate<AppendCount>>>);

impl Write for RotatingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().expect("no writer panics").flush()
    }
}
