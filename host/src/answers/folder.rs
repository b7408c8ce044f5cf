//! The output folder. While a generation goes on, its files lie in `.generation` in it; at the end they are renamed into
//! place.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Report;
use super::rank::Ranked;
use crate::cli::usage_error;
use crate::safety::keys::hex;

const DATA: &str = "data.jsonl";
const PROVENANCE: &str = "provenance.jsonl";

/// One prompt's way, as `provenance.jsonl` has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    /// Its number, from 0.
    pub(super) prompt: usize,
    pub(super) prompt_sha256: String,
    #[serde(flatten)]
    pub(super) ranked: Ranked,
}

/// See the module.
pub(super) struct Folder {
    out: PathBuf,
    work: PathBuf,
    data: File,
    provenance: File,
    /// Length of both files behind each prompt.
    lengths: Vec<(u64, u64)>,
    rows: usize,
    tally: Tally,
    /// Held until the end, so that no other writes here.
    _lock: File,
}

/// What the report counts.
#[derive(Debug, Default)]
struct Tally {
    without: BTreeMap<String, usize>,
    scores: Vec<f64>,
    chosen: Vec<f64>,
}

impl Folder {
    /// Opens the folder of a generation: where it stopped, or empty.
    pub(super) fn open(out: &Path, about: &Value) -> anyhow::Result<Self> {
        let report = out.join("report.json");
        if report.exists() {
            return Err(usage_error(format!(
                "{} is there already: name another folder, or remove it",
                report.display()
            )));
        }
        let work = out.join(".generation");
        fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
        let lock = File::create(work.join("lock")).with_context(|| work.display().to_string())?;
        if lock.try_lock().is_err() {
            return Err(usage_error(format!(
                "{} is being written by another process",
                out.display()
            )));
        }
        let state = work.join("about.json");
        match fs::read(&state) {
            Ok(bytes) if serde_json::from_slice::<Value>(&bytes).ok().as_ref() != Some(about) => {
                return Err(usage_error(format!(
                    "{} holds the half of another generation (other prompts, model, settings or scorers): name another \
                     folder, or remove {}",
                    out.display(),
                    work.display()
                )));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                write_json(&state, about)?;
            }
            Err(error) => return Err(error).with_context(|| state.display().to_string()),
        }
        let mut folder = Self {
            data: open(&work.join(DATA))?,
            provenance: open(&work.join(PROVENANCE))?,
            out: out.to_owned(),
            work,
            lengths: Vec::new(),
            rows: 0,
            tally: Tally::default(),
            _lock: lock,
        };
        folder.look_back()?;
        Ok(folder)
    }

    /// Finds whole lines of both files; a crash may have left half a line, or a line in one file only.
    fn look_back(&mut self) -> anyhow::Result<()> {
        let (mut rows, mut lines) = (BufReader::new(&self.data), BufReader::new(&self.provenance));
        let (mut data, mut provenance) = (0, 0);
        let (mut text, mut row) = (String::new(), String::new());
        loop {
            text.clear();
            provenance += lines.read_line(&mut text).context(PROVENANCE)? as u64;
            let Ok(line) = serde_json::from_str::<Line>(&text) else {
                return Ok(());
            };
            if line.ranked.chosen.is_some() {
                row.clear();
                data += rows.read_line(&mut row).context(DATA)? as u64;
                if !row.ends_with('\n') {
                    return Ok(());
                }
            }
            if !text.ends_with('\n') {
                return Ok(());
            }
            self.lengths.push((data, provenance));
        }
    }

    /// Forgets what is behind the last whole batch, and returns the number of prompts that count.
    pub(super) fn keep_batches(&mut self, size: usize) -> anyhow::Result<usize> {
        // The last batch of all may be a short one; then only the end was missing.
        let kept = self.lengths.len() - self.lengths.len() % size.max(1);
        self.lengths.truncate(kept);
        let (data, provenance) = self.lengths.last().copied().unwrap_or_default();
        for (file, length) in [(&mut self.data, data), (&mut self.provenance, provenance)] {
            file.set_len(length)?;
            file.seek(SeekFrom::Start(0))?;
        }
        for line in BufReader::new(&self.provenance).lines() {
            let line: Line = serde_json::from_str(&line.context(PROVENANCE)?)?;
            self.rows += usize::from(self.tally.take(&line.ranked));
        }
        self.data.seek(SeekFrom::End(0))?;
        Ok(kept)
    }

    pub(super) fn append(&mut self, row: Option<&Value>, line: &Line) -> anyhow::Result<()> {
        if let Some(row) = row {
            self.data
                .write_all(format!("{row}\n").as_bytes())
                .context(DATA)?;
        }
        let text = serde_json::to_string(line)? + "\n";
        self.provenance
            .write_all(text.as_bytes())
            .context(PROVENANCE)?;
        self.rows += usize::from(self.tally.take(&line.ranked));
        self.lengths.push((0, 0));
        Ok(())
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// To the disk.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        self.data.sync_data().context(DATA)?;
        self.provenance.sync_data().context(PROVENANCE)
    }

    /// Puts the files into place, the report last.
    pub(super) fn finish(mut self, about: Value) -> anyhow::Result<Report> {
        self.save()?;
        let mut about = about;
        let report = Report {
            prompts: self.lengths.len(),
            rows: self.rows,
            mean_score: mean(&self.tally.scores),
            chosen_score: mean(&self.tally.chosen),
            without: std::mem::take(&mut self.tally.without),
            output_sha256: digest(&self.work.join(DATA))?,
        };
        about["output_sha256"] = report.output_sha256.clone().into();
        for name in [DATA, PROVENANCE] {
            let target = self.out.join(name);
            fs::rename(self.work.join(name), &target)
                .with_context(|| target.display().to_string())?;
        }
        write_json(&self.out.join("generation.json"), &about)?;
        write_json(&self.out.join("report.json"), &report)?;
        fs::remove_dir_all(&self.work).with_context(|| self.work.display().to_string())?;
        Ok(report)
    }
}

impl Tally {
    /// Counts a prompt; whether it made a row.
    fn take(&mut self, ranked: &Ranked) -> bool {
        let scores = ranked.answers.iter().filter_map(|answer| answer.score);
        self.scores.extend(scores);
        if let Some(why) = &ranked.without {
            *self.without.entry(why.clone()).or_default() += 1;
        }
        let chosen = ranked.chosen.and_then(|index| ranked.answers.get(index));
        self.chosen.extend(chosen.and_then(|answer| answer.score));
        ranked.chosen.is_some()
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| path.display().to_string())
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

/// Beside, to the disk, into place.
fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| path.display().to_string())
}
