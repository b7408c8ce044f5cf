use super::adapters::Adapters;
use super::rows::{Device, Rows};
use crate::Result;
use crate::model::Parameter;

/// A vector of the base or of an adapter, which norms and biases read in f32.
#[derive(Debug)]
pub(crate) struct Vector {
    /// One row.
    pub(crate) values: Rows,
    /// Where its gradient is added up, if it trains.
    pub(crate) gradient: Option<Rows>,
}

impl Vector {
    /// Copies a vector to a device, or finds it there among what trains.
    pub(crate) fn place(
        device: &Device,
        parameter: &Parameter,
        adapters: &Adapters,
    ) -> Result<Self> {
        Ok(match adapters.find(&parameter.name) {
            Some(slot) => Self {
                values: adapters.exact(slot),
                gradient: parameter.grad.as_ref().map(|_| adapters.gradient(slot)),
            },
            None => Self {
                values: device.floats(&parameter.value.flatten_all()?.to_vec1::<f32>()?)?,
                gradient: None,
            },
        })
    }

    /// Adds the gradient of a bias, given that of what it was added to: [T, N].
    pub(crate) fn add_bias_gradient(&self, device: &Device, dy: &Rows) -> Result<()> {
        match &self.gradient {
            Some(gradient) => device.column_sums(gradient, dy),
            None => Ok(()),
        }
    }
}
