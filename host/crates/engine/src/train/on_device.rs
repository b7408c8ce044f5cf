//! A run's computing on a GPU: where it is placed, what it tells, and how the adapter comes and goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::{ModelDtype, RunConfig, RunEvent};

use super::compute::{Chosen, Compute, overwrite, too_small};
use super::losses::{Losses, Measured};
use super::setup::log;
use crate::device::{self, Device, Element, Moments};
use crate::distributed::Collective;
use crate::estimate::{Place, Room, Shape};
use crate::model::{Decoder, Parameter};
use crate::optim::Optimizer;
use crate::{Error, Result};

/// A model that was placed on a device, and AdamW's state there.
pub(crate) struct OnDevice {
    pub(super) decoder: device::Decoder,
    /// AdamW's, which runs there; the other optimizers run on the processor.
    moments: Option<Moments>,
    /// Updates were made there that the processor has not seen.
    ahead: bool,
    /// Operations a second of its products, once they were measured; none where there was no memory for that.
    rate: Option<Option<f64>>,
    /// When its monitor was last asked.
    watched: Option<Instant>,
}

/// How often a device's monitor is asked at most: an answer takes a millisecond or so.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The GPU that a device is, as it is now; `None` where the monitor does not tell, or for what is none.
fn gpu_of(device: &Device) -> Option<crate::gpu::Gpu> {
    crate::gpu::now(crate::gpu::ordinal(&format!("{:?}", device.machine))?)
}

/// Several products are started at a time, so that the wait for the last is a small part of what is measured.
pub(super) fn product_rate(device: &Device) -> Result<f64> {
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

/// As [`Chosen::of_run`].
pub(super) fn chosen(config: &RunConfig, local_rank: Option<usize>) -> Result<Chosen> {
    let without = |without| Chosen {
        place: Place::Processor,
        device: None,
        without,
    };
    if config.model.device == "cpu" {
        return Ok(without(None));
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
    match device::open(ordinal, element) {
        Ok(device) => Ok(Chosen {
            place: Place::on_device(config),
            device: Some(device),
            without: None,
        }),
        Err(error) if config.model.device == "auto" && is_of_the_gpu(&error) => {
            Ok(without(Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// Whether a fault is that of a GPU that is missing, or too small.
fn is_of_the_gpu(error: &Error) -> bool {
    matches!(error, Error::Fields(_) | Error::DeviceMemory(_))
}

/// As [`Compute::of_run`].
pub(super) fn on_device(
    config: &RunConfig,
    decoder: &Decoder,
    optimizer: &Optimizer,
    chosen: Chosen,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Compute> {
    let Some(device) = chosen.device else {
        let why = chosen.without.into_iter();
        why.for_each(|why| log(emit, format!("trains on the CPU: {why}")));
        return Ok(Compute::Cpu);
    };
    match OnDevice::place(device, decoder, optimizer) {
        Ok(on) => {
            let device = &on.decoder.device;
            let name = gpu_of(device).map_or(String::new(), |gpu| format!(" ({})", gpu.name));
            log(emit, format!("trains on {:?}{name}", device.machine));
            Ok(Compute::Device(Box::new(on)))
        }
        Err(error) if config.model.device == "auto" && is_of_the_gpu(&error) => {
            log(emit, format!("trains on the CPU: {error}"));
            Ok(Compute::Cpu)
        }
        Err(error) => Err(too_small(error)),
    }
}

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

    /// As [`Compute::join`].
    pub(super) fn join(
        &self,
        group: &dyn Collective,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<()> {
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
                let (rank, size) = (group.rank(), group.size());
                peers.join(&invitation, rank, size, &mut || group.look())?;
            }
            Ok(_) => log(
                emit,
                "gradients go over the network: not every process has NCCL".into(),
            ),
            Err(missing) => log(emit, format!("gradients go over the network: {missing}")),
        }
        Ok(())
    }

    /// As [`Compute::fit`].
    pub(super) fn fit(
        &mut self,
        decoder: &Decoder,
        limit: Option<u64>,
        planned: usize,
        shape: impl FnOnce() -> Shape,
    ) -> Result<Option<String>> {
        self.decoder.segment = planned;
        let device = &self.decoder.device;
        let free = device.machine.free()?;
        // What was placed is all that was held until now.
        let under_limit = match limit {
            Some(limit) => Some(limit.saturating_sub(device.machine.peak()?)),
            None => None,
        };
        let Some(free) = free.into_iter().chain(under_limit).min() else {
            return Ok(None);
        };
        let element = device.element.size() as u64;
        let segment = Room { free, element }.segment(decoder, shape());
        if segment == 0 || (planned > 0 && segment >= planned) {
            return Ok(None);
        }
        self.decoder.segment = segment;
        let layers = decoder.blocks.len();
        Ok(Some({
            format!(
                "activations of {segment} of {layers} layers are kept at a time, by the {} MiB free on {:?}",
                free >> 20,
                self.decoder.device.machine
            )
        }))
    }

    /// As [`Compute::figures`].
    pub(super) fn figures(
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

    /// As [`Compute::measured`]; the gradient's sum of squares goes behind the losses.
    pub(super) fn measured(&self, losses: Losses, with_norm: bool) -> Result<Measured> {
        let Some(sums) = losses.sums else {
            return Ok(Measured {
                losses: losses.known,
                norm: None,
            });
        };
        if with_norm {
            let gradients = &self.decoder.adapters.gradients;
            self.decoder
                .device
                .add_squares(&sums, losses.count, gradients)?;
        }
        let read = sums.read()?;
        let squares = read.get(losses.count).filter(|_| with_norm);
        Ok(Measured {
            losses: read[..losses.count].to_vec(),
            norm: squares.map(|sum| sum.sqrt()),
        })
    }

    /// As [`Compute::update`].
    pub(super) fn update(
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

    /// As [`Compute::pull`].
    pub(super) fn pull(
        &mut self,
        optimizer: &mut Optimizer,
        trainable: &[&Parameter],
    ) -> Result<()> {
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
