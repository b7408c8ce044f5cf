//! The machine of the tests: the kernels as C++, and memory and products of the processor.

use std::cell::RefCell;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::bf16;

use super::machine::{Element, Launch, Machine, Peers, Product, View};
use super::meeting::Seat;
use super::rows::Device;
use crate::{Error, Result};

/// Counts what is held, so that a test can see that all of it is given back, and can be as small as a test wants it.
#[derive(Debug, Default)]
pub(crate) struct Emulated {
    held: AtomicUsize,
    most: AtomicUsize,
    /// Bytes that it has; 0 for no end.
    limit: usize,
    reads: AtomicUsize,
    /// What it adds up with the machines of other processes.
    seat: Option<Seat>,
}

thread_local! {
    static PLUGGED: RefCell<Option<Arc<Emulated>>> = const { RefCell::new(None) };
}

/// Gives the runs of this thread a machine in a GPU's place.
pub(crate) fn plug(machine: Option<Arc<Emulated>>) {
    PLUGGED.set(machine);
}

/// The machine of [`plug`].
pub(crate) fn plugged(element: Element) -> Option<Device> {
    let machine = PLUGGED.with_borrow(Clone::clone)?;
    Some(Device { machine, element })
}

impl Emulated {
    /// One with so many bytes.
    pub(crate) fn limited(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// One that adds up with others.
    pub(crate) fn seated(seat: Seat) -> Self {
        Self {
            seat: Some(seat),
            ..Self::default()
        }
    }

    /// How often the host has waited for it.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// The most that were held at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// A device that computes on the processor.
pub(super) fn device(element: Element) -> Device {
    Device {
        machine: Arc::new(Emulated::default()),
        element,
    }
}

fn layout(bytes: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(bytes, 256).expect("a size that fits")
}

impl View {
    /// `rows` rows of `width` elements in f32, transposed where it says so.
    ///
    /// # Safety
    /// They lie in live memory.
    unsafe fn read(&self, rows: usize, width: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(rows * width);
        for row in 0..rows {
            let at = row * self.stride;
            // SAFETY: promised by the caller.
            unsafe {
                match self.element {
                    Element::F32 => {
                        let row = (self.address as *const f32).add(at);
                        out.extend_from_slice(std::slice::from_raw_parts(row, width));
                    }
                    Element::Bf16 => {
                        let row = (self.address as *const bf16).add(at);
                        let row = std::slice::from_raw_parts(row, width);
                        out.extend(row.iter().map(|x| x.to_f32()));
                    }
                }
            }
        }
        out
    }

    /// # Safety
    /// As [`Self::read`].
    unsafe fn set(&self, row: usize, column: usize, x: f32) {
        let at = row * self.stride + column;
        // SAFETY: promised by the caller.
        unsafe {
            match self.element {
                Element::F32 => *(self.address as *mut f32).add(at) = x,
                Element::Bf16 => *(self.address as *mut bf16).add(at) = bf16::from_f32(x),
            }
        }
    }
}

impl Machine for Emulated {
    fn allocate(&self, bytes: usize) -> Result<u64> {
        let held = self.held.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if self.limit > 0 && held > self.limit {
            self.held.fetch_sub(bytes, Ordering::SeqCst);
            return Err(Error::DeviceMemory(format!("{bytes} bytes are not there")));
        }
        self.most.fetch_max(held, Ordering::SeqCst);
        // SAFETY: nothing is asked for with no bytes.
        let memory = unsafe { std::alloc::alloc(layout(bytes)) };
        // Memory holds anything: not a number finds out who relies on it.
        // SAFETY: it was just allocated.
        unsafe { memory.write_bytes(0xff, bytes) };
        Ok(memory as u64)
    }

    fn release(&self, address: u64, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::SeqCst);
        // SAFETY: it was allocated with this size, and nothing runs any more.
        unsafe { std::alloc::dealloc(address as *mut u8, layout(bytes)) };
    }

    fn write(&self, to: u64, from: &[u8]) -> Result<()> {
        // SAFETY: callers write into what they allocated.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    fn read(&self, from: u64, to: &mut [u8]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn peak(&self) -> Result<u64> {
        Ok(self.most() as u64)
    }

    fn free(&self) -> Result<Option<u64>> {
        let left = self.limit.saturating_sub(self.held()) as u64;
        Ok((self.limit > 0).then_some(left))
    }

    fn zero(&self, at: u64, bytes: usize) -> Result<()> {
        // SAFETY: as above.
        unsafe { (at as *mut u8).write_bytes(0, bytes) };
        Ok(())
    }

    unsafe fn launch(&self, kernel: &Launch<'_>) -> Result<()> {
        let name = CString::new(kernel.name).expect("a name without zeros");
        let element = match kernel.element {
            Element::F32 => emulated_kernels::Element::F32,
            Element::Bf16 => emulated_kernels::Element::Bf16,
        };
        let (pointers, sizes): (Vec<_>, Vec<_>) = kernel
            .arguments
            .iter()
            .map(|(at, size)| (*at, *size as u64))
            .unzip();
        // SAFETY: promised by the caller.
        let ran = unsafe {
            emulated_kernels::launch(
                &name,
                element,
                kernel.grid,
                kernel.block,
                kernel.shared,
                &pointers,
                &sizes,
            )
        };
        match ran {
            true => Ok(()),
            false => Err(Error::Compute(format!(
                "{}: no such kernel, or not its arguments: {sizes:?}",
                kernel.name
            ))),
        }
    }

    unsafe fn product(&self, p: &Product) -> Result<()> {
        let stored = |rows, columns, transposed| match transposed {
            true => (columns, rows),
            false => (rows, columns),
        };
        // Rows and columns of a matrix as they are read, one step each.
        let steps = |width: usize, transposed: bool| match transposed {
            true => (1, width as isize),
            false => (width as isize, 1),
        };
        let (a_rows, a_width) = stored(p.m, p.k, p.a_transposed);
        let (b_rows, b_width) = stored(p.k, p.n, p.b_transposed);
        // SAFETY: promised by the caller.
        let (a, b) = unsafe { (p.a.read(a_rows, a_width), p.b.read(b_rows, b_width)) };
        let (a_row, a_column) = steps(a_width, p.a_transposed);
        let (b_row, b_column) = steps(b_width, p.b_transposed);
        let mut c = match p.beta {
            0.0 => vec![0f32; p.m * p.n],
            // SAFETY: as above.
            _ => unsafe { p.c.read(p.m, p.n) },
        };
        // SAFETY: all three are as large as their shapes say.
        unsafe {
            gemm::gemm(
                p.m,
                p.n,
                p.k,
                c.as_mut_ptr(),
                1,
                p.n as isize,
                p.beta != 0.0,
                a.as_ptr(),
                a_column,
                a_row,
                b.as_ptr(),
                b_column,
                b_row,
                p.beta,
                p.alpha,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        for (i, row) in c.chunks(p.n).enumerate() {
            for (j, x) in row.iter().enumerate() {
                // SAFETY: as above.
                unsafe { p.c.set(i, j, *x) };
            }
        }
        Ok(())
    }

    fn peers(&self) -> std::result::Result<&dyn Peers, String> {
        match &self.seat {
            Some(seat) => Ok(seat),
            None => Err(format!("{self:?} has no seat among others")),
        }
    }
}
