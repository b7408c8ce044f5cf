use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;

use super::machine::{Argument, Element, launch};
use super::rows::{Device, Rows};
use crate::model::Parameter;
use crate::{Error, Result};

/// All tensors of an adapter, and what else trains, behind one another, so that one kernel moves them all.
#[derive(Debug)]
pub(crate) struct Adapters {
    /// In f32: [1, all].
    values: Rows,
    /// The same in the element type, which products read; the values themselves where that is f32.
    shadow: Rows,
    /// In f32: [1, all].
    pub(crate) gradients: Rows,
    slots: Vec<Slot>,
    by_name: BTreeMap<String, usize>,
    /// What [`Self::derived`] made of the values as they are.
    derived: Mutex<BTreeMap<usize, (Rows, Rows)>>,
}

/// Where one tensor lies among all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    from: usize,
    rows: usize,
    width: usize,
}

/// Elements that a tensor begins at a multiple of, so that it can be read 16 bytes at a time.
const ALIGNED: usize = 64;

impl Slot {
    fn len(&self) -> usize {
        self.rows * self.width
    }

    fn of(&self, all: &Rows) -> Rows {
        all.columns(self.from, self.len())
            .reshaped(self.rows, self.width)
    }
}

/// The learning rate of one tensor, and what decay leaves of it, up to an element.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Segment {
    end: i64,
    rate: f32,
    keep: f32,
}

// SAFETY: as `struct Segment` in optimizer.cu.
unsafe impl Argument for Segment {}

/// One update of AdamW, as [`crate::optim`] means it.
#[derive(Debug, Clone)]
pub(crate) struct AdamWStep {
    /// Factor of all gradients.
    pub(crate) clip: f32,
    pub(crate) betas: [f32; 2],
    /// 1 over the root of the second moment's bias correction.
    pub(crate) inverse_root: f32,
    pub(crate) epsilon: f32,
    /// Of each tensor: its rate over the first moment's bias correction, and what decay leaves of it.
    pub(crate) rates: Vec<(f32, f32)>,
}

/// AdamW's moments on a device.
#[derive(Debug)]
pub(crate) struct Moments {
    first: Rows,
    second: Rows,
}

impl Adapters {
    /// Copies parameters to a device.
    pub(crate) fn place(device: &Device, parameters: &[&Parameter]) -> Result<Self> {
        let mut slots = Vec::with_capacity(parameters.len());
        let mut by_name = BTreeMap::new();
        let mut from = 0;
        for parameter in parameters {
            let dims = parameter.value.dims();
            let width = *dims.last().unwrap_or(&1);
            by_name.insert(parameter.name.clone(), slots.len());
            slots.push(Slot {
                from,
                rows: parameter.value.elem_count() / width.max(1),
                width,
            });
            from += parameter.value.elem_count().next_multiple_of(ALIGNED);
        }
        let values = device.zeros(1, from, Element::F32)?;
        let shadow = match device.element {
            Element::F32 => values.clone(),
            Element::Bf16 => device.zeros(1, from, device.element)?,
        };
        let adapters = Self {
            gradients: device.zeros(1, from, Element::F32)?,
            values,
            shadow,
            slots,
            by_name,
            derived: Mutex::default(),
        };
        adapters.push(device, parameters)?;
        Ok(adapters)
    }

    /// Where a parameter of this name lies, if it is among them.
    pub(crate) fn find(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).map(|index| self.slots[*index])
    }

    /// Where a parameter of this name lies.
    pub(crate) fn slot(&self, name: &str) -> Result<Slot> {
        self.find(name)
            .ok_or_else(|| Error::Compute(format!("{name} is not on the device")))
    }

    /// A tensor in the element type.
    pub(crate) fn value(&self, slot: Slot) -> Rows {
        slot.of(&self.shadow)
    }

    /// A tensor in f32: one row.
    pub(crate) fn exact(&self, slot: Slot) -> Rows {
        slot.of(&self.values)
    }

    /// Where a tensor's gradient is added up, in f32.
    pub(crate) fn gradient(&self, slot: Slot) -> Rows {
        slot.of(&self.gradients)
    }

    /// Two rows that `make` makes of the values for one tensor: made once, until a value changes. A text that is written
    /// needs them at every token.
    pub(crate) fn derived(
        &self,
        slot: Slot,
        make: impl FnOnce() -> Result<(Rows, Rows)>,
    ) -> Result<(Rows, Rows)> {
        let known = self.lock().get(&slot.from).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let made = make()?;
        self.lock().insert(slot.from, made.clone());
        Ok(made)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, (Rows, Rows)>> {
        self.derived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the parameters' values, in the order of [`Self::place`].
    pub(crate) fn push(&self, device: &Device, parameters: &[&Parameter]) -> Result<()> {
        self.write(device, parameters.iter().map(|parameter| &parameter.value))
    }

    fn write<'a>(
        &self,
        device: &Device,
        tensors: impl IntoIterator<Item = &'a Tensor>,
    ) -> Result<()> {
        self.lock().clear();
        let mut all = vec![0f32; self.values.width];
        for (tensor, slot) in tensors.into_iter().zip(&self.slots) {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            all[slot.from..slot.from + slot.len()].copy_from_slice(&values);
        }
        self.values.write(&all)?;
        self.narrow(device)
    }

    /// Brings the shadow up to date.
    fn narrow(&self, device: &Device) -> Result<()> {
        match device.element {
            Element::F32 => Ok(()),
            Element::Bf16 => device.narrow(&self.shadow, &self.values),
        }
    }

    /// Does `f` with other values, in the order of [`Self::place`], and puts those of before back.
    pub(crate) fn with_values<R>(
        &self,
        device: &Device,
        values: &[Tensor],
        f: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        let before = device.copy(&self.values)?;
        self.write(device, values)?;
        let done = f();
        self.lock().clear();
        device.place(&self.values, &before)?;
        self.narrow(device)?;
        done
    }

    /// Calls `f` with each parameter and its values, in f32.
    pub(crate) fn pull(
        &self,
        parameters: &[&Parameter],
        f: impl FnMut(&Parameter, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.each(&self.values, parameters, f)
    }

    /// Calls `f` with each parameter and its gradient, in f32.
    pub(crate) fn pull_gradients(
        &self,
        parameters: &[&Parameter],
        f: impl FnMut(&Parameter, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.each(&self.gradients, parameters, f)
    }

    /// Has `f` change all gradients, which lie one behind the other without gaps, as the processor has them.
    pub(crate) fn change_gradients(&self, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
        let mut all = self.gradients.read()?;
        let places = || {
            self.slots
                .iter()
                .map(|slot| slot.from..slot.from + slot.len())
        };
        let mut dense: Vec<f32> = places().flat_map(|place| all[place].to_vec()).collect();
        f(&mut dense)?;
        let mut rest = dense.as_slice();
        for place in places() {
            let (own, later) = rest.split_at(place.len());
            all[place].copy_from_slice(own);
            rest = later;
        }
        self.gradients.write(&all)
    }

    fn each(
        &self,
        all: &Rows,
        parameters: &[&Parameter],
        mut f: impl FnMut(&Parameter, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let all = all.read()?;
        for (parameter, slot) in parameters.iter().zip(&self.slots) {
            f(parameter, &all[slot.from..slot.from + slot.len()])?;
        }
        Ok(())
    }

    /// Moments that have seen nothing.
    pub(crate) fn moments(&self, device: &Device) -> Result<Moments> {
        let zeros = || device.zeros(1, self.values.width, Element::F32);
        Ok(Moments {
            first: zeros()?,
            second: zeros()?,
        })
    }

    /// Writes moments of each tensor in turn: the first and the second behind one another.
    pub(crate) fn push_moments(&self, moments: &Moments, states: &[Vec<f32>]) -> Result<()> {
        let mut all = [vec![0f32; self.values.width], vec![0f32; self.values.width]];
        for (state, slot) in states.iter().zip(&self.slots) {
            for (all, half) in all.iter_mut().zip(state.chunks_exact(slot.len().max(1))) {
                all[slot.from..slot.from + slot.len()].copy_from_slice(half);
            }
        }
        moments.first.write(&all[0])?;
        moments.second.write(&all[1])
    }

    /// As [`Self::push_moments`] takes them.
    pub(crate) fn pull_moments(&self, moments: &Moments) -> Result<Vec<Vec<f32>>> {
        let (first, second) = (moments.first.read()?, moments.second.read()?);
        let of = |slot: &Slot| {
            let range = slot.from..slot.from + slot.len();
            [&first[range.clone()], &second[range]].concat()
        };
        Ok(self.slots.iter().map(of).collect())
    }

    /// Moves every tensor against its gradient.
    pub(crate) fn adamw(&self, device: &Device, moments: &Moments, step: &AdamWStep) -> Result<()> {
        if self.slots.is_empty() {
            return Ok(());
        }
        self.lock().clear();
        let ends = self.slots.iter().skip(1).map(|slot| slot.from);
        let ends = ends.chain([self.values.width]);
        let segments: Vec<u8> = ends
            .zip(&step.rates)
            .flat_map(|(end, (rate, keep))| {
                let mut bytes = (end as i64).to_ne_bytes().to_vec();
                bytes.extend(rate.to_ne_bytes());
                bytes.extend(keep.to_ne_bytes());
                bytes
            })
            .collect();
        let count = segments.len() / size_of::<Segment>();
        let segments = device.bytes(&segments)?;
        let blocks = self.values.width.div_ceil(256).clamp(1, 1 << 14) as u32;
        launch!(
            device,
            "adamw",
            device.element,
            [blocks, 1],
            256,
            0,
            [
                self.values.address,
                self.shadow.address,
                self.gradients.address,
                moments.first.address,
                moments.second.address,
                segments.address(),
                count as i32,
                self.values.width as i64,
                step.clip,
                step.betas[0],
                step.betas[1],
                step.inverse_root,
                step.epsilon,
            ]
        )
    }
}
