use std::collections::BTreeMap;

use domain::{RunConfig, RunEvent};

use crate::distributed::Collective;
use crate::estimate::Shape;
use crate::model::{Batch, Decoder, Parameter, TokenLoss};
use crate::ops;
use crate::optim::{Optimizer, gradient_norm};
use crate::train::scoring::Questions;
use crate::{Result, StopFlag};

#[cfg(any(test, feature = "cuda"))]
use {
    super::setup::log,
    crate::Error,
    crate::device::{self, Device, Element, Moments},
    crate::estimate::Room,
    domain::{Method, ModelDtype},
    std::time::{Duration, Instant},
};

/// Where a run computes: on the processor, or on a GPU, which then has the newest adapter.
///
/// The decoder of the processor is what is saved: [`Self::pull`] brings it up to date.
pub(crate) enum Compute {
    Cpu,
    #[cfg(any(test, feature = "cuda"))]
    Device(Box<OnDevice>),
}

#[cfg(any(test, feature = "cuda"))]
pub(crate) struct OnDevice {
    decoder: device::Decoder,
    /// AdamW's, which runs there; the other optimizers run on the processor.
    moments: Option<Moments>,
    /// Updates were made there that the processor has not seen.
    ahead: bool,
    /// Operations a second of its products, once they were measured; none where there was no memory for that.
    rate: Option<Option<f64>>,
    /// When its monitor was last asked.
    watched: Option<Instant>,
}

impl Compute {
    /// Where `model.device` says; `auto` is a GPU that can do this run, else the processor, and says which.
    ///
    /// # Errors
    /// The GPU that the config names cannot be used, or cannot do what the run asks for.
    pub(crate) fn of_run(
        config: &RunConfig,
        decoder: &Decoder,
        optimizer: &Optimizer,
        local_rank: Option<usize>,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<Self> {
        #[cfg(not(any(test, feature = "cuda")))]
        {
            let _ = (config, decoder, optimizer, local_rank, emit);
            Ok(Self::Cpu)
        }
        #[cfg(any(test, feature = "cuda"))]
        on_device(config, decoder, optimizer, local_rank, emit)
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

    /// Segments of a decoder that is on a device; see [`Decoder::segment`].
    pub(crate) fn set_segment(&mut self, layers: usize) {
        match self {
            Self::Cpu => _ = layers,
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.decoder.segment = layers,
        }
    }

    /// Keeps as many layers' activations at a time as a device's memory is expected to hold; how many, in words, where
    /// that is not all.
    pub(crate) fn fit(
        &mut self,
        decoder: &Decoder,
        shape: impl FnOnce() -> Shape,
    ) -> Result<Option<String>> {
        match self {
            Self::Cpu => {
                let _ = (decoder, shape);
                Ok(None)
            }
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.fit(decoder, shape),
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

    /// As [`Decoder::loss_and_gradient`].
    pub(crate) fn loss_and_gradient(
        &self,
        decoder: &Decoder,
        batch: &Batch,
        scale: f32,
        draw: u64,
    ) -> Result<f64> {
        match self {
            Self::Cpu => decoder.loss_and_gradient(batch, scale, Some(draw)),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.decoder.loss_and_gradient(batch, scale, Some(draw)),
        }
    }

    /// As [`Decoder::token_losses`], with the adapter.
    pub(crate) fn token_losses(&self, decoder: &Decoder, batch: &Batch) -> Result<Vec<TokenLoss>> {
        match self {
            Self::Cpu => decoder.token_losses(batch, true),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => on.decoder.token_losses(batch, true),
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

    /// As [`gradient_norm`].
    pub(crate) fn gradient_norm(&self, trainable: &[&Parameter]) -> Result<f64> {
        match self {
            Self::Cpu => gradient_norm(trainable),
            #[cfg(any(test, feature = "cuda"))]
            Self::Device(on) => {
                let sum = on
                    .decoder
                    .device
                    .squared_norm(&on.decoder.adapters.gradients)?;
                Ok(sum.sqrt())
            }
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

/// How often a device's monitor is asked at most: an answer takes a millisecond or so.
#[cfg(any(test, feature = "cuda"))]
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The GPU that a device is, as it is now; `None` where the monitor does not tell, or for what is none.
#[cfg(any(test, feature = "cuda"))]
fn gpu_of(device: &Device) -> Option<crate::gpu::Gpu> {
    crate::gpu::now(crate::gpu::ordinal(&format!("{:?}", device.machine))?)
}

/// Several products are started at a time, so that the wait for the last is a small part of what is measured.
#[cfg(any(test, feature = "cuda"))]
fn product_rate(device: &Device) -> Result<f64> {
    const AT_A_TIME: usize = 8;
    // The emulated device of tests would take minutes for a large one.
    const SIDE: usize = if cfg!(test) { 64 } else { 8192 };
    let values: Vec<f32> = (0..SIDE * SIDE)
        .map(|i| (i * 31 % 17) as f32 / 17.0 - 0.45)
        .collect();
    let (a, c) = (
        device.activations(SIDE, SIDE)?,
        device.activations(SIDE, SIDE)?,
    );
    a.write(&values)?;
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let begun = std::time::Instant::now();
        for _ in 0..AT_A_TIME {
            device.product(&c, (&a, false), (&a, true), 1.0, 0.0)?;
        }
        c.rows(0, 1).read()?;
        best = best.min(begun.elapsed().as_secs_f64() / AT_A_TIME as f64);
    }
    Ok(2.0 * (SIDE as f64).powi(3) / best)
}

#[cfg(any(test, feature = "cuda"))]
fn on_device(
    config: &RunConfig,
    decoder: &Decoder,
    optimizer: &Optimizer,
    local_rank: Option<usize>,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Compute> {
    let auto = config.model.device == "auto";
    if config.model.device == "cpu" || (auto && config.train.method != Method::Lora) {
        return Ok(Compute::Cpu);
    }
    let element = match config.model.dtype {
        ModelDtype::F32 => Element::F32,
        // Ranges of bf16 suit training; f16's few numbers beyond it do not make up for a loss scale.
        ModelDtype::F16 | ModelDtype::Bf16 => Element::Bf16,
    };
    // Without a number in the config each process of a machine takes a GPU of its own.
    let ordinal = match (&*config.model.device, local_rank) {
        ("cuda" | "auto", Some(local_rank)) => local_rank,
        (device, _) => crate::gpu::ordinal(device).unwrap_or(0),
    };
    let placed = device::open(ordinal, element)
        .and_then(|device| OnDevice::place(device, decoder, optimizer));
    match placed {
        Ok(on) => {
            let device = &on.decoder.device;
            let name = gpu_of(device).map_or(String::new(), |gpu| format!(" ({})", gpu.name));
            log(emit, format!("trains on {:?}{name}", device.machine));
            Ok(Compute::Device(Box::new(on)))
        }
        Err(error @ (Error::Fields(_) | Error::DeviceMemory(_))) if auto => {
            log(emit, format!("trains on the CPU: {error}"));
            Ok(Compute::Cpu)
        }
        Err(error) => Err(error),
    }
}

#[cfg(any(test, feature = "cuda"))]
impl OnDevice {
    fn place(device: Device, decoder: &Decoder, optimizer: &Optimizer) -> Result<Self> {
        let decoder = device::Decoder::place(device, decoder)?;
        let moments = match optimizer.is_adamw() {
            true => {
                let moments = decoder.adapters.moments(&decoder.device)?;
                decoder
                    .adapters
                    .push_moments(&moments, &optimizer.states()?)?;
                Some(moments)
            }
            false => None,
        };
        Ok(Self {
            decoder,
            moments,
            ahead: false,
            rate: None,
            watched: None,
        })
    }

    fn join(&self, group: &dyn Collective, emit: &mut dyn FnMut(RunEvent)) -> Result<()> {
        let peers = self.decoder.device.machine.peers();
        let mut able = [f64::from(u8::from(peers.is_ok()))];
        group.sum(&mut able)?;
        match peers {
            Ok(peers) if able[0] == group.size() as f64 => {
                let invitation = match group.rank() {
                    0 => peers.invite()?,
                    _ => Vec::new(),
                };
                let invitation = group.broadcast(invitation)?;
                peers.join(&invitation, group.rank(), group.size())?;
            }
            Ok(_) => log(
                emit,
                "gradients go over the network: not every process has NCCL".into(),
            ),
            Err(missing) => log(emit, format!("gradients go over the network: {missing}")),
        }
        Ok(())
    }

    fn fit(&mut self, decoder: &Decoder, shape: impl FnOnce() -> Shape) -> Result<Option<String>> {
        let device = &self.decoder.device;
        let Some(free) = device.machine.free()? else {
            return Ok(None);
        };
        let element = device.element.size() as u64;
        let segment = Room { free, element }.segment(decoder, shape());
        self.decoder.segment = segment;
        let layers = decoder.blocks.len();
        Ok((segment > 0).then(|| {
            format!(
                "activations of {segment} of {layers} layers are kept at a time, by the {} MiB free on {:?}",
                free >> 20,
                self.decoder.device.machine
            )
        }))
    }

    fn figures(
        &mut self,
        operations: f64,
        seconds: f64,
        figures: &mut BTreeMap<String, f64>,
    ) -> Result<()> {
        let device = &self.decoder.device;
        let rate = *self.rate.get_or_insert_with(|| product_rate(device).ok());
        if let Some(rate) = rate.filter(|rate| *rate > 0.0 && seconds > 0.0) {
            figures.insert(
                "model_flops_utilization".into(),
                operations / seconds / rate,
            );
        }
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        let peak = gigabytes(device.machine.peak()?);
        figures.insert("device_memory_peak_gb".into(), peak);
        let due = self.watched.is_none_or(|at| at.elapsed() >= WATCH_EVERY);
        if !due {
            return Ok(());
        }
        self.watched = Some(Instant::now());
        if let Some(gpu) = gpu_of(device) {
            let used = gpu.memory_total.saturating_sub(gpu.memory_free);
            let told = [
                ("device_memory_gb", Some(gigabytes(used))),
                ("device_temperature", gpu.temperature.map(f64::from)),
                ("device_power", gpu.power),
                ("device_utilization", gpu.utilization.map(f64::from)),
            ];
            for (name, value) in told {
                figures.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        Ok(())
    }

    fn update(
        &mut self,
        optimizer: &mut Optimizer,
        trainable: &[&Parameter],
        rate: f64,
        clip: f32,
    ) -> Result<()> {
        let (adapters, device) = (&self.decoder.adapters, &self.decoder.device);
        if let Some(moments) = &self.moments
            && let Some(step) = optimizer.adamw_step(trainable, rate, clip)
        {
            self.ahead = true;
            return adapters.adamw(device, moments, &step);
        }
        adapters.pull_gradients(trainable, |parameter, values| match &parameter.grad {
            Some(grad) => overwrite(grad, values),
            None => Ok(()),
        })?;
        optimizer.step(trainable, rate, clip)?;
        adapters.push(device, trainable)
    }

    fn pull(&mut self, optimizer: &mut Optimizer, trainable: &[&Parameter]) -> Result<()> {
        if !self.ahead {
            return Ok(());
        }
        let adapters = &self.decoder.adapters;
        adapters.pull(trainable, |parameter, values| {
            overwrite(&parameter.value, values)
        })?;
        if let Some(moments) = &self.moments {
            optimizer.set_states(&adapters.pull_moments(moments)?)?;
        }
        self.ahead = false;
        Ok(())
    }
}

/// Writes values into a tensor that others share.
fn overwrite(tensor: &candle_core::Tensor, values: &[f32]) -> Result<()> {
    let row = (1, values.len());
    let values = candle_core::Tensor::from_slice(values, row, tensor.device())?;
    Ok(ops::assign(&tensor.reshape(row)?, &values)?)
}
