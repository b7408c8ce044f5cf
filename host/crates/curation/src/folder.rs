//! The output folder. While a run goes on, everything lies in `.curation` in it, with a state that says how much of each
//! file counts; at the end the files are renamed into place.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::report::Report;
use crate::{Error, Result, hex};

/// Files that grow row by row: kept rows, every row's way, texts that were seen, signatures of kept rows, and rows that are
/// held out.
const FILES: [&str; 5] = [
    "data.jsonl",
    "provenance.jsonl",
    "texts.bin",
    "signatures.bin",
    "held-out.jsonl",
];

/// Which file of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Data = 0,
    Provenance = 1,
    Texts = 2,
    Signatures = 3,
    HeldOut = 4,
}

/// How far a run has come.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// Of pipeline, plugins and input: only the same run goes on.
    pub(crate) fingerprint: String,
    /// Of the rows so far: only the same input goes on.
    pub(crate) chain: String,
    pub(crate) report: Report,
    /// Of each file; one that is not there yet has none.
    lengths: Vec<u64>,
}

/// See the module.
pub(crate) struct Folder {
    out: PathBuf,
    work: PathBuf,
    files: Vec<BufWriter<File>>,
    lengths: [u64; FILES.len()],
    /// Held until the run ends, so that no other writes here.
    _lock: File,
}

impl Folder {
    /// Opens the folder of a run: where it stopped, or empty.
    pub(crate) fn open(out: &Path, fingerprint: &str) -> Result<(Self, State)> {
        let report = out.join("report.json");
        if report.exists() {
            return Err(Error::Invalid(format!(
                "{} is there already: name another folder, or remove it",
                report.display()
            )));
        }
        let work = out.join(".curation");
        fs::create_dir_all(&work).map_err(Error::io(&work))?;
        let lock_path = work.join("lock");
        let lock = File::create(&lock_path).map_err(Error::io(&lock_path))?;
        if lock.try_lock().is_err() {
            return Err(Error::Invalid(format!(
                "{} is being written by another process",
                out.display()
            )));
        }
        let state_path = work.join("state.json");
        let state = match fs::read(&state_path) {
            Ok(bytes) => serde_json::from_slice::<State>(&bytes).map_err(|error| {
                Error::Invalid(format!("{}: {error}; remove it", state_path.display()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State {
                fingerprint: fingerprint.to_owned(),
                ..State::default()
            },
            Err(error) => return Err(Error::io(&state_path)(error)),
        };
        if state.fingerprint != fingerprint {
            return Err(Error::Invalid(format!(
                "{} holds the half of another curation (other input, pipeline or plugins): name another folder, \
                 or remove {}",
                out.display(),
                work.display()
            )));
        }
        let mut files = Vec::new();
        let mut lengths = [0; FILES.len()];
        for (length, saved) in lengths.iter_mut().zip(&state.lengths) {
            *length = *saved;
        }
        for (name, length) in FILES.iter().zip(lengths) {
            let path = work.join(name);
            let file = (|| {
                let mut file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&path)?;
                if file.metadata()?.len() < length {
                    return Err(std::io::Error::other(
                        "is shorter than it was; remove the folder",
                    ));
                }
                // What was written after the last state does not count.
                file.set_len(length)?;
                file.seek(SeekFrom::Start(length))?;
                Ok(file)
            })()
            .map_err(Error::io(&path))?;
            files.push(BufWriter::with_capacity(1 << 18, file));
        }
        let folder = Self {
            out: out.to_owned(),
            work,
            files,
            lengths,
            _lock: lock,
        };
        Ok((folder, state))
    }

    /// What a file holds so far.
    pub(crate) fn read(&self, kind: Kind) -> Result<Vec<u8>> {
        let path = self.path(kind);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(Error::io(&path))?;
        Ok(bytes)
    }

    pub(crate) fn append(&mut self, kind: Kind, bytes: &[u8]) -> Result<()> {
        self.files[kind as usize]
            .write_all(bytes)
            .map_err(Error::io(&self.path(kind)))?;
        self.lengths[kind as usize] += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was appended count.
    pub(crate) fn save(&mut self, state: &mut State) -> Result<()> {
        for (file, name) in self.files.iter_mut().zip(FILES) {
            file.flush()
                .and_then(|()| file.get_ref().sync_data())
                .map_err(Error::io(&self.work.join(name)))?;
        }
        state.lengths = self.lengths.to_vec();
        write_json(&self.work.join("state.json"), state)
    }

    /// Puts the files into place, the report last, and removes what only the run needed.
    pub(crate) fn finish(
        mut self,
        report: &Report,
        about: serde_json::Value,
        holds_out: bool,
    ) -> Result<()> {
        for (file, name) in self.files.iter_mut().zip(FILES) {
            file.flush().map_err(Error::io(&self.work.join(name)))?;
        }
        let data = self.path(Kind::Data);
        let mut about = about;
        about["output_sha256"] = digest(&data)?.into();
        let mut outputs = vec![Kind::Data, Kind::Provenance];
        if holds_out {
            about["held_out_sha256"] = digest(&self.path(Kind::HeldOut))?.into();
            outputs.push(Kind::HeldOut);
        }
        for name in outputs.into_iter().map(|kind| FILES[kind as usize]) {
            let target = self.out.join(name);
            fs::rename(self.work.join(name), &target).map_err(Error::io(&target))?;
        }
        write_json(&self.out.join("curation.json"), &about)?;
        write_json(&self.out.join("report.json"), report)?;
        fs::remove_dir_all(&self.work).map_err(Error::io(&self.work))
    }

    fn path(&self, kind: Kind) -> PathBuf {
        self.work.join(FILES[kind as usize])
    }
}

/// Lower-case hex SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer).map_err(Error::io(path))?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}

/// Beside, to the disk, into place.
fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = (|| {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    })();
    written.map_err(Error::io(path))
}
