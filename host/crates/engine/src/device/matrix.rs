use super::adapters::Adapters;
use super::machine::Element;
use super::ops::{SourceArgument, Unpacking};
use super::rows::{Bytes, Device, Rows};
use crate::Result;
use crate::estimate::DEVICE_PANEL as PANEL;
use crate::model::{self, Kind, Parts};

/// A weight matrix [out, in] on a device, however it is held. Clones share its memory.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    outputs: usize,
    inputs: usize,
    held: Held,
    /// Where its gradient is added up, if it trains.
    pub(crate) gradient: Option<Rows>,
}

#[derive(Debug, Clone)]
enum Held {
    /// In the element type.
    Dense(Rows),
    /// In blocks, with what they need beside them.
    Packed {
        unpacking: Unpacking,
        source: SourceArgument,
        _memory: Vec<Bytes>,
    },
}

impl Matrix {
    /// Copies a matrix to a device, or finds it there among what trains.
    ///
    /// # Errors
    /// Not enough memory there.
    pub(crate) fn place(
        device: &Device,
        matrix: &model::Matrix,
        adapters: &Adapters,
    ) -> Result<Self> {
        let (outputs, inputs) = matrix.shape();
        if let Some(slot) = adapters.find(matrix.name()) {
            return Ok(Self {
                outputs,
                inputs,
                held: Held::Dense(adapters.value(slot)),
                gradient: matrix.grad().map(|_| adapters.gradient(slot)),
            });
        }
        let held = match matrix {
            model::Matrix::Packed(packed) => pack(device, &packed.parts())?,
            _ => {
                let rows = device.activations(outputs, inputs)?;
                let as_it_is = match device.element {
                    Element::Bf16 => matrix.with_bf16(|values| rows.write_bf16(values)),
                    Element::F32 => None,
                };
                match as_it_is {
                    Some(written) => written?,
                    None => matrix.panels(|from, panel| {
                        let values = panel.flatten_all()?.to_vec1::<f32>()?;
                        rows.rows(from, panel.dims()[0]).write(&values)
                    })?,
                }
                Held::Dense(rows)
            }
        };
        Ok(Self {
            outputs,
            inputs,
            held,
            gradient: None,
        })
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// `y = alpha · x Wᵀ + beta · y` for `x` [T, in] and `y` [T, out].
    pub(crate) fn product(
        &self,
        device: &Device,
        y: &Rows,
        x: &Rows,
        alpha: f32,
        beta: f32,
    ) -> Result<()> {
        self.panels(device, |from, panel| {
            let y = y.columns(from, panel.rows);
            device.product(&y, (x, false), (panel, true), alpha, beta)
        })
    }

    /// `dx = alpha · dy W + beta · dx` for `dy` [T, out] and `dx` [T, in].
    pub(crate) fn product_back(
        &self,
        device: &Device,
        dx: &Rows,
        dy: &Rows,
        alpha: f32,
        beta: f32,
    ) -> Result<()> {
        self.panels(device, |from, panel| {
            let dy = dy.columns(from, panel.rows);
            let beta = if from == 0 { beta } else { 1.0 };
            device.product(dx, (&dy, false), (panel, false), alpha, beta)
        })
    }

    /// Adds the gradient of what trains, given `x` [T, in] and the gradient `dy` [T, out] of `x Wᵀ`, times a factor.
    pub(crate) fn add_gradient(
        &self,
        device: &Device,
        x: &Rows,
        dy: &Rows,
        factor: f32,
    ) -> Result<()> {
        match &self.gradient {
            Some(gradient) => device.product(gradient, (dy, true), (x, false), factor, 1.0),
            None => Ok(()),
        }
    }

    /// Calls `f` with each panel of rows in the element type, and its first row's index.
    pub(crate) fn panels(
        &self,
        device: &Device,
        mut f: impl FnMut(usize, &Rows) -> Result<()>,
    ) -> Result<()> {
        let (unpacking, source) = match &self.held {
            Held::Dense(rows) => return f(0, rows),
            Held::Packed {
                unpacking, source, ..
            } => (*unpacking, *source),
        };
        let rows = panel_rows(self.outputs, self.inputs);
        let scratch = device.activations(rows, self.inputs)?;
        for from in (0..self.outputs).step_by(rows.max(1)) {
            let panel = scratch.rows(0, rows.min(self.outputs - from));
            device.unpack(&panel, (unpacking, source), 0, from, 1.0)?;
            f(from, &panel)?;
        }
        Ok(())
    }

    /// The rows that ids name, times a factor: [T, in].
    pub(crate) fn gather(
        &self,
        device: &Device,
        ids: &Bytes,
        count: usize,
        factor: f32,
    ) -> Result<Rows> {
        let out = device.activations(count, self.inputs)?;
        match &self.held {
            Held::Dense(rows) => device.gather(&out, rows, ids.address(), factor, false)?,
            Held::Packed {
                unpacking, source, ..
            } => device.unpack(&out, (*unpacking, *source), ids.address(), 0, factor)?,
        }
        Ok(out)
    }
}

/// Rows of a panel: about as many in each, and so many that a panel's columns of an output begin at a multiple of 16 bytes,
/// which the quick products need.
fn panel_rows(outputs: usize, inputs: usize) -> usize {
    const MULTIPLE: usize = 64;
    let most = (PANEL / inputs.max(1)).max(MULTIPLE);
    let panels = outputs.div_ceil(most).max(1);
    let rows = outputs.div_ceil(panels).next_multiple_of(MULTIPLE);
    rows.min(outputs)
}

fn pack(device: &Device, parts: &Parts<'_>) -> Result<Held> {
    let floats = |values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        device.bytes(&bytes)
    };
    Ok(match parts {
        Parts::Nf4 {
            codes,
            scales,
            outer,
            values,
            mean,
        } => {
            let memory = vec![
                device.bytes(codes)?,
                device.bytes(scales)?,
                floats(outer)?,
                floats(&values[..])?,
            ];
            let [codes, scales, outer, values] = [0, 1, 2, 3].map(|i: usize| memory[i].address());
            Held::Packed {
                unpacking: Unpacking::Nf4,
                source: SourceArgument {
                    codes,
                    scales,
                    outer,
                    values,
                    mean: *mean,
                },
                _memory: memory,
            }
        }
        Parts::Ggml(kind, bytes) => {
            let memory = vec![device.bytes(bytes)?];
            Held::Packed {
                unpacking: match kind {
                    Kind::Q4_0 => Unpacking::Q4_0,
                    Kind::Q4_1 => Unpacking::Q4_1,
                    Kind::Q5_0 => Unpacking::Q5_0,
                    Kind::Q5_1 => Unpacking::Q5_1,
                    Kind::Q8_0 => Unpacking::Q8_0,
                    Kind::Q4K => Unpacking::Q4K,
                    Kind::Q5K => Unpacking::Q5K,
                    Kind::Q6K => Unpacking::Q6K,
                },
                source: SourceArgument {
                    codes: memory[0].address(),
                    scales: 0,
                    outer: 0,
                    values: 0,
                    mean: 0.0,
                },
                _memory: memory,
            }
        }
    })
}

/// A matrix in f32 on the processor, in the element type.
pub(crate) fn dense(device: &Device, tensor: &candle_core::Tensor) -> Result<Rows> {
    let (rows, width) = tensor.dims2()?;
    let placed = device.activations(rows, width)?;
    placed.write(&tensor.flatten_all()?.to_vec1::<f32>()?)?;
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::{PANEL, panel_rows};

    #[test]
    fn panels_are_alike_and_begin_where_products_are_quick() {
        // Gate, head and down projection of a 7B model, a small matrix, one with a row that is larger than a panel.
        let shapes = [
            (18_944, 3584),
            (152_064, 3584),
            (3584, 18_944),
            (5, 96),
            (100, 2 * PANEL),
        ];
        let rows = shapes.map(|(outputs, inputs)| panel_rows(outputs, inputs));
        assert_eq!(rows, [6336, 8960, 1216, 5, 64]);
    }
}
