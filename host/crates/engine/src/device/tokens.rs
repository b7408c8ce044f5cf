//! Rows of embedding and head that an adapter has values of its own for, as in `model`.

use std::collections::BTreeMap;

use super::adapters::{Adapters, Slot};
use super::machine::Element;
use super::ops::Along;
use super::rows::{Bytes, Device, Rows};
use crate::Result;
use crate::model;

/// Values in the place of some rows of a table with a row for each token.
#[derive(Debug)]
pub(super) struct TokenRows {
    /// [n, H].
    slot: Slot,
    trains: bool,
    /// Whose rows they are: [n].
    index: Bytes,
    /// Where a token's row is among them.
    places: BTreeMap<u32, u32>,
}

/// The rows of a batch that have such a token, and where their values are: as many of both.
#[derive(Debug)]
pub(super) struct Found {
    rows: Bytes,
    places: Bytes,
    count: usize,
}

/// A device, and what trains on it.
type On<'a> = (&'a Device, &'a Adapters);

impl TokenRows {
    /// Finds rows of tokens among what lies on a device.
    pub(super) fn place((device, adapters): On<'_>, tokens: &model::TokenRows) -> Result<Self> {
        let of = tokens.tokens()?;
        Ok(Self {
            slot: adapters.slot(&tokens.rows.name)?,
            trains: tokens.rows.grad.is_some(),
            index: device.ids(&of)?,
            places: of.into_iter().zip(0..).collect(),
        })
    }

    fn columns(&self) -> (u64, usize) {
        (self.index.address(), self.places.len())
    }

    /// Looks for these tokens among those of a batch.
    pub(super) fn find(&self, device: &Device, ids: &[u32]) -> Result<Found> {
        let found = ids.iter().zip(0u32..);
        let found = found.filter_map(|(id, row)| Some((row, *self.places.get(id)?)));
        let (rows, places): (Vec<u32>, Vec<u32>) = found.unzip();
        Ok(Found {
            rows: device.ids(&rows)?,
            places: device.ids(&places)?,
            count: rows.len(),
        })
    }

    /// Writes the rows of these tokens, times a factor, over those that were looked up: `x` [T, H].
    pub(super) fn put(
        &self,
        (device, adapters): On<'_>,
        x: &Rows,
        found: &Found,
        factor: f32,
    ) -> Result<()> {
        if found.count == 0 {
            return Ok(());
        }
        let own = device.activations(found.count, x.width)?;
        let (values, places) = (adapters.value(self.slot), found.places.address());
        device.gather(&own, &values, places, factor, false)?;
        device.scatter(x, &own, found.rows.address())
    }

    /// Adds the gradients of the rows that [`Self::put`] wrote, given that of `x` and all ids; the padding's gets none, as
    /// PyTorch's embeddings have it.
    pub(super) fn put_back(
        &self,
        (device, adapters): On<'_>,
        dx: &Rows,
        ids: &[u32],
        padding: Option<u32>,
    ) -> Result<()> {
        if !self.trains {
            return Ok(());
        }
        let place = |id: &u32| {
            let place = self.places.get(id).filter(|_| Some(*id) != padding);
            place.copied()
        };
        let groups = device.groups(ids.iter().map(place))?;
        let gradient = adapters.gradient(self.slot);
        device.add_groups(&gradient, Along::Rows, dx, &groups, 1.0)
    }

    /// Writes `factor` times the logits of these tokens over those of the table's own rows, for rows behind the final norm.
    pub(super) fn head(
        &self,
        (device, adapters): On<'_>,
        normed: &Rows,
        logits: &Rows,
        factor: f32,
    ) -> Result<()> {
        let own = device.unwritten(self.places.len(), normed.rows, Element::F32)?;
        let values = adapters.value(self.slot);
        device.product(&own, (&values, false), (normed, true), factor, 0.0)?;
        device.put_columns(logits, Some(&own), self.columns())
    }

    /// The gradient of what [`Self::head`] wrote, out of that of the logits, where it becomes zero: the table's own rows had
    /// no part in them. [n, N].
    pub(super) fn head_back(&self, device: &Device, d_logits: &Rows) -> Result<Rows> {
        let (index, count) = self.columns();
        let own = device.gather_columns(d_logits, index, count)?;
        device.put_columns(d_logits, None, (index, count))?;
        Ok(own)
    }

    /// Adds to `d_normed` and to the rows' gradient, given what [`Self::head_back`] returned.
    pub(super) fn head_gradient(
        &self,
        (device, adapters): On<'_>,
        (normed, own): (&Rows, &Rows),
        d_normed: &Rows,
        factor: f32,
    ) -> Result<()> {
        let values = adapters.value(self.slot);
        device.product(d_normed, (own, true), (&values, false), factor, 1.0)?;
        match self.trains {
            true => {
                let gradient = adapters.gradient(self.slot);
                device.product(&gradient, (own, false), (normed, false), factor, 1.0)
            }
            false => Ok(()),
        }
    }
}
