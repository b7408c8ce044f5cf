use super::super::machine::launch;
use super::super::rows::{Bytes, Device, Rows};
use super::{BLOCK, HeadsArgument, WIDEST_HEAD, blocks, fits, pieces};
use crate::{Error, Result};

/// What is kept of one text: of each layer `capacity` rows of keys and values side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeptRows<'a> {
    pub(crate) memory: &'a Rows,
    pub(crate) capacity: usize,
}

/// New rows of some texts, each with what is kept of its text and its position there: on the device as `struct NewRow` of
/// attention_cached.cu.
#[derive(Debug)]
pub(crate) struct NewRows {
    rows: Bytes,
    count: usize,
    /// Layers and columns of all that is kept.
    layers: usize,
    width: usize,
}

impl Device {
    /// Says of new rows whose they are and at which position.
    ///
    /// # Errors
    /// A position behind what its text has room for.
    pub(crate) fn new_rows(&self, rows: &[(KeptRows<'_>, usize)]) -> Result<NewRows> {
        let mut bytes = Vec::with_capacity(16 * rows.len());
        let (mut layers, mut width) = (usize::MAX, None);
        for (kept, position) in rows {
            let memory = kept.memory;
            fits(
                "kept rows",
                memory.is_whole()
                    && memory.element == self.element
                    && *width.get_or_insert(memory.width) == memory.width,
            )?;
            layers = layers.min(memory.rows / kept.capacity.max(1));
            if *position >= kept.capacity {
                return Err(Error::Compute(format!(
                    "token {position} of a text with room for {}",
                    kept.capacity
                )));
            }
            bytes.extend(memory.address.to_ne_bytes());
            bytes.extend((*position as i32).to_ne_bytes());
            bytes.extend((kept.capacity as i32).to_ne_bytes());
        }
        Ok(NewRows {
            rows: self.bytes(&bytes)?,
            count: rows.len(),
            layers,
            width: width.unwrap_or(0),
        })
    }

    fn fit_new_rows(
        &self,
        qkv: &Rows,
        new: &NewRows,
        layer: usize,
        heads: HeadsArgument,
    ) -> Result<()> {
        let kept = 2 * heads.kv_heads * heads.dim;
        let all = heads.heads * heads.dim + kept;
        fits(
            "attention to what is kept",
            qkv.is_whole()
                && (qkv.rows, qkv.width, qkv.element) == (new.count, all as usize, self.element)
                && (heads.tokens as usize, kept as usize) == (new.count, new.width)
                && layer < new.layers,
        )
    }

    /// Keeps keys and values of new rows of queries, keys and values as those of a layer.
    pub(crate) fn keep(
        &self,
        qkv: &Rows,
        new: &NewRows,
        layer: usize,
        heads: HeadsArgument,
    ) -> Result<()> {
        self.fit_new_rows(qkv, new, layer, heads)?;
        launch!(
            self,
            "keep",
            qkv.element,
            blocks(pieces(qkv.rows, new.width, qkv.element)),
            BLOCK,
            0,
            [qkv.address, new.rows.address(), heads, layer as i32,]
        )
    }

    /// Attention of new rows to all that [`Self::keep`] kept of a layer up to each one's position: [T, heads · D].
    pub(crate) fn attention_step(
        &self,
        qkv: &Rows,
        new: &NewRows,
        layer: usize,
        heads: HeadsArgument,
    ) -> Result<Rows> {
        self.fit_new_rows(qkv, new, layer, heads)?;
        let out = self.activations(qkv.rows, (heads.heads * heads.dim) as usize)?;
        macro_rules! by {
            ($name:literal) => {
                launch!(
                    self,
                    $name,
                    qkv.element,
                    [qkv.rows as u32, heads.heads as u32],
                    BLOCK,
                    0,
                    [
                        out.address,
                        qkv.address,
                        new.rows.address(),
                        heads,
                        layer as i32,
                    ]
                )
            };
        }
        match heads.dim as usize {
            ..=64 => by!("attention_step_64"),
            65..=128 => by!("attention_step_128"),
            129..=WIDEST_HEAD => by!("attention_step_256"),
            wider => Err(Error::Compute(format!(
                "a head_dim of {wider} is wider than {WIDEST_HEAD}"
            ))),
        }?;
        Ok(out)
    }
}
