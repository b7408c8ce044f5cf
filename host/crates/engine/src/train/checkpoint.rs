use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::output::write_weights;
use super::setup::Setup;
use crate::files;
use crate::lora::{write_adapter, write_json};
use crate::optim::Optimizer;
use crate::{Error, Result};

const MANIFEST: &str = "manifest.json";
const STATE: &str = "trainer_state.json";
const OPTIMIZER: &str = "optimizer.safetensors";

/// Where a run stands after a step. The order of the data, dropout and the schedule are functions of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) run: String,
    /// Steps done.
    pub(super) step: u64,
    pub(super) total_steps: u64,
    pub(super) epoch: f64,
    /// Rate of the last update.
    pub(super) learning_rate: f64,
    pub(super) loss: Option<f64>,
    /// Loss of the first step.
    #[serde(default)]
    pub(super) first_loss: Option<f64>,
    pub(super) best_eval_loss: Option<f64>,
    /// The same to the last bit, which a number in JSON may lose when it is read.
    #[serde(default)]
    pub(super) best_eval_loss_bits: Option<u64>,
    /// The step after which that was measured.
    #[serde(default)]
    pub(super) best_step: Option<u64>,
    /// Loss of the last evaluation.
    #[serde(default)]
    pub(super) eval_loss: Option<f64>,
    pub(super) evals_without_gain: u32,
    /// What decides which samples come next, and every random draw.
    pub(super) cursor: Cursor,
}

/// The data cursor and the random state: a run with another one is another run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) method: String,
    #[serde(default = "adamw")]
    pub(super) optim: String,
    pub(super) seed: u64,
    pub(super) shuffle: bool,
    pub(super) batch_size: u32,
    pub(super) gradient_accumulation_steps: u32,
    pub(super) samples: usize,
    pub(super) data_sha256: String,
    /// Of the frozen base; empty where there is none, and in checkpoints that did not say it yet.
    #[serde(default)]
    pub(super) base_sha256: String,
}

/// What checkpoints used before they said it.
fn adamw() -> String {
    "adamw".into()
}

/// A checkpoint on the disk whose checksums were found right.
pub(super) struct Checkpoint {
    folder: PathBuf,
    pub(super) state: State,
}

/// `checkpoint-N` folders of an output, the newest first.
pub(super) fn list(output: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(output) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", output)(error)),
    };
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let step = path
                .file_name()?
                .to_str()?
                .strip_prefix("checkpoint-")?
                .parse()
                .ok()?;
            path.is_dir().then_some((step, path))
        })
        .collect();
    found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
    Ok(found)
}

/// Removes what saves that were cut off left beside the checkpoints.
pub(super) fn remove_leftovers(output: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(output) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let half = name.ends_with(".new") || name.ends_with(".old");
        if name.starts_with(".checkpoint-") && half {
            files::remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes the oldest checkpoints over `limit`, but for the best one.
pub(super) fn remove_oldest(output: &Path, limit: u32, best: Option<u64>) -> Result<()> {
    let kept = limit.max(1) as usize;
    for (step, old) in list(output)?.into_iter().skip(kept) {
        if best != Some(step) {
            // Renamed first, so that a kill in the middle leaves nothing that looks like a checkpoint.
            let aside = output.join(format!(".checkpoint-{step}.old"));
            files::remove_folder(&aside)?;
            std::fs::rename(&old, &aside).map_err(Error::io("rename", &old))?;
            files::remove_folder(&aside)?;
        }
    }
    Ok(())
}

/// Writes a checkpoint beside its place, waits for the disk, and renames it there.
pub(super) fn save(
    output: &Path,
    setup: &Setup,
    optimizer: &Optimizer,
    state: &State,
) -> Result<PathBuf> {
    let path = output.join(format!("checkpoint-{}", state.step));
    files::replace_folder(&path, |fresh| {
        match &setup.lora {
            Some(settings) => write_adapter(fresh, &setup.decoder, settings, &setup.base)?,
            None => write_weights(
                fresh,
                &setup.folder,
                &setup.decoder,
                candle_core::DType::F32,
            )?,
        }
        optimizer.save(&fresh.join(OPTIMIZER), &setup.decoder.trainable())?;
        let state = serde_json::to_value(state).expect("the state serializes");
        write_json(&fresh.join(STATE), &state)?;
        let mut digests = BTreeMap::new();
        for entry in std::fs::read_dir(fresh).map_err(Error::io("read", fresh))? {
            let file = entry.map_err(Error::io("read", fresh))?.path();
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            digests.insert(name, files::digest(&file)?);
        }
        write_json(&fresh.join(MANIFEST), &json!({ "sha256": digests }))
    })?;
    Ok(path)
}

impl Checkpoint {
    /// Opens a checkpoint and compares every file with its checksum.
    ///
    /// # Errors
    /// A file is missing, damaged, or not what was written.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let bad = |message: String| Error::Checkpoint {
            path: folder.to_owned(),
            message,
        };
        let read = |name: &str| -> Result<serde_json::Value> {
            let text = std::fs::read_to_string(folder.join(name))
                .map_err(|error| bad(format!("{name}: {error}")))?;
            serde_json::from_str(&text).map_err(|error| bad(format!("{name} is damaged: {error}")))
        };
        let manifest = read(MANIFEST)?;
        let digests = manifest["sha256"]
            .as_object()
            .ok_or_else(|| bad(format!("{MANIFEST} holds no checksums")))?;
        if !digests.contains_key(STATE) || !digests.contains_key(OPTIMIZER) {
            return Err(bad(format!("{MANIFEST} is not whole")));
        }
        for (name, expected) in digests {
            let file = folder.join(name);
            let found = files::digest(&file).map_err(|error| bad(error.to_string()))?;
            if *expected != found {
                return Err(bad(format!(
                    "{name} is not what was written (its checksum differs)"
                )));
            }
        }
        let mut state: State = serde_json::from_value(read(STATE)?)
            .map_err(|error| bad(format!("{STATE} is damaged: {error}")))?;
        if let Some(bits) = state.best_eval_loss_bits {
            state.best_eval_loss = Some(f64::from_bits(bits));
        }
        Ok(Self {
            folder: folder.to_owned(),
            state,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies the adapter that it holds into a folder.
    pub(super) fn copy_adapter(&self, folder: &Path) -> Result<()> {
        let entries = std::fs::read_dir(&self.folder).map_err(Error::io("read", &self.folder))?;
        for entry in entries {
            let from = entry.map_err(Error::io("read", &self.folder))?.path();
            let name = from.file_name().unwrap_or_default();
            if [MANIFEST, STATE, OPTIMIZER].iter().all(|own| *own != name) {
                let bytes = std::fs::read(&from).map_err(Error::io("read", &from))?;
                files::write_synced(&folder.join(name), &bytes)?;
            }
        }
        Ok(())
    }

    /// The optimizer's file.
    pub(super) fn optimizer(&self) -> PathBuf {
        self.folder.join(OPTIMIZER)
    }

    /// Refuses to go on with other data, another seed or another batch.
    ///
    /// # Errors
    /// Names what differs.
    pub(super) fn check(&self, now: &Cursor) -> Result<()> {
        let then = &self.state.cursor;
        let differs = [
            ("train.method", then.method != now.method),
            ("train.optim", then.optim != now.optim),
            ("train.seed", then.seed != now.seed),
            ("data.shuffle", then.shuffle != now.shuffle),
            ("train.batch_size", then.batch_size != now.batch_size),
            (
                "train.gradient_accumulation_steps",
                then.gradient_accumulation_steps != now.gradient_accumulation_steps,
            ),
            (
                "the base model",
                !then.base_sha256.is_empty() && then.base_sha256 != now.base_sha256,
            ),
            (
                "the data",
                then.data_sha256 != now.data_sha256 || then.samples != now.samples,
            ),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((what, _)) => Err(self.changed(what)),
        }
    }

    /// The refusal to go on where something is other than it was.
    pub(super) fn changed(&self, what: &str) -> Error {
        Error::Checkpoint {
            path: self.folder.clone(),
            message: format!(
                "{what} changed since it was written; set it back, or start anew without --resume"
            ),
        }
    }
}

/// The newest checkpoint that is whole, and a sentence for each that is not.
pub(super) fn last_good(output: &Path) -> Result<(Option<Checkpoint>, Vec<String>)> {
    let mut skipped = Vec::new();
    let all = list(output)?;
    for (_, path) in &all {
        match Checkpoint::open(path) {
            Ok(checkpoint) => return Ok((Some(checkpoint), skipped)),
            Err(error) => skipped.push(error.to_string()),
        }
    }
    match all.first() {
        None => Ok((None, skipped)),
        Some((_, path)) => Err(Error::Checkpoint {
            path: path.clone(),
            message: format!(
                "no checkpoint is whole ({}); start anew without --resume",
                skipped.join("; ")
            ),
        }),
    }
}
