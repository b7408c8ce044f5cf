use std::ffi::c_void;
use std::fmt::Debug;

use crate::Result;

/// What the elements of activations and weights on a device are. Sums, statistics, adapters and their gradients are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F32,
    Bf16,
}

impl Element {
    /// Bytes of one.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// The seam between the training step and what runs it: memory, kernels by name, products of matrices.
///
/// Everything happens in the order of the calls, but only [`Machine::read`] waits for it. Addresses are the machine's own.
pub(crate) trait Machine: Debug + Send + Sync {
    /// Memory that holds anything, at an address that is a multiple of 256.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// Gives memory of [`Self::allocate`] back. What was started before may still use it.
    fn release(&self, address: u64, bytes: usize);

    /// Copies from the host.
    fn write(&self, to: u64, from: &[u8]) -> Result<()>;

    /// Copies to the host, once all before is done.
    fn read(&self, from: u64, to: &mut [u8]) -> Result<()>;

    /// The most bytes that were in use at a time.
    fn peak(&self) -> Result<u64>;

    /// Bytes that can still be allocated; `None` where there is no end to them.
    fn free(&self) -> Result<Option<u64>>;

    /// Fills with zero bytes.
    fn zero(&self, at: u64, bytes: usize) -> Result<()>;

    /// Starts a kernel of `host/crates/engine/kernels`.
    ///
    /// # Safety
    /// The arguments are the kernel's, and the memory that they name is live and large enough.
    unsafe fn launch(&self, kernel: &Launch<'_>) -> Result<()>;

    /// Starts a product of matrices.
    ///
    /// # Safety
    /// The matrices lie in live memory, and the output in none of the inputs'.
    unsafe fn product(&self, product: &Product) -> Result<()>;

    /// What adds up memory over the machines of several processes, or why there is nothing such.
    fn peers(&self) -> std::result::Result<&dyn Peers, String> {
        Err(format!("{self:?} reaches no other process's memory"))
    }
}

/// A machine that reaches those of other processes.
pub(crate) trait Peers {
    /// What process 0 hands to all for [`Self::join`].
    fn invite(&self) -> Result<Vec<u8>>;

    /// Meets the machines of all processes; returns once all are there. Fails as soon as `look` does, which is asked again and
    /// again, or where they do not come in time.
    fn join(
        &self,
        invitation: &[u8],
        rank: usize,
        size: usize,
        look: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()>;

    /// Whether [`Self::join`] was done.
    fn joined(&self) -> bool;

    /// Puts the sums over all machines in the place of `len` f32 values, and waits for that. Fails as [`Self::join`] does,
    /// and then gives up a sum that waits for a process that is gone.
    ///
    /// # Safety
    /// They lie in live memory, and every machine does the same with as many.
    unsafe fn sum(&self, at: u64, len: usize, look: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}

/// One start of a kernel.
pub(crate) struct Launch<'a> {
    /// Its name without the element's ending.
    pub(crate) name: &'static str,
    pub(crate) element: Element,
    /// Blocks.
    pub(crate) grid: [u32; 2],
    /// Threads of a block.
    pub(crate) block: u32,
    /// Bytes of shared memory beside what the kernel declares.
    pub(crate) shared: usize,
    /// Where each argument lies, and its bytes.
    pub(crate) arguments: &'a [(*mut c_void, usize)],
}

/// A matrix in the machine's memory, row by row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) address: u64,
    /// Elements from one row to the next.
    pub(crate) stride: usize,
    pub(crate) element: Element,
}

/// `c = alpha · a · b + beta · c` with sums in f32; `a` [m, k] and `b` [k, n] are read transposed where it says so. With
/// `beta` 0 whatever `c` [m, n] held is not read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: View,
    /// `a` is stored as [k, m].
    pub(crate) a_transposed: bool,
    pub(crate) b: View,
    /// `b` is stored as [n, k].
    pub(crate) b_transposed: bool,
    pub(crate) c: View,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
}

/// What a kernel can be given: plain numbers and structs of them, laid out as in C.
///
/// # Safety
/// The type has C's layout, and the kernels declare it so.
pub(crate) unsafe trait Argument: Copy {}

// SAFETY: plain numbers; u64 stands for a pointer too.
unsafe impl Argument for u64 {}
// SAFETY: as above.
unsafe impl Argument for i64 {}
// SAFETY: as above.
unsafe impl Argument for u32 {}
// SAFETY: as above.
unsafe impl Argument for i32 {}
// SAFETY: as above.
unsafe impl Argument for f32 {}

/// Where an argument lies, and its bytes.
pub(crate) fn argument<A: Argument>(value: &mut A) -> (*mut c_void, usize) {
    (std::ptr::from_mut(value).cast(), size_of::<A>())
}

/// Starts a kernel with arguments of the kernel's types, in its order.
macro_rules! launch {
    ($device:expr, $name:literal, $element:expr, $grid:expr, $block:expr, $shared:expr, [$($argument:expr),* $(,)?]) => {
        // SAFETY: the callers, all in this module, pass what the kernel declares; their views were checked.
        unsafe {
            $device.machine.launch(&$crate::device::machine::Launch {
                name: $name,
                element: $element,
                grid: $grid,
                block: $block,
                shared: $shared,
                arguments: &[$($crate::device::machine::argument(&mut { $argument })),*],
            })
        }
    };
}
pub(crate) use launch;
