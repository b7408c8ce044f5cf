/// The losses of a step's micro-batches. A device adds them up by itself: to read one is to wait for all that was started
/// before it, so they are read together, behind the last.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// The processor's, each as it became known.
    pub(super) known: Vec<f64>,
    /// A device's, and how many of them were put down; room for the gradient's squares is behind them.
    #[cfg(any(test, feature = "cuda"))]
    pub(super) sums: Option<crate::device::Sums>,
    #[cfg(any(test, feature = "cuda"))]
    pub(super) count: usize,
}

/// What a step has computed before its update.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Of each micro-batch the sum over its supervised tokens.
    pub(crate) losses: Vec<f64>,
    /// Norm of the gradient, where it was asked for.
    pub(crate) norm: Option<f64>,
}

#[cfg(any(test, feature = "cuda"))]
impl Losses {
    /// Of so many micro-batches on a device.
    pub(super) fn on(device: &crate::device::Device, micro_batches: usize) -> crate::Result<Self> {
        Ok(Self {
            sums: Some(device.sums(micro_batches + 1)?),
            ..Self::default()
        })
    }

    /// Where a device adds up the next one.
    pub(super) fn next(&mut self) -> Option<(&crate::device::Sums, usize)> {
        self.count += 1;
        self.sums.as_ref().map(|sums| (sums, self.count - 1))
    }
}
