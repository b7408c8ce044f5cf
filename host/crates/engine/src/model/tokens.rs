//! Rows of embedding and head that an adapter has values of its own for (PEFT's `trainable_token_indices`).

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{Decoder, Matrix, Parameter};
use crate::Result;
use crate::ops;

/// Values in the place of some rows of a table with a row for each token.
#[derive(Debug)]
pub(crate) struct TokenRows {
    /// [n, H].
    pub(crate) rows: Parameter,
    /// Whose rows they are: [n].
    index: Tensor,
    /// Where a token's row is among them.
    places: BTreeMap<u32, u32>,
}

impl TokenRows {
    /// Rows [n, H] of so many tokens, each of which comes once.
    pub(crate) fn new(tokens: &[u32], rows: Parameter) -> Result<Self> {
        let places = tokens.iter().copied().zip(0..).collect();
        Ok(Self {
            rows,
            index: Tensor::new(tokens, &Device::Cpu)?,
            places,
        })
    }

    /// Whose rows they are, in their order.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn tokens(&self) -> Result<Vec<u32>> {
        Ok(self.index.to_vec1()?)
    }

    /// Rows of a batch whose token is among these, and where: nothing where there is none.
    fn found(&self, ids: &Tensor, without: Option<u32>) -> Result<Vec<(u32, u32)>> {
        let ids = ids.to_vec1::<u32>()?;
        let own = ids.iter().zip(0..).filter_map(|(id, row)| {
            let place = self.places.get(id).filter(|_| Some(*id) != without)?;
            Some((row, *place))
        });
        Ok(own.collect())
    }

    /// Writes the rows of these tokens over those that were looked up for `ids` [T]: `x` [T, H].
    pub(super) fn put(&self, x: &Tensor, ids: &Tensor) -> Result<()> {
        for (row, place) in self.found(ids, None)? {
            let own = self.rows.value.narrow(0, place as usize, 1)?;
            ops::assign(&x.narrow(0, row as usize, 1)?, &own)?;
        }
        Ok(())
    }

    /// Adds the gradients of the rows that [`Self::put`] wrote, given that of `x`; the padding's gets none, as PyTorch's
    /// embeddings have it.
    pub(super) fn put_back(&self, dx: &Tensor, ids: &Tensor, padding: Option<u32>) -> Result<()> {
        let Some(grad) = &self.rows.grad else {
            return Ok(());
        };
        let (rows, places): (Vec<u32>, Vec<u32>) = self.found(ids, padding)?.into_iter().unzip();
        if rows.is_empty() {
            return Ok(());
        }
        let index = |values: Vec<u32>| {
            let len = values.len();
            Tensor::from_vec(values, len, &Device::Cpu)
        };
        Ok(ops::scatter_add(
            grad,
            &index(places)?,
            &ops::gather(dx, &index(rows)?)?,
        )?)
    }

    /// Writes `factor` times the logits of these tokens over those of the table's own rows, for rows behind the final norm.
    pub(super) fn head(&self, normed: &Tensor, logits: &Tensor, factor: f32) -> Result<()> {
        let own = ops::unwritten_tensor(&[normed.dims()[0], self.index.elem_count()])?;
        ops::matmul_into(&own, normed, &self.rows.value.t()?, factor, 0.0)?;
        Ok(ops::put_columns(logits, &self.index, &own)?)
    }

    /// The gradient of what [`Self::head`] wrote, out of that of the logits, where it becomes zero: the table's own rows had
    /// no part in them.
    pub(super) fn head_back(&self, d_logits: &Tensor) -> Result<Tensor> {
        let own = d_logits.index_select(&self.index, 1)?;
        ops::put_columns(d_logits, &self.index, &own.zeros_like()?)?;
        Ok(own)
    }

    /// Adds to `d_normed` and to the rows' gradient, given what [`Self::head_back`] returned.
    pub(super) fn head_gradient(
        &self,
        normed: &Tensor,
        own: &Tensor,
        d_normed: &Tensor,
        factor: f32,
    ) -> Result<()> {
        ops::matmul_into(d_normed, own, &self.rows.value, factor, 1.0)?;
        if let Some(grad) = &self.rows.grad {
            ops::matmul_into(grad, &own.t()?, normed, factor, 1.0)?;
        }
        Ok(())
    }

    /// A table with these rows in it, frozen and in f32.
    pub(crate) fn merged(&self, table: &Matrix) -> Result<Matrix> {
        let values = ops::copy(&table.dense()?)?;
        for (token, place) in &self.places {
            let own = self.rows.value.narrow(0, *place as usize, 1)?;
            ops::assign(&values.narrow(0, *token as usize, 1)?, &own)?;
        }
        Matrix::new(table.name().to_owned(), values, false)
    }
}

impl Decoder {
    /// Whether the head, which is the embedding, has the embedding's rows of tokens too.
    pub(crate) fn tokens_are_tied(&self) -> bool {
        self.head.is_none() && self.embedding_tokens.is_some() && self.head_tokens.is_none()
    }

    /// The rows that the head has its own values for.
    pub(crate) fn head_tokens_in_use(&self) -> Option<&TokenRows> {
        match self.tokens_are_tied() {
            true => self.embedding_tokens.as_ref(),
            false => self.head_tokens.as_ref(),
        }
    }

    /// The tensors of rows of tokens.
    pub(crate) fn token_parameters(&self) -> impl Iterator<Item = &Parameter> {
        let both = [&self.embedding_tokens, &self.head_tokens];
        both.into_iter().flatten().map(|tokens| &tokens.rows)
    }
}
