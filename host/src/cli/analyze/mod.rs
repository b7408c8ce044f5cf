//! `codetune analyze`: an analyzer over files and whole folders, on all cores.

mod in_order;
mod line;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use domain::{FileAnalysis, SourceFile};
use plugin_host::PluginHost;
use rayon::prelude::*;

use super::plugin::{open_named, refused, tell_of_compiling};
use super::usage_error;
use crate::config::Config;

use in_order::in_order;
use line::{describe, json_line};

/// Files that one core takes at a time.
const SHARE: usize = 128;
/// Shares that wait to be printed at the most: what is printed stays in the order of paths.
const AHEAD: usize = 64;
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
    let shares: Vec<&[PathBuf]> = files.chunks(SHARE).collect();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut out = std::io::stdout().lock();
    let work = |files: &&[PathBuf]| share(&host, args, files).map_err(refused);
    in_order(
        &shares,
        threads,
        AHEAD,
        work,
        |share| -> anyhow::Result<()> {
            let Share { text, totals: of } = share?;
            totals.add(&of);
            Ok(out.write_all(text.as_bytes())?)
        },
    )?;
    out.flush()?;
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
        match args.json {
            true => json_line(&analysis, &mut text),
            false => describe(&analysis, &mut text),
        }
    }
    Ok(Share { text, totals })
}

/// The file's text; none when it is binary.
fn read(path: &Path) -> Result<Option<String>, String> {
    let told = |error: std::io::Error| error.to_string();
    let file = File::open(path).map_err(told)?;
    let size = file.metadata().map_err(told)?.len();
    if size > MAX_FILE {
        return Err(format!("has {size} bytes; at most {MAX_FILE} are analysed"));
    }
    // With room for the end to be seen in: a `Vec` that is full would grow first.
    let mut bytes = Vec::with_capacity(size as usize + 64);
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(told)?;
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
