use super::super::machine::{Element, launch};
use super::super::rows::{Bytes, Device, Rows};
use super::{BLOCK, fits};
use crate::Result;

/// Numbers in f64 that a device adds up, so that the host need not wait for each: it reads all at once.
#[derive(Debug)]
pub(crate) struct Sums {
    numbers: Bytes,
    count: usize,
}

impl Sums {
    /// All of them, once all before is done.
    pub(crate) fn read(&self) -> Result<Vec<f64>> {
        let bytes = self.numbers.read(self.count * size_of::<f64>())?;
        let numbers = bytes.as_chunks::<8>().0.iter();
        Ok(numbers.map(|x| f64::from_ne_bytes(*x)).collect())
    }
}

impl Device {
    /// So many sums of nothing.
    pub(crate) fn sums(&self, count: usize) -> Result<Sums> {
        let numbers = self.bytes(&vec![0; count * size_of::<f64>()])?;
        Ok(Sums { numbers, count })
    }

    /// Adds the first of every `step` f32 values of `x` to one of the sums, always in the same order.
    pub(crate) fn add_up(&self, sums: &Sums, at: usize, x: &Rows, step: usize) -> Result<()> {
        let fit = x.element == Element::F32 && x.is_whole() && x.len().is_multiple_of(step);
        fits("sums", fit && at < sums.count)?;
        launch!(
            self,
            "add_up",
            self.element,
            [1, 1],
            BLOCK,
            0,
            [
                sums.numbers.address() + (at * size_of::<f64>()) as u64,
                x.address,
                step as i64,
                (x.len() / step) as i64,
            ]
        )
    }
}
