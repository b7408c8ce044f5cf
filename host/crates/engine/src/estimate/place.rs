use domain::{ModelDtype, RunConfig};

/// Whose memory a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// That of the process.
    Processor,
    /// A device's, whose activations have elements of so many bytes. What the process has beside it counts for nothing.
    Device {
        /// Bytes.
        element: u64,
    },
}

/// Bytes of f32 logits that a device holds at a time.
pub(crate) const DEVICE_LOGITS: usize = 256 << 20;

/// Elements of a packed matrix that a device unpacks at a time: enough for a good product, and little beside the activations
/// of a step.
pub(crate) const DEVICE_PANEL: usize = 1 << 25;

impl Place {
    /// As far as a config tells: `auto` stands for the processor.
    pub(crate) fn of(config: &RunConfig) -> Self {
        match config.model.device.starts_with("cuda") {
            true => Self::on_device(config),
            false => Self::Processor,
        }
    }

    /// A device's.
    pub(crate) fn on_device(config: &RunConfig) -> Self {
        Self::Device {
            element: match config.model.dtype {
                ModelDtype::F32 => 4,
                // f16's place is taken by bf16 there.
                ModelDtype::F16 | ModelDtype::Bf16 => 2,
            },
        }
    }
}
