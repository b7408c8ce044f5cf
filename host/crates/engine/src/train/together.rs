//! What several processes need of the training loop beside the sums of gradients.

use candle_core::DType;
use domain::{FieldErrors, RunConfig};
use sha2::{Digest, Sha256};

use super::checkpoint::State;
use super::setup::Setup;
use super::stepping::Found;
use crate::distributed::{Collective, World};
use crate::{Error, Result};

/// Refuses what several processes cannot do, and numbers that fit no world.
pub(super) fn check_world(config: &RunConfig, world: &World) -> Result<()> {
    let train = &config.train;
    let rows = u64::from(train.batch_size) * u64::from(train.gradient_accumulation_steps);
    if world.rank >= world.size {
        let (rank, size) = (world.rank, world.size);
        return Err(Error::Input(format!(
            "RANK={rank} with WORLD_SIZE={size}: ranks go from 0 to one less than their number"
        )));
    }
    if rows < world.size as u64 {
        let message = format!(
            "times gradient_accumulation_steps makes {rows} sequences a step, which cannot be shared out among {} processes; \
             raise one of the two",
            world.size
        );
        return Err(FieldErrors::one("train.batch_size", message).into());
    }
    Ok(())
}

/// What must be the same at the start in all processes of a run: data, settings of the order, step, and what trains.
pub(super) fn fingerprint(setup: &Setup, state: &State) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(&state.cursor).unwrap_or_default());
    for number in [state.step, state.total_steps] {
        hasher.update(number.to_le_bytes());
    }
    for parameter in setup.decoder.trainable() {
        hasher.update(parameter.name.as_bytes());
        let values = parameter.value.flatten_all()?.to_dtype(DType::F32)?;
        for value in values.to_vec1::<f32>()? {
            hasher.update(value.to_le_bytes());
        }
    }
    Ok(crate::files::hex(&hasher.finalize()))
}

/// What all processes found in a step, whose figures are each process's part of a sum; `None` where one of them was stopped.
pub(super) fn sum(group: &dyn Collective, mine: Option<Found>) -> Result<Option<Found>> {
    // First alone: where one was stopped the others have figures that it has not.
    let mut stopped = [f64::from(u8::from(mine.is_none()))];
    group.sum(&mut stopped)?;
    let Some(mut mine) = mine.filter(|_| stopped == [0.0]) else {
        return Ok(None);
    };
    let mut tokens = mine.tokens as f64;
    let parts = [&mut mine.loss, &mut tokens].into_iter();
    sum_each(group, parts.chain(mine.metrics.values_mut()))?;
    mine.tokens = tokens as usize;
    Ok(Some(mine))
}

/// Puts the sums over all processes in the place of each one's parts, of which all have as many.
pub(super) fn sum_each<'a>(
    group: &dyn Collective,
    parts: impl Iterator<Item = &'a mut f64>,
) -> Result<()> {
    let parts: Vec<&mut f64> = parts.collect();
    let mut sums: Vec<f64> = parts.iter().map(|part| **part).collect();
    group.sum(&mut sums)?;
    for (part, sum) in parts.into_iter().zip(sums) {
        *part = sum;
    }
    Ok(())
}
