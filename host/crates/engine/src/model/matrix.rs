#[cfg(any(test, feature = "cuda"))]
use candle_core::{CpuStorage, Storage};
use candle_core::{DType, Tensor};

use super::{Packed, Parameter};
use crate::Result;
use crate::ops::{self, Update};

/// A weight matrix [out, in], of a linear layer, an embedding or a head, however it is held.
///
/// Its users multiply by it, look rows up and read rows; none of them asks how it is stored. Only one in f32 trains.
#[derive(Debug)]
pub(crate) enum Matrix {
    /// In f32; with a gradient where it trains.
    Dense(Parameter),
    /// Frozen, in f16 or bf16.
    Half(Half),
    /// Frozen, in 4 to 8 bits.
    Packed(Packed),
}

/// A frozen matrix in 16 bits. Its values are widened a few rows at a time, so that no copy in f32 ever exists.
#[derive(Debug)]
pub(crate) struct Half {
    name: String,
    /// [out, in], contiguous, f16 or bf16.
    value: Tensor,
}

/// Elements that are widened at a time, 4 MiB in f32: enough rows for a good matrix product, few enough for the cache.
pub(crate) const PANEL: usize = 1 << 20;

/// Rows from which a product in bf16 repays the packing of the weight.
const BF16_ROWS: usize = 8;

impl Matrix {
    /// A matrix in whatever type the tensor has; in f32 and with a gradient where it is trainable.
    pub(crate) fn new(name: String, value: Tensor, trainable: bool) -> Result<Self> {
        Ok(match (trainable, value.dtype()) {
            (true, _) => Self::Dense(Parameter::trainable(name, &value)?),
            (false, DType::F16 | DType::BF16) => Self::Half(Half { name, value }),
            (false, _) => Self::Dense(Parameter::frozen(name, value)),
        })
    }

    /// Its name in the checkpoint.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Dense(parameter) => &parameter.name,
            Self::Half(half) => &half.name,
            Self::Packed(packed) => packed.name(),
        }
    }

    /// Outputs and inputs.
    pub(crate) fn shape(&self) -> (usize, usize) {
        let value = match self {
            Self::Dense(parameter) => &parameter.value,
            Self::Half(half) => &half.value,
            Self::Packed(packed) => return packed.shape(),
        };
        (value.dims()[0], value.dims()[1])
    }

    /// Type of its values in memory, where they are not packed.
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Half(half) => half.value.dtype(),
            Self::Dense(_) | Self::Packed(_) => DType::F32,
        }
    }

    /// Whether it is held in 16 bits.
    pub(crate) fn is_half(&self) -> bool {
        matches!(self, Self::Half(_))
    }

    /// Gives `f` the values of one in bf16 as they lie in memory, row by row; `None` for any other.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn with_bf16<R>(&self, f: impl FnOnce(&[half::bf16]) -> R) -> Option<R> {
        let Self::Half(held) = self else { return None };
        let (storage, layout) = held.value.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::BF16(values)), Some((start, end))) => {
                Some(f(&values[start..end]))
            }
            _ => None,
        }
    }

    /// Rows: the width of what [`Self::product`] writes.
    pub(crate) fn outputs(&self) -> usize {
        self.shape().0
    }

    /// Number of weights.
    pub(crate) fn len(&self) -> u64 {
        let (outputs, inputs) = self.shape();
        outputs as u64 * inputs as u64
    }

    /// Bytes that its values take in memory, a gradient not counted.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Dense(_) => 4 * self.len(),
            Self::Half(_) => 2 * self.len(),
            Self::Packed(packed) => packed.bytes(),
        }
    }

    /// Where its gradient is added up, if it trains: [out, in].
    pub(crate) fn grad(&self) -> Option<&Tensor> {
        self.parameter()
            .and_then(|parameter| parameter.grad.as_ref())
    }

    /// The parameter that it is, where it is held in f32.
    pub(crate) fn parameter(&self) -> Option<&Parameter> {
        match self {
            Self::Dense(parameter) => Some(parameter),
            Self::Half(_) | Self::Packed(_) => None,
        }
    }

    /// The values that a product of `rows` rows multiplies as they are; `None` where they must be widened first.
    fn direct(&self, rows: usize) -> Option<&Tensor> {
        match self {
            Self::Dense(parameter) => Some(&parameter.value),
            Self::Half(half) if rows >= BF16_ROWS && ops::half_products() => Some(&half.value),
            Self::Half(_) | Self::Packed(_) => None,
        }
    }

    /// `y = alpha · x Wᵀ + beta · y` for `x` [T, in] and `y` [T, out]; with `beta` 0 whatever `y` held is not read.
    ///
    /// Where the machine multiplies bf16, both sides of a product by 16-bit weights are rounded to it; sums are in f32.
    pub(crate) fn product(&self, y: &Tensor, x: &Tensor, alpha: f32, beta: f32) -> Result<()> {
        self.product_with(y, x, None, alpha, beta)
    }

    /// As [`Self::product`], with `alpha` times a low-rank update [T, r] by [r, out] added in the same pass.
    pub(crate) fn product_with(
        &self,
        y: &Tensor,
        x: &Tensor,
        update: Option<Update<'_>>,
        alpha: f32,
        beta: f32,
    ) -> Result<()> {
        if let Some(value) = self.direct(x.dims()[0]) {
            return Ok(ops::matmul_with(y, x, &value.t()?, update, alpha, beta)?);
        }
        self.panels(|from, panel| {
            let rows = panel.dims()[0];
            let y = y.narrow(1, from, rows)?;
            let b = update
                .map(|update| update.b.narrow(1, from, rows))
                .transpose()?;
            let update = update
                .zip(b.as_ref())
                .map(|(update, b)| Update { b, ..update });
            Ok(ops::matmul_with(&y, x, &panel.t()?, update, alpha, beta)?)
        })
    }

    /// `dx = alpha · dy W + beta · dx` for `dy` [T, out] and `dx` [T, in]: the gradient of what [`Self::product`] read.
    pub(crate) fn product_back(
        &self,
        dx: &Tensor,
        dy: &Tensor,
        alpha: f32,
        beta: f32,
    ) -> Result<()> {
        self.product_back_with(dx, dy, None, alpha, beta)
    }

    /// As [`Self::product_back`], with `alpha` times a low-rank update [T, r] by [r, in] added in the same pass.
    pub(crate) fn product_back_with(
        &self,
        dx: &Tensor,
        dy: &Tensor,
        update: Option<Update<'_>>,
        alpha: f32,
        beta: f32,
    ) -> Result<()> {
        if let Some(value) = self.direct(dy.dims()[0]) {
            return Ok(ops::matmul_with(dx, dy, value, update, alpha, beta)?);
        }
        self.panels(|from, panel| {
            let dy = dy.narrow(1, from, panel.dims()[0])?;
            // The panels add up in their order, whatever the number of threads; the update comes with the first.
            let (update, beta) = if from == 0 {
                (update, beta)
            } else {
                (None, 1.0)
            };
            Ok(ops::matmul_with(dx, &dy, panel, update, alpha, beta)?)
        })
    }

    /// The rows that `ids` [T] name, in f32: [T, in].
    pub(crate) fn gather(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Dense(parameter) => ops::gather(&parameter.value, ids)?,
            Self::Half(half) => ops::gather(&half.value, ids)?,
            Self::Packed(packed) => packed.gather(ids)?,
        })
    }

    /// Rows `from .. from + len` in f32: [len, in]. A view where the matrix is in f32, else a copy.
    pub(crate) fn rows(&self, from: usize, len: usize) -> Result<Tensor> {
        Ok(match self {
            Self::Dense(parameter) => parameter.value.narrow(0, from, len)?,
            Self::Half(half) => ops::widen(&half.value.narrow(0, from, len)?)?,
            Self::Packed(packed) => {
                let rows = ops::unwritten_tensor(&[len, packed.shape().1])?;
                packed.read_rows(from, &rows)?;
                rows
            }
        })
    }

    /// The whole matrix in f32: [out, in]. The matrix itself where it is in f32, else a copy.
    pub(crate) fn dense(&self) -> Result<Tensor> {
        self.rows(0, self.outputs())
    }

    /// Calls `f` with each panel of rows in f32 and its first row's index, from the first to the last.
    pub(crate) fn panels(&self, mut f: impl FnMut(usize, &Tensor) -> Result<()>) -> Result<()> {
        let (outputs, inputs) = self.shape();
        let rows = panel_rows(inputs).min(outputs);
        if let Self::Dense(parameter) = self {
            for from in (0..outputs).step_by(rows.max(1)) {
                f(
                    from,
                    &parameter.value.narrow(0, from, rows.min(outputs - from))?,
                )?;
            }
            return Ok(());
        }
        let scratch = ops::unwritten_tensor(&[rows, inputs])?;
        for from in (0..outputs).step_by(rows.max(1)) {
            let panel = scratch.narrow(0, 0, rows.min(outputs - from))?;
            self.read_rows(from, &panel)?;
            f(from, &panel)?;
        }
        Ok(())
    }

    /// Writes as many rows as `panel` [n, in] has, in f32, beginning at row `from`.
    fn read_rows(&self, from: usize, panel: &Tensor) -> Result<()> {
        let len = panel.dims()[0];
        match self {
            Self::Dense(parameter) => ops::assign(panel, &parameter.value.narrow(0, from, len)?)?,
            Self::Half(half) => ops::widen_into(panel, &half.value.narrow(0, from, len)?)?,
            Self::Packed(packed) => packed.read_rows(from, panel)?,
        }
        Ok(())
    }
}

/// Rows of a panel: a multiple of what a matrix product takes at once, and never none.
fn panel_rows(inputs: usize) -> usize {
    (PANEL / inputs.max(1)).next_multiple_of(64).max(64)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::{named_generator, normal};

    fn random(name: &str, rows: usize, columns: usize) -> Tensor {
        let values = normal(&mut named_generator(1, name), rows * columns, 1.0);
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    fn close(what: &str, got: &Tensor, expected: &Tensor) {
        near(what, got, expected, 2e-3);
    }

    fn near(what: &str, got: &Tensor, expected: &Tensor, tolerance: f32) {
        let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got.len(), expected.len(), "{what}");
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                (got - expected).abs() < tolerance,
                "{what}: {got}, {expected}"
            );
        }
    }

    /// More rows than one panel has, the last panel not full.
    const OUT: usize = 700;
    const IN: usize = 2048;

    #[test]
    fn a_half_matrix_multiplies_by_panels_as_its_widened_copy_does() {
        let weight = random("w", OUT, IN);
        for dtype in [DType::BF16, DType::F16] {
            let half = Matrix::new("w".into(), weight.to_dtype(dtype).unwrap(), false).unwrap();
            let whole = Matrix::new("w".into(), half.dense().unwrap(), false).unwrap();
            assert!(matches!(half, Matrix::Half(_)) && matches!(whole, Matrix::Dense(_)));
            for rows in [1, 7, 33] {
                // Sums of 700 to 2,048 products of normal values, each rounded to 8 bits or not.
                let rounded = rows >= BF16_ROWS && ops::half_products();
                let tolerance = if rounded { 0.5 } else { 2e-3 };
                let (x, dy) = (random("x", rows, IN), random("dy", rows, OUT));
                for beta in [0.0, 1.0] {
                    let both = [&half, &whole].map(|matrix| {
                        let (y, dx) = (random("y", rows, OUT), random("dx", rows, IN));
                        matrix.product(&y, &x, 0.5, beta).unwrap();
                        matrix.product_back(&dx, &dy, 0.5, beta).unwrap();
                        (y, dx)
                    });
                    near("product", &both[0].0, &both[1].0, tolerance);
                    near("product_back", &both[0].1, &both[1].1, tolerance);
                }
            }
            let ids = Tensor::new(&[3u32, 699, 3], &Device::Cpu).unwrap();
            close(
                "gather",
                &half.gather(&ids).unwrap(),
                &whole.gather(&ids).unwrap(),
            );
            close(
                "rows",
                &half.rows(600, 90).unwrap(),
                &whole.rows(600, 90).unwrap(),
            );
        }
    }

    #[test]
    fn panels_cover_every_row_once_and_in_order() {
        let weight = random("w", OUT, IN);
        for dtype in [DType::F32, DType::BF16] {
            let matrix = Matrix::new("w".into(), weight.to_dtype(dtype).unwrap(), false).unwrap();
            let mut next = 0;
            matrix
                .panels(|from, panel| {
                    assert_eq!(from, next);
                    next += panel.dims()[0];
                    close("panel", panel, &matrix.rows(from, panel.dims()[0])?);
                    Ok(())
                })
                .unwrap();
            assert_eq!(next, OUT);
        }
    }
}
