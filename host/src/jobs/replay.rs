//! What a killed worker wrote into its file and no longer into the database.
//!
//! Events reach the file at once and the database a moment later, and a checkpoint may be newer than both. A run
//! that goes on at such a checkpoint would have a hole in its curves: the file fills it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::Context;
use domain::RunEvent;
use store::{Claim, Store};

/// Sends the events that are only in the file to the database, and cuts off a line that was torn.
///
/// A file that does not continue what the database holds (another machine's, an edited one) is left alone.
///
/// # Errors
/// A file that cannot be read, or what the store fails with; [`store::Error::LeaseLost`] stays the cause.
pub(super) fn replay(store: &Store, claim: &Claim, path: &Path) -> anyhow::Result<()> {
    let text = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole < text.len() {
        File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(whole as u64))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let id = claim.run.id;
    let (count, last) = store.worker_events(id)?;
    let lines: Vec<&[u8]> = text[..whole]
        .split_inclusive(|byte| *byte == b'\n')
        .collect();
    let read = |line: &[u8]| serde_json::from_slice::<RunEvent>(line);
    let continues = match (count.checked_sub(1).map(|at| lines.get(at)), last) {
        (None, None) => true,
        (Some(Some(line)), Some(last)) => read(line).is_ok_and(|event| event == last),
        _ => false,
    };
    if !continues || lines.len() <= count {
        return Ok(());
    }
    let missing: Vec<RunEvent> = lines[count..]
        .iter()
        .map(|line| read(line))
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} holds a line that is no event", path.display()))?;
    tracing::info!(run = %id, events = missing.len(), "events of the last worker are taken from its file");
    for batch in missing.chunks(1000) {
        store.append_events(claim, batch)?;
    }
    Ok(())
}
