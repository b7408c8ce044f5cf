//! Several processes that train one adapter: each computes a share of every step, and their gradients are added up.
//!
//! [`World`] is what a process is told about the others, by torchrun's names. `rendezvous` brings them together at one
//! address, `star` adds up over the connections made there, `wire` is what goes over them. GPUs add up gradients among
//! themselves where they can (`device::Peers`); everything else of a run goes through the [`Collective`].

mod rendezvous;
mod star;
mod wire;

#[cfg(feature = "cuda")]
pub(crate) use wire::SILENCE;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::{Error, Result, StopFlag};

/// This process among those that train together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Its number among all, from 0 (`RANK`). Process 0 saves.
    pub rank: usize,
    /// All processes (`WORLD_SIZE`).
    pub size: usize,
    /// Its number among those of this machine (`LOCAL_RANK`): the GPU that it takes where the config names none by number.
    pub local_rank: usize,
    /// Name or address of the machine of process 0 (`MASTER_ADDR`).
    pub address: String,
    /// A free port there (`MASTER_PORT`).
    pub port: u16,
    /// How long processes wait for each other at the start.
    pub patience: Duration,
}

impl World {
    /// As long as PyTorch waits.
    pub const PATIENCE: Duration = Duration::from_secs(600);
}

/// What the processes of a run do together. All make the same calls in the same order.
pub(crate) trait Collective: Debug + Send + Sync {
    /// Number of this process.
    fn rank(&self) -> usize;

    /// All processes.
    fn size(&self) -> usize;

    /// Puts the sums over all processes in the place of numbers, added up in the order of ranks: the same bits everywhere
    /// and every time.
    fn sum(&self, values: &mut [f64]) -> Result<()>;

    /// The same for many.
    fn sum_all(&self, values: &mut [f32]) -> Result<()>;

    /// What process 0 gave.
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>>;

    /// Fails where another process is known to have ended; for whoever waits for them by other means.
    #[cfg(any(test, feature = "cuda"))]
    fn look(&self) -> Result<()>;

    /// Tells the others that this process ends by a fault.
    fn fail(&self, fault: &str);
}

/// A process without others.
#[derive(Debug)]
struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn sum_all(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }

    #[cfg(any(test, feature = "cuda"))]
    fn look(&self) -> Result<()> {
        Ok(())
    }

    fn fail(&self, _: &str) {}
}

/// A process without others.
pub(crate) fn alone() -> Arc<dyn Collective> {
    Arc::new(Alone)
}

/// Waits until all processes are there.
///
/// # Errors
/// They do not come in time, or do not belong together; `stop` was raised.
pub(crate) fn join(world: Option<&World>, stop: &StopFlag) -> Result<Arc<dyn Collective>> {
    match world {
        Some(world) if world.size > 1 => Ok(Arc::new(rendezvous::meet(world, stop)?)),
        _ => Ok(alone()),
    }
}

/// Which of `len` things in a row belong to process `rank` of `size`: whole ones, as many as the others have, or one less
/// or more.
pub(crate) fn share(rank: usize, size: usize, len: usize) -> Range<usize> {
    let border = |rank: usize| rank * len / size;
    border(rank)..border(rank + 1)
}

/// Fails where processes differ in what must be the same.
pub(crate) fn agree(group: &dyn Collective, mine: &str, what: &str) -> Result<()> {
    let first = group.broadcast(mine.as_bytes().to_vec())?;
    let differs = first != mine.as_bytes();
    let mut differing = [f64::from(u8::from(differs))];
    group.sum(&mut differing)?;
    if differing[0] == 0.0 {
        return Ok(());
    }
    let whose = match differs {
        true => format!("process rank {} has", group.rank()),
        false => format!("{} other processes have", differing[0]),
    };
    Err(Error::Peer(format!(
        "{whose} {what} that differ from those of process rank 0: all need the same release, RUN.toml, model and data, and \
         the train.output of process 0 to go on from a checkpoint"
    )))
}
