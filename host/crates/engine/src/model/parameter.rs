use candle_core::{DType, Tensor};

use crate::Result;
use crate::ops;

/// One named tensor of a model or an adapter, in f32. A frozen [`Matrix`](super::Matrix) may be held otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    /// Its name in the checkpoint.
    pub(crate) name: String,
    pub(crate) value: Tensor,
    /// Where the backward pass adds its gradient; `None` for a frozen one, whose gradient is never computed.
    pub(crate) grad: Option<Tensor>,
}

impl Parameter {
    pub(crate) fn frozen(name: String, value: Tensor) -> Self {
        Self {
            name,
            value,
            grad: None,
        }
    }

    /// A trainable one is held in f32, whatever its checkpoint has.
    pub(crate) fn trainable(name: String, value: &Tensor) -> Result<Self> {
        let value = match value.dtype() {
            DType::F32 => value.clone(),
            _ => ops::widen(value)?,
        };
        let grad = Tensor::zeros_like(&value)?;
        Ok(Self {
            name,
            value,
            grad: Some(grad),
        })
    }

    pub(crate) fn len(&self) -> u64 {
        self.value.elem_count() as u64
    }
}
