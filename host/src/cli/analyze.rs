//! `codetune analyze`: an analyzer over files and whole folders, on all cores.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use domain::{FileAnalysis, SourceFile};
use plugin_host::PluginHost;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::plugin::{open_named, refused, tell_of_compiling};
use super::usage_error;
use crate::config::Config;

/// Files that are read, analysed and printed together; what is printed stays in the order of paths.
const AT_ONCE: usize = 4096;
/// Files that one core takes at a time.
const SHARE: usize = 128;
/// Larger files are not source that a person wrote.
const MAX_FILE: u64 = 16 << 20;

/// Arguments of `codetune analyze`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune analyze src\n  codetune analyze . --plugin source-stats --json\n  \
    codetune analyze /usr/lib/python3 --plugin code-analyzer --extension py --json"
)]
pub(crate) struct AnalyzeArgs {
    /// Files, and folders to walk (hidden ones and links are left out)
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The analyzer
    #[arg(long, default_value = "code-analyzer")]
    plugin: String,
    /// In folders only files with this extension; may be given several times
    #[arg(long)]
    extension: Vec<String>,
    /// The language of every file, instead of finding it out
    #[arg(long)]
    language: Option<String>,
    /// One JSON object a file on standard output
    #[arg(long)]
    json: bool,
}

/// Analyses and prints.
///
/// # Errors
/// A path that is not there, a plugin that cannot be called.
pub(crate) fn run(args: &AnalyzeArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for path in &args.paths {
        let metadata = std::fs::metadata(path)
            .map_err(|error| usage_error(format!("{}: {error}", path.display())))?;
        if metadata.is_dir() {
            files.append(&mut walk(path, &args.extension)?);
        } else {
            files.push(path.clone());
        }
    }
    let host = open_named(config)?;
    tell_of_compiling(&host, &args.plugin);
    // Asked before the work, so that a wrong name is one clear line even where there is no file.
    host.analyze(&args.plugin, &[]).map_err(refused)?;
    let started = Instant::now();
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        // Written while the next files are analysed; one lot waits at the most.
        let (lots, written) = std::sync::mpsc::sync_channel::<Vec<Share>>(1);
        let writer = scope.spawn(move || write(written));
        for files in files.chunks(AT_ONCE) {
            let shares = files
                .par_chunks(SHARE)
                .map(|files| share(&host, args, files))
                .collect::<Result<Vec<Share>, _>>()
                .map_err(refused)?;
            for share in &shares {
                totals.add(&share.totals);
            }
            if lots.send(shares).is_err() {
                // Nothing can be written any more: the writer says why.
                break;
            }
        }
        drop(lots);
        writer.join().expect("writing does not panic")
    })?;
    eprintln!(
        "{} {}, {} bytes, {} diagnostics, {} not analysable, {} binary left out, {:.2} s",
        totals.files,
        if totals.files == 1 { "file" } else { "files" },
        totals.bytes,
        totals.diagnostics,
        totals.unanalyzable,
        totals.binary,
        started.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes lot after lot to standard output.
fn write(lots: std::sync::mpsc::Receiver<Vec<Share>>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for share in lots.into_iter().flatten() {
        out.write_all(share.text.as_bytes())?;
    }
    out.flush()?;
    Ok(())
}

#[derive(Debug, Default)]
struct Totals {
    files: usize,
    bytes: usize,
    diagnostics: usize,
    unanalyzable: usize,
    binary: usize,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.diagnostics += other.diagnostics;
        self.unanalyzable += other.unanalyzable;
        self.binary += other.binary;
    }
}

/// Some files' lines, ready to be written.
struct Share {
    text: String,
    totals: Totals,
}

/// Reads and analyses some files.
fn share(
    host: &PluginHost,
    args: &AnalyzeArgs,
    paths: &[PathBuf],
) -> Result<Share, plugin_host::Error> {
    let mut totals = Totals::default();
    let mut sources = Vec::with_capacity(paths.len());
    let mut unread = Vec::new();
    for path in paths {
        let shown = path.to_string_lossy().replace('\\', "/");
        match read(path) {
            Ok(Some(code)) => {
                totals.bytes += code.len();
                sources.push(SourceFile {
                    path: shown,
                    code,
                    language: args.language.clone(),
                });
            }
            Ok(None) => totals.binary += 1,
            Err(why) => unread.push(FileAnalysis {
                path: shown,
                diagnostics: Vec::new(),
                metrics: Vec::new(),
                details: None,
                unanalyzable: Some(why),
            }),
        }
    }
    let mut analyses = host.analyze(&args.plugin, &sources)?;
    analyses.append(&mut unread);
    let mut text = String::new();
    for analysis in analyses {
        totals.files += 1;
        totals.diagnostics += analysis.diagnostics.len();
        totals.unanalyzable += usize::from(analysis.unanalyzable.is_some());
        if args.json {
            // Not through `Display`, which goes through a formatter piece by piece.
            let line = serde_json::to_string(&object(analysis)).expect("JSON values serialize");
            text.push_str(&line);
            text.push('\n');
        } else {
            describe(&analysis, &mut text);
        }
    }
    Ok(Share { text, totals })
}

/// The file's text; none when it is binary.
fn read(path: &Path) -> Result<Option<String>, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > MAX_FILE {
        return Err(format!("has {size} bytes; at most {MAX_FILE} are analysed"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    if bytes[..bytes.len().min(8 << 10)].contains(&0) {
        return Ok(None);
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        format!(
            "is not UTF-8 from byte {}",
            error.utf8_error().valid_up_to()
        )
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(Some(text))
}

/// One line of JSONL: `path`, then what the plugin's tool answers for the file, then diagnostics, metrics by name and
/// `unanalyzable` (null, or why).
fn object(analysis: FileAnalysis) -> Value {
    let mut object = Map::new();
    object.insert("path".to_owned(), Value::String(analysis.path));
    if let Some(Value::Object(details)) = analysis.details {
        object.extend(details);
    }
    object.insert("diagnostics".to_owned(), json!(analysis.diagnostics));
    let metrics = analysis
        .metrics
        .into_iter()
        .map(|metric| (metric.name, json!(metric.value)));
    object.insert("metrics".to_owned(), Value::Object(metrics.collect()));
    object.insert("unanalyzable".to_owned(), json!(analysis.unanalyzable));
    Value::Object(object)
}

fn describe(analysis: &FileAnalysis, text: &mut String) {
    let path = &analysis.path;
    if let Some(why) = &analysis.unanalyzable {
        text.push_str(&format!("{path}: not analysed: {why}\n"));
        return;
    }
    let metrics: Vec<String> = analysis
        .metrics
        .iter()
        .map(|metric| format!("{} {}", metric.name, (metric.value * 1e3).round() / 1e3))
        .collect();
    text.push_str(&format!("{path}: {}\n", metrics.join(", ")));
    for found in &analysis.diagnostics {
        let (line, column) = (found.span.line, found.span.column);
        let severity = format!("{:?}", found.severity).to_lowercase();
        text.push_str(&format!(
            "{path}:{line}:{column}: {severity}: {}\n",
            found.message
        ));
    }
}

/// The files of a folder in the order of their names; its folders are read side by side.
fn walk(folder: &Path, extensions: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| anyhow::anyhow!("{}: {error}", folder.display()))?;
    let mut entries: Vec<_> = entries
        .into_iter()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let found: Vec<Vec<PathBuf>> = entries
        .par_iter()
        .map(|entry| {
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                return walk(&path, extensions);
            }
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            let is_wanted = |wanted: &String| wanted.trim_start_matches('.') == extension;
            let is_taken =
                kind.is_file() && (extensions.is_empty() || extensions.iter().any(is_wanted));
            Ok(is_taken.then_some(path).into_iter().collect())
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(found.into_iter().flatten().collect())
}
