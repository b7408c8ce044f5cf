use candle_core::DType;
use domain::{FieldErrors, ModelDtype, Quantize};

use super::writing::greedy;
use crate::Result;
use crate::model::{Batch, Decoder, Loading, TokenLoss};

#[cfg(any(test, feature = "cuda"))]
use {
    crate::Error,
    crate::device::{self, Element},
    std::sync::{Mutex, MutexGuard, PoisonError},
};

/// Where a model writes, and how its weights are held there.
#[derive(Debug, Clone)]
pub struct Placement {
    /// `cpu`, `cuda`, `cuda:N`, or `auto` for a GPU where one can do it, else the CPU.
    pub device: String,
    /// Type of the weights; on a GPU of activations, keys and values too, where bf16 stands for f16.
    pub dtype: ModelDtype,
    /// Packing of the weights.
    pub quantize: Option<Quantize>,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            device: "cpu".into(),
            dtype: ModelDtype::F32,
            quantize: None,
        }
    }
}

impl Placement {
    /// How a decoder is read for it.
    pub(crate) fn loading(&self) -> Loading {
        let dtype = match self.dtype {
            ModelDtype::F32 => DType::F32,
            ModelDtype::F16 => DType::F16,
            ModelDtype::Bf16 => DType::BF16,
        };
        Loading {
            quantize: self.quantize,
            ..Loading::frozen(dtype)
        }
    }
}

/// A model, wherever it lies.
pub(crate) enum Held {
    Cpu(Box<Decoder>),
    /// One generation has it at a time.
    #[cfg(any(test, feature = "cuda"))]
    Device(Box<Mutex<device::Decoder>>),
}

/// Does one thing with the model that a [`Held`] holds, whatever its type.
macro_rules! with_model {
    ($held:expr, |$model:ident| $done:expr) => {
        match $held {
            $crate::generate::Held::Cpu($model) => {
                let $model = &**$model;
                $done
            }
            #[cfg(any(test, feature = "cuda"))]
            $crate::generate::Held::Device(held) => {
                let $model = &*$crate::generate::held::locked(held);
                $done
            }
        }
    };
}
pub(crate) use with_model;

#[cfg(any(test, feature = "cuda"))]
pub(crate) fn locked(held: &Mutex<device::Decoder>) -> MutexGuard<'_, device::Decoder> {
    // A generation that failed leaves the model as it was.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// Brings a decoder to where it shall write.
    ///
    /// # Errors
    /// The GPU that is named cannot be had, or cannot do what the decoder needs.
    pub(crate) fn place(decoder: Decoder, placement: &Placement) -> Result<Self> {
        let device = placement.device.as_str();
        let number = device.strip_prefix("cuda:");
        let known = matches!(device, "auto" | "cpu" | "cuda")
            || number.is_some_and(|number| number.parse::<u16>().is_ok());
        if !known {
            let message = format!("must be auto, cpu, cuda or cuda:N, not {device:?}");
            return Err(FieldErrors::one("device", message).into());
        }
        if device == "cpu" {
            return Ok(Self::Cpu(Box::new(decoder)));
        }
        #[cfg(not(any(test, feature = "cuda")))]
        {
            if device == "auto" {
                return Ok(Self::Cpu(Box::new(decoder)));
            }
            let message = "this build writes on the CPU; codetune-cuda is the one for GPUs";
            Err(FieldErrors::one("device", message).into())
        }
        #[cfg(any(test, feature = "cuda"))]
        {
            let element = match placement.dtype {
                ModelDtype::F32 => Element::F32,
                ModelDtype::F16 | ModelDtype::Bf16 => Element::Bf16,
            };
            let ordinal = crate::gpu::ordinal(device).unwrap_or(0);
            let placed = device::open(ordinal, element)
                .and_then(|device| device::Decoder::place(device, &decoder));
            match placed {
                Ok(placed) => Ok(Self::Device(Box::new(Mutex::new(placed)))),
                Err(Error::Fields(_) | Error::DeviceMemory(_)) if device == "auto" => {
                    Ok(Self::Cpu(Box::new(decoder)))
                }
                Err(error) => Err(error),
            }
        }
    }

    /// As [`greedy`].
    pub(crate) fn greedy(&self, prompts: &[Vec<u32>], new_tokens: usize) -> Result<Vec<Vec<u32>>> {
        with_model!(self, |model| greedy(model, prompts, new_tokens))
    }

    /// The loss of each supervised token of a batch, with or without the adapter.
    pub(crate) fn token_losses(&self, batch: &Batch, adapter: bool) -> Result<Vec<TokenLoss>> {
        with_model!(self, |model| model.token_losses(batch, adapter))
    }

    /// Where it lies, as the bench reports it: `cpu`, `cuda:0`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Cpu(_) => "cpu".to_owned(),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(held) => format!("{:?}", locked(held).device.machine),
        }
    }

    /// The most bytes of a device's memory that were in use; `None` on the processor.
    pub(crate) fn peak_device_bytes(&self) -> Result<Option<u64>> {
        match self {
            Self::Cpu(_) => Ok(None),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(held) => locked(held).device.machine.peak().map(Some),
        }
    }
}
