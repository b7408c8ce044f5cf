use std::sync::Arc;

use half::bf16;
use half::slice::HalfFloatSliceExt;

use super::machine::{Element, Machine, Product, View};
use crate::{Error, Result};

/// A machine, and the type of the activations on it.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) element: Element,
}

/// Memory of a machine; given back when nothing refers to it.
#[derive(Debug)]
struct Memory {
    machine: Arc<dyn Machine>,
    address: u64,
    bytes: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.machine.release(self.address, self.bytes);
    }
}

/// A matrix in a machine's memory, or a block of another's rows and columns. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    memory: Arc<Memory>,
    pub(crate) address: u64,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    /// Elements from one row to the next.
    pub(crate) stride: usize,
    pub(crate) element: Element,
}

/// Plain bytes in a machine's memory: ids, tiles, packed weights.
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    memory: Arc<Memory>,
}

impl Bytes {
    pub(crate) fn address(&self) -> u64 {
        self.memory.address
    }

    /// The first `len` of them, once all before is done.
    pub(crate) fn read(&self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0u8; len];
        self.memory.machine.read(self.memory.address, &mut bytes)?;
        Ok(bytes)
    }
}

impl Rows {
    /// `len` rows, from row `from` on.
    pub(crate) fn rows(&self, from: usize, len: usize) -> Self {
        assert!(
            from + len <= self.rows,
            "rows {from}..{} of {self:?}",
            from + len
        );
        Self {
            address: self.address + (from * self.stride * self.element.size()) as u64,
            rows: len,
            ..self.clone()
        }
    }

    /// `len` columns, from column `from` on.
    pub(crate) fn columns(&self, from: usize, len: usize) -> Self {
        assert!(
            from + len <= self.width,
            "columns {from}..{} of {self:?}",
            from + len
        );
        Self {
            address: self.address + (from * self.element.size()) as u64,
            width: len,
            ..self.clone()
        }
    }

    /// The same elements in rows of another width.
    pub(crate) fn reshaped(&self, rows: usize, width: usize) -> Self {
        assert!(
            self.is_whole() && rows * width == self.len(),
            "{rows} x {width} of {self:?}"
        );
        Self {
            rows,
            width,
            stride: width,
            ..self.clone()
        }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.rows * self.width
    }

    /// Whether the rows lie behind one another without a gap.
    pub(crate) fn is_whole(&self) -> bool {
        self.stride == self.width || self.rows <= 1
    }

    pub(crate) fn view(&self) -> View {
        View {
            address: self.address,
            stride: self.stride,
            element: self.element,
        }
    }

    /// Its values in f32, row by row, once all before is done.
    pub(crate) fn read(&self) -> Result<Vec<f32>> {
        assert!(self.is_whole(), "{self:?}");
        let mut bytes = vec![0u8; self.len() * self.element.size()];
        self.memory.machine.read(self.address, &mut bytes)?;
        Ok(match self.element {
            Element::F32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|x| f32::from_ne_bytes(*x))
                .collect(),
            Element::Bf16 => bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|x| bf16::from_ne_bytes(*x).to_f32())
                .collect(),
        })
    }

    /// Overwrites it with values in f32, row by row.
    pub(crate) fn write(&self, values: &[f32]) -> Result<()> {
        match self.element {
            Element::F32 => self.write_plain(values),
            Element::Bf16 => {
                let mut rounded = vec![bf16::ZERO; values.len()];
                rounded.convert_from_f32_slice(values);
                self.write_plain(&rounded)
            }
        }
    }

    /// Overwrites one in bf16 with values, row by row.
    pub(crate) fn write_bf16(&self, values: &[bf16]) -> Result<()> {
        assert_eq!(self.element, Element::Bf16, "{self:?}");
        self.write_plain(values)
    }

    /// Overwrites it with f32 or bf16 values, whichever it holds.
    fn write_plain<E>(&self, values: &[E]) -> Result<()> {
        assert!(self.is_whole() && values.len() == self.len(), "{self:?}");
        assert_eq!(size_of::<E>(), self.element.size(), "{self:?}");
        // SAFETY: neither type has gaps, and any byte may be read.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        self.memory.machine.write(self.address, bytes)
    }

    /// Fills it with zeros.
    pub(crate) fn zero(&self) -> Result<()> {
        assert!(self.is_whole(), "{self:?}");
        let bytes = self.len() * self.element.size();
        self.memory.machine.zero(self.address, bytes)
    }
}

impl Device {
    fn memory(&self, bytes: usize) -> Result<Arc<Memory>> {
        // A matrix of no elements has an address too.
        let bytes = bytes.max(16);
        Ok(Arc::new(Memory {
            address: self.machine.allocate(bytes)?,
            machine: self.machine.clone(),
            bytes,
        }))
    }

    /// A matrix that holds anything.
    pub(crate) fn unwritten(&self, rows: usize, width: usize, element: Element) -> Result<Rows> {
        let memory = self.memory(rows * width * element.size())?;
        Ok(Rows {
            address: memory.address,
            memory,
            rows,
            width,
            stride: width,
            element,
        })
    }

    /// As [`Self::unwritten`], with rows that begin at multiples of 16 bytes whatever their width, so that they are read that
    /// much at a time.
    pub(crate) fn unwritten_apart(
        &self,
        rows: usize,
        width: usize,
        element: Element,
    ) -> Result<Rows> {
        let stride = width.next_multiple_of(16 / Element::Bf16.size());
        Ok(self.unwritten(rows, stride, element)?.columns(0, width))
    }

    /// A matrix of activations that holds anything.
    pub(crate) fn activations(&self, rows: usize, width: usize) -> Result<Rows> {
        self.unwritten(rows, width, self.element)
    }

    /// A matrix of zeros.
    pub(crate) fn zeros(&self, rows: usize, width: usize, element: Element) -> Result<Rows> {
        let rows = self.unwritten(rows, width, element)?;
        rows.zero()?;
        Ok(rows)
    }

    /// A row of f32.
    pub(crate) fn floats(&self, values: &[f32]) -> Result<Rows> {
        let row = self.unwritten(1, values.len(), Element::F32)?;
        row.write(values)?;
        Ok(row)
    }

    /// A copy of bytes.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<Bytes> {
        let memory = self.memory(bytes.len())?;
        if !bytes.is_empty() {
            self.machine.write(memory.address, bytes)?;
        }
        Ok(Bytes { memory })
    }

    /// A copy of ids.
    pub(crate) fn ids(&self, ids: &[u32]) -> Result<Bytes> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
        self.bytes(&bytes)
    }

    /// `c = alpha · a · b + beta · c`; `a` and `b` are read transposed where it says so.
    pub(crate) fn product(
        &self,
        c: &Rows,
        (a, a_transposed): (&Rows, bool),
        (b, b_transposed): (&Rows, bool),
        alpha: f32,
        beta: f32,
    ) -> Result<()> {
        let turned = |x: &Rows, turn: bool| {
            if turn {
                (x.width, x.rows)
            } else {
                (x.rows, x.width)
            }
        };
        let ((m, k), (k_of_b, n)) = (turned(a, a_transposed), turned(b, b_transposed));
        if (m, n) != (c.rows, c.width) || k != k_of_b {
            return Err(Error::Compute(format!(
                "a product of {m} x {k} and {k_of_b} x {n} into {} x {}",
                c.rows, c.width
            )));
        }
        if m == 0 || n == 0 {
            return Ok(());
        }
        let product = Product {
            m,
            n,
            k,
            a: a.view(),
            a_transposed,
            b: b.view(),
            b_transposed,
            c: c.view(),
            alpha,
            beta,
        };
        // SAFETY: the shapes were checked, and the views keep their memory alive.
        unsafe { self.machine.product(&product) }
    }
}
