//! The kernels and the step on the emulated machine, held to the CPU's ops, to the CPU's engine and to the goldens.

mod cached;
mod goldens;
mod ops;
mod step;
mod writing;

use candle_core::Tensor;

use super::Decoder;
use super::machine::Element;
use super::rows::{Device, Rows};
use crate::Result;
use crate::model::{Batch, Weigh, named_generator, normal};

const ELEMENTS: [Element; 2] = [Element::F32, Element::Bf16];

/// The emulated machine; with `CODETUNE_TEST_DEVICE`, which tests alone read, a GPU in its place, opened once for all tests.
fn device(element: Element) -> Device {
    #[cfg(feature = "cuda")]
    if let Ok(name) = std::env::var("CODETUNE_TEST_DEVICE") {
        static OPENED: [std::sync::OnceLock<Device>; 2] = [const { std::sync::OnceLock::new() }; 2];
        let open = || super::open(crate::gpu::ordinal(&name).unwrap(), element).unwrap();
        return OPENED[usize::from(element == Element::Bf16)]
            .get_or_init(open)
            .clone();
    }
    super::emulated::device(element)
}

impl Decoder {
    /// As [`crate::model::Decoder::weighted_loss_and_gradient`].
    fn weighted_loss_and_gradient(
        &self,
        batch: &Batch,
        weigh: &mut Weigh<'_>,
        dropout: Option<u64>,
    ) -> Result<f64> {
        let sums = self.device.sums(1)?;
        self.add_gradient(batch, weigh, dropout, Some((&sums, 0)))?;
        Ok(sums.read()?[0])
    }

    /// As [`crate::model::Decoder::loss_and_gradient`].
    fn loss_and_gradient(&self, batch: &Batch, scale: f32, dropout: Option<u64>) -> Result<f64> {
        self.weighted_loss_and_gradient(batch, &mut Weigh::Evenly(scale), dropout)
    }

    /// Norm of all gradients.
    fn gradient_norm(&self) -> Result<f64> {
        let sums = self.device.sums(1)?;
        self.device
            .add_squares(&sums, 0, &self.adapters.gradients)?;
        Ok(sums.read()?[0].sqrt())
    }
}

/// A folder of the fixtures; they may have been carried elsewhere (`CODETUNE_TEST_FIXTURES`).
pub(crate) fn fixtures() -> std::path::PathBuf {
    match std::env::var("CODETUNE_TEST_FIXTURES") {
        Ok(folder) => folder.into(),
        Err(_) => std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures"),
    }
}

/// Normal numbers that the element type has, drawn by a name.
fn random(name: &str, count: usize, element: Element) -> Vec<f32> {
    let values = normal(&mut named_generator(7, name), count, 1.0);
    let rounded = |x: f32| match element {
        Element::F32 => x,
        Element::Bf16 => half::bf16::from_f32(x).to_f32(),
    };
    values.into_iter().map(rounded).collect()
}

fn tensor(values: &[f32], rows: usize, width: usize) -> Tensor {
    Tensor::from_slice(values, (rows, width), &candle_core::Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A matrix on the device whose rows lie `gap` elements apart, as a block of a wider one.
fn put(device: &Device, values: &[f32], rows: usize, width: usize, gap: usize) -> Rows {
    let all = device.activations(rows, width + gap).unwrap();
    let wide: Vec<f32> = values
        .chunks(width.max(1))
        .flat_map(|row| {
            row.iter()
                .copied()
                .chain(std::iter::repeat_n(f32::NAN, gap))
        })
        .collect();
    all.write(&wide).unwrap();
    all.columns(0, width)
}

/// What [`put`] put, or a kernel made of it.
fn get(device: &Device, rows: &Rows) -> Vec<f32> {
    device.copy(rows).unwrap().read().unwrap()
}

/// Equal within what the element type can say, relative to the largest.
fn assert_equal(what: &str, element: Element, got: &[f32], expected: &[f32]) {
    let tolerance = match element {
        Element::F32 => 1e-5,
        Element::Bf16 => 1e-2,
    };
    assert_near(what, tolerance, got, expected);
}

fn assert_near(what: &str, tolerance: f32, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= tolerance * size,
            "{what}[{i}]: {got}, expected {expected} (largest {size})"
        );
    }
}
