use std::collections::BTreeMap;

use candle_core::Tensor;
use domain::{RunConfig, RunEvent};

use crate::distributed::Collective;
use crate::estimate::{Place, Shape};
use crate::model::{Batch, Decoder, Parameter, TokenLoss, Weigh};
use crate::ops;
use crate::optim::{Optimizer, gradient_norm};
use crate::train::scoring::Questions;
use crate::{Error, Result, StopFlag};

use super::losses::{Losses, Measured};
#[cfg(any(test, feature = "cuda"))]
use super::on_device::{OnDevice, chosen, on_device, product_rate};

/// Where a run computes: on the processor, or on a GPU, which then has the newest adapter.
///
/// The decoder of the processor is what is saved: [`Self::pull`] brings it up to date.
pub(crate) enum Compute {
    Cpu,
    #[cfg(any(test, feature = "cuda"))]
    Device(Box<OnDevice>),
}

/// Where a run is to compute, chosen before anything of it is loaded.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) place: Place,
    #[cfg(any(test, feature = "cuda"))]
    pub(super) device: Option<crate::device::Device>,
    /// Why a run that leaves the choice has no GPU.
    #[cfg(any(test, feature = "cuda"))]
    pub(super) without: Option<String>,
}

impl Chosen {
    /// Where `model.device` says; `auto` is a GPU where one can be used, else the processor.
    ///
    /// # Errors
    /// The GPU that the config names cannot be used.
    pub(crate) fn of_run(config: &RunConfig, local_rank: Option<usize>) -> Result<Self> {
        #[cfg(not(any(test, feature = "cuda")))]
        {
            let _ = (config, local_rank);
            Ok(Self {
                place: Place::Processor,
            })
        }
        #[cfg(any(test, feature = "cuda"))]
        chosen(config, local_rank)
    }
}

impl Compute {
    /// Brings a run to where it was chosen to compute; what leaves the choice to us stays on the processor where it does not
    /// fit on the GPU. Says where it is.
    ///
    /// # Errors
    /// The GPU cannot do what the run asks for, or has too little memory.
    pub(crate) fn of_run(
        config: &RunConfig,
        decoder: &Decoder,
        optimizer: &Optimizer,
        chosen: Chosen,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<Self> {
        #[cfg(not(any(test, feature = "cuda")))]
        {
            let _ = (config, decoder, optimizer, chosen, emit);
            Ok(Self::Cpu)
        }
        #[cfg(any(test, feature = "cuda"))]
        on_device(config, decoder, optimizer, chosen, emit)
    }

    /// Whether it is the processor.
    pub(crate) fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// Where, as the bench reports it: `cpu`, `cuda:0`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => format!("{:?}", on.decoder.device.machine),
        }
    }

    /// The most bytes of a device's memory that were in use; `None` on the processor.
    pub(crate) fn peak_device_bytes(&self) -> Result<Option<u64>> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.decoder.device.machine.peak().map(Some),
        }
    }

    /// Operations a second of large products in the element type of a device; `None` on the processor.
    pub(crate) fn product_rate(&self) -> Result<Option<f64>> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => product_rate(&on.decoder.device).map(Some),
        }
    }

    /// Adds what there is to tell of a device after a step of so many operations that took so long.
    pub(crate) fn figures(
        &mut self,
        operations: f64,
        seconds: f64,
        figures: &mut BTreeMap<String, f64>,
    ) -> Result<()> {
        match self {
            Self::Cpu => {
                let _ = (operations, seconds, figures);
                Ok(())
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.figures(operations, seconds, figures),
        }
    }

    /// Keeps as many layers' activations at a time as a device's memory, or a limit below it, is expected to hold, and no more
    /// than `planned` (0: all); how many, in words, where they are fewer.
    pub(crate) fn fit(
        &mut self,
        decoder: &Decoder,
        limit: Option<u64>,
        planned: usize,
        shape: impl FnOnce() -> Shape,
    ) -> Result<Option<String>> {
        match self {
            Self::Cpu => {
                let _ = (decoder, limit, planned, shape);
                Ok(None)
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.fit(decoder, limit, planned, shape),
        }
    }

    /// Keeps fewer activations after a device's memory was full; how, in words, or `None` where it keeps one layer's already.
    pub(crate) fn keep_less(&mut self, decoder: &Decoder) -> Option<String> {
        match self {
            Self::Cpu => _ = decoder,
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => {
                let layers = decoder.blocks.len();
                let segment = match on.decoder.segment {
                    0 => layers,
                    segment => segment,
                };
                if segment > 1 {
                    on.decoder.segment = segment.div_ceil(2);
                    let kept = on.decoder.segment;
                    return Some(format!(
                        "activations of {kept} of {layers} layers are kept at a time"
                    ));
                }
            }
        }
        None
    }

    /// Forgets all gradients.
    pub(crate) fn zero(&self, trainable: &[&Parameter]) -> Result<()> {
        match self {
            Self::Cpu => {
                let gradients = trainable
                    .iter()
                    .filter_map(|parameter| parameter.grad.as_ref());
                gradients
                    .into_iter()
                    .try_for_each(|grad| Ok(ops::zero(grad)?))
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.decoder.adapters.gradients.zero(),
        }
    }

    /// Has the GPUs of several processes add up gradients among themselves, where all of them can.
    pub(crate) fn join(
        &self,
        group: &dyn Collective,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<()> {
        match self {
            Self::Cpu => {
                let _ = emit;
                group.sum(&mut [0.0])
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.join(group, emit),
        }
    }

    /// Adds up the gradients of all processes, in one piece.
    pub(crate) fn sum_gradients(
        &self,
        trainable: &[&Parameter],
        group: &dyn Collective,
    ) -> Result<()> {
        if group.size() == 1 {
            return Ok(());
        }
        match self {
            Self::Cpu => {
                let gradients = || trainable.iter().filter_map(|one| one.grad.as_ref());
                let mut bucket = Vec::new();
                for gradient in gradients() {
                    bucket.extend(gradient.flatten_all()?.to_vec1::<f32>()?);
                }
                group.sum_all(&mut bucket)?;
                let mut rest = bucket.as_slice();
                for gradient in gradients() {
                    let (own, later) = rest.split_at(gradient.elem_count());
                    overwrite(gradient, own)?;
                    rest = later;
                }
                Ok(())
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.decoder.sum_gradients(group),
        }
    }

    /// Where the losses of so many micro-batches are put down.
    pub(crate) fn losses(&self, micro_batches: usize) -> Result<Losses> {
        match self {
            Self::Cpu => {
                let _ = micro_batches;
                Ok(Losses::default())
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => Losses::on(&on.decoder.device, micro_batches),
        }
    }

    /// As [`Decoder::loss_and_gradient`], with the loss put down behind those of before.
    pub(crate) fn loss_and_gradient(
        &self,
        decoder: &Decoder,
        batch: &Batch,
        scale: f32,
        draw: u64,
        losses: &mut Losses,
    ) -> Result<()> {
        match self {
            Self::Cpu => {
                let loss = decoder.loss_and_gradient(batch, scale, Some(draw))?;
                losses.known.push(loss);
                Ok(())
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => {
                let (weigh, on) = (&mut Weigh::Evenly(scale), &on.decoder);
                on.add_gradient(batch, weigh, Some(draw), losses.next())
            }
        }
    }

    /// The losses that were put down, and the gradient's norm of what trains where that is given: a device is waited for once.
    pub(crate) fn measured(
        &self,
        losses: Losses,
        trainable: Option<&[&Parameter]>,
    ) -> Result<Measured> {
        match self {
            Self::Cpu => Ok(Measured {
                losses: losses.known,
                norm: trainable.map(gradient_norm).transpose()?,
            }),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.measured(losses, trainable.is_some()),
        }
    }

    /// Adds the gradient of [`Decoder::weighted_loss_and_gradient`].
    pub(crate) fn weighted_gradient(
        &self,
        decoder: &Decoder,
        batch: &Batch,
        weigh: &mut Weigh<'_>,
        draw: u64,
    ) -> Result<()> {
        match self {
            Self::Cpu => decoder
                .weighted_loss_and_gradient(batch, weigh, Some(draw))
                .map(drop),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.decoder.add_gradient(batch, weigh, Some(draw), None),
        }
    }

    /// As [`Decoder::token_losses`].
    pub(crate) fn token_losses(
        &self,
        decoder: &Decoder,
        batch: &Batch,
        adapter: bool,
    ) -> Result<Vec<TokenLoss>> {
        match self {
            Self::Cpu => decoder.token_losses(batch, adapter),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.decoder.token_losses(batch, adapter),
        }
    }

    /// Losses with other values in the place of all that trains, which comes back unchanged.
    pub(crate) fn token_losses_with(
        &self,
        values: &[Tensor],
        decoder: &Decoder,
        batch: &Batch,
    ) -> Result<Vec<TokenLoss>> {
        match self {
            Self::Cpu => {
                let trainable = decoder.trainable();
                let before = trainable
                    .iter()
                    .map(|parameter| Ok(ops::copy(&parameter.value)?))
                    .collect::<Result<Vec<_>>>()?;
                let put = |values: &[Tensor]| {
                    let mut both = trainable.iter().zip(values);
                    both.try_for_each(|(parameter, value)| {
                        let flat = (1, value.elem_count());
                        let value = value.reshape(flat)?;
                        Ok::<_, crate::Error>(ops::assign(&parameter.value.reshape(flat)?, &value)?)
                    })
                };
                put(values)?;
                let found = decoder.token_losses(batch, true);
                put(&before)?;
                found
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => {
                let (adapters, device) = (&on.decoder.adapters, &on.decoder.device);
                let losses = || on.decoder.token_losses(batch, true);
                adapters.with_values(device, values, losses)
            }
        }
    }

    /// As [`Questions::answered`], by the newest adapter.
    pub(crate) fn answers(
        &self,
        decoder: &Decoder,
        questions: &Questions,
        stop: &StopFlag,
    ) -> Result<Option<Vec<String>>> {
        match self {
            Self::Cpu => questions.answered(decoder, stop),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => questions.answered(&on.decoder, stop),
        }
    }

    /// As [`Optimizer::step`].
    pub(crate) fn update(
        &mut self,
        optimizer: &mut Optimizer,
        trainable: &[&Parameter],
        rate: f64,
        clip: f32,
    ) -> Result<()> {
        match self {
            Self::Cpu => optimizer.step(trainable, rate, clip),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.update(optimizer, trainable, rate, clip),
        }
    }

    /// Brings the processor's adapter and optimizer up to date.
    pub(crate) fn pull(
        &mut self,
        optimizer: &mut Optimizer,
        trainable: &[&Parameter],
    ) -> Result<()> {
        match self {
            Self::Cpu => {
                let _ = (optimizer, trainable);
                Ok(())
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.pull(optimizer, trainable),
        }
    }
}

/// A full memory for which nothing can be made smaller any more, with what to do.
pub(super) fn too_small(error: Error) -> Error {
    match error {
        Error::DeviceMemory(full) => Error::DeviceMemory(format!(
            "{full}. Lower data.max_seq_length, set model.quantize or take another GPU (model.device); nvidia-smi lists the \
             processes that hold memory there"
        )),
        other => other,
    }
}

/// Writes values into a tensor that others share.
pub(super) fn overwrite(tensor: &Tensor, values: &[f32]) -> Result<()> {
    let row = (1, values.len());
    let values = Tensor::from_slice(values, row, tensor.device())?;
    Ok(ops::assign(&tensor.reshape(row)?, &values)?)
}
