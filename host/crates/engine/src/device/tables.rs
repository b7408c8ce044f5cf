use std::sync::{Mutex, PoisonError};

use super::machine::Element;
use super::rows::{Device, Rows};
use crate::model::Description;
use crate::{Error, Result};

/// Cosines and sines of positions, one pair for each rotary embedding that a model has. Making them takes milliseconds in which
/// a device would wait at the begin of every batch, so they stay there.
#[derive(Debug, Default)]
pub(super) struct Tables(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    positions: usize,
    tables: Vec<(Rows, Rows)>,
}

impl Tables {
    /// Those of a batch whose longest sequence has so many tokens.
    pub(super) fn of(
        &self,
        device: &Device,
        description: &Description,
        longest: usize,
    ) -> Result<Vec<(Rows, Rows)>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rotaries = &description.rotaries;
        let will_do = match rotaries.iter().any(|rotary| rotary.changes_with_length()) {
            true => known.positions == longest,
            false => known.positions >= longest,
        };
        if !will_do || known.tables.len() != rotaries.len() {
            let table = |table: &candle_core::Tensor| {
                let (rows, width) = table.dims2()?;
                let on = device.unwritten(rows, width, Element::F32)?;
                on.write(&table.flatten_all()?.to_vec1::<f32>()?)?;
                Ok::<_, Error>(on)
            };
            let tables = rotaries.iter().map(|rotary| {
                let made = rotary.table(0, longest, longest)?;
                Ok::<_, Error>((table(&made.cos)?, table(&made.sin)?))
            });
            *known = Known {
                tables: tables.collect::<Result<_>>()?,
                positions: longest,
            };
        }
        Ok(known.tables.clone())
    }
}
