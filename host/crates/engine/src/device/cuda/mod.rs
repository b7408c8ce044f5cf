//! The machine that an NVIDIA driver gives: memory of its pool, kernels from embedded images, products by cuBLAS.
//!
//! Neither library is linked: both are loaded when a device is opened, and what is missing is an error in words.

mod nccl;

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::cublas::{result as blas, sys as blas_sys};
use cudarc::driver::result::{self, DriverError, device, function, mem_pool, module, stream};
use cudarc::driver::{CudaContext, sys};

use super::machine::{Element, Launch, Machine, Peers, Product, View};
use super::rows::Device;
use crate::gpu::{self, Room};
use crate::{Error, Result};

/// An image as the driver reads it: machine code for some GPUs, and PTX that it compiles for the others.
#[repr(C, align(64))]
struct Image<B: ?Sized>(B);

static F32: &Image<[u8]> = &Image(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/kernels_f32.fatbin"
)));
static BF16: &Image<[u8]> = &Image(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/kernels_bf16.fatbin"
)));

/// Bytes that the driver takes into its queue without waiting for the GPU (CUDA Programming Guide, "Concurrent Execution
/// between Host and Device").
const WITHOUT_WAITING: usize = 64 << 10;

/// Bytes of ids, weights or tiles that a step writes, at most.
const OF_A_STEP: usize = 4 << 20;

/// Bytes that cuBLAS takes when it starts, at most.
const WORKSPACE: u64 = 256 << 20;

/// Shared memory of a block that a kernel gets without asking.
const SHARED: usize = 48 << 10;

/// One GPU, its stream and its cuBLAS.
pub(crate) struct Cuda {
    context: Arc<CudaContext>,
    stream: sys::CUstream,
    blas: blas_sys::cublasHandle_t,
    modules: [sys::CUmodule; 2],
    functions: Mutex<HashMap<(&'static str, Element), Function>>,
    /// Set once this GPU has met those of other processes.
    group: OnceLock<nccl::Communicator>,
}

/// A kernel, and the shared memory that it may take.
#[derive(Clone, Copy)]
struct Function(sys::CUfunction, usize);

// SAFETY: the driver's handles may be used from any thread whose context is current, and every method makes it so; cuBLAS'
// handle is used by one thread at a time, since a machine's calls come in an order.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}
// SAFETY: as above.
unsafe impl Send for Function {}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuda:{}", self.context.ordinal())
    }
}

/// Opens GPU `ordinal` for activations of a type.
///
/// # Errors
/// What is missing, in words: the driver, cuBLAS, a GPU of that number, bf16 on it.
pub(crate) fn open(ordinal: usize, element: Element) -> Result<Device> {
    gpu::usable(ordinal, element == Element::Bf16)?;
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: DriverError| broken(&what, error)
    };
    let context = CudaContext::new(ordinal).map_err(failed("open the GPU"))?;
    // SAFETY: the context above is current on this thread, and its device is live.
    unsafe {
        let pool =
            device::get_mem_pool(context.cu_device()).map_err(failed("find its memory pool"))?;
        // Memory that was freed stays with the process, so that a step allocates nothing of the driver.
        let mut threshold = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast())
            .map_err(failed("keep its memory"))?;
    }
    let stream =
        stream::create(stream::StreamKind::NonBlocking).map_err(failed("make a stream"))?;
    let load = |image: &'static Image<[u8]>| {
        // SAFETY: the image is one that nvcc wrote, embedded by this build.
        unsafe { module::load_data(image.0.as_ptr().cast()) }.map_err(failed("load the kernels"))
    };
    let modules = [load(F32)?, load(BF16)?];
    let blas = blas::create_handle().map_err(|error| {
        let what = format!("cuBLAS does not start on cuda:{ordinal}: {error}");
        // It says the one or the other where there is no memory for its workspace.
        let full = matches!(
            error.0,
            blas_sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED
                | blas_sys::cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED
        );
        let free = context
            .mem_get_info()
            .map_or(u64::MAX, |(free, _)| free as u64);
        match full && free < WORKSPACE {
            true => Error::DeviceMemory(format!("the GPU's memory is full: {what}")),
            false => Error::Compute(what),
        }
    })?;
    // SAFETY: both were just made.
    unsafe { blas::set_stream(blas, stream.cast()) }
        .map_err(|error| Error::Compute(format!("cuBLAS takes no stream: {error}")))?;
    Ok(Device {
        machine: Arc::new(Cuda {
            context,
            stream,
            blas,
            modules,
            functions: Mutex::default(),
            group: OnceLock::new(),
        }),
        element,
    })
}

fn broken(what: &str, error: DriverError) -> Error {
    if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return Error::DeviceMemory(format!("the GPU's memory is full: cannot {what}"));
    }
    Error::Compute(format!("cannot {what}: {error}"))
}

impl Cuda {
    fn current(&self) -> Result<()> {
        self.context
            .bind_to_thread()
            .map_err(|error| broken("use the GPU", error))
    }

    /// A number of bytes that the memory pool keeps count of.
    fn of_pool(&self, attribute: sys::CUmemPool_attribute) -> Result<u64> {
        self.current()?;
        let mut bytes = 0u64;
        // SAFETY: these attributes are numbers of 64 bits, and the device is live.
        unsafe {
            device::get_mem_pool(self.context.cu_device())
                .and_then(|pool| mem_pool::get_attribute(pool, attribute, (&raw mut bytes).cast()))
        }
        .map_err(|error| broken("ask how much of its memory is in use", error))?;
        Ok(bytes)
    }

    /// That there is no room for so many bytes more, and who has it.
    fn full(&self, bytes: usize) -> String {
        let held = self.of_pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
        let told = self.context.mem_get_info().ok().zip(held.ok());
        let room = told.map(|((free, total), held)| Room {
            free: free as u64,
            total: total as u64,
            held,
        });
        gpu::full(&format!("{self:?}"), bytes as u64, room)
    }

    /// The function of a kernel, which may take all the shared memory that it asks for.
    fn function(&self, name: &'static str, element: Element, shared: usize) -> Result<Function> {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = functions.get(&(name, element)).copied();
        if let Some(known) = known.filter(|known| shared <= known.1) {
            return Ok(known);
        }
        let (module, ending) = match element {
            Element::F32 => (self.modules[0], "f32"),
            Element::Bf16 => (self.modules[1], "bf16"),
        };
        let full = format!("{name}_{ending}");
        let symbol = CString::new(full.clone())
            .map_err(|_| Error::Compute(format!("{full:?} is no kernel")))?;
        // SAFETY: the module lives as long as this machine.
        let found = unsafe { module::get_function(module, symbol) };
        let found = found.map_err(|error| broken(&format!("find the kernel {full}"), error))?;
        if shared > SHARED {
            let attribute =
                sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was just found.
            unsafe { function::set_function_attribute(found, attribute, shared as i32) }.map_err(
                |error| {
                    broken(
                        &format!("give {full} {shared} bytes of shared memory"),
                        error,
                    )
                },
            )?;
        }
        let function = Function(found, shared.max(SHARED));
        functions.insert((name, element), function);
        Ok(function)
    }
}

impl Machine for Cuda {
    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.current()?;
        // SAFETY: the stream is live; who gets the memory writes before it reads.
        let allocated = unsafe { result::malloc_async(self.stream, bytes) };
        allocated.map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::DeviceMemory(self.full(bytes)),
            _ => broken(&format!("allocate {bytes} bytes on it"), error),
        })
    }

    fn release(&self, address: u64, _: usize) {
        if self.current().is_ok() {
            // SAFETY: it came from `allocate`, and the stream orders this behind all use. Nothing can be done about an
            // error, which would be an earlier kernel's.
            let _ = unsafe { result::free_async(address, self.stream) };
        }
    }

    fn write(&self, to: u64, from: &[u8]) -> Result<()> {
        // An adapter may be empty, and what the driver says to no bytes is written nowhere.
        if from.is_empty() {
            return Ok(());
        }
        self.current()?;
        // What a step writes goes in pieces that the driver need not wait for; weights go at once.
        let piece = if from.len() <= OF_A_STEP {
            WITHOUT_WAITING
        } else {
            from.len()
        };
        for (number, from) in from.chunks(piece).enumerate() {
            let to = to + (number * piece) as u64;
            // SAFETY: callers write into what they allocated; memory that is not pinned has been read when this returns.
            unsafe { result::memcpy_htod_async(to, from, self.stream) }
                .map_err(|error| broken("copy to the GPU", error))?;
        }
        Ok(())
    }

    fn read(&self, from: u64, to: &mut [u8]) -> Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        self.current()?;
        // SAFETY: as above, and the stream is waited for before `to` is used.
        unsafe {
            result::memcpy_dtoh_async(to, from, self.stream)
                .and_then(|()| stream::synchronize(self.stream))
        }
        .map_err(|error| broken("copy from the GPU", error))
    }

    fn peak(&self) -> Result<u64> {
        self.of_pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    fn free(&self) -> Result<Option<u64>> {
        let free = self.context.mem_get_info();
        let (free, _) = free.map_err(|error| broken("ask for its free memory", error))?;
        // The pool has what was freed, and gives it to whoever asks next.
        let held = self.of_pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = self.of_pool(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(Some(free as u64 + held.saturating_sub(used)))
    }

    fn zero(&self, at: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.current()?;
        // SAFETY: as above.
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream) }
            .map_err(|error| broken("fill the GPU's memory", error))
    }

    unsafe fn launch(&self, kernel: &Launch<'_>) -> Result<()> {
        self.current()?;
        let function = self.function(kernel.name, kernel.element, kernel.shared)?;
        let mut arguments: Vec<*mut c_void> = kernel.arguments.iter().map(|(at, _)| *at).collect();
        // SAFETY: promised by the caller.
        unsafe {
            result::launch_kernel(
                function.0,
                (kernel.grid[0], kernel.grid[1], 1),
                (kernel.block, 1, 1),
                kernel.shared as u32,
                self.stream,
                &mut arguments,
            )
        }
        .map_err(|error| broken(&format!("start the kernel {}", kernel.name), error))
    }

    unsafe fn product(&self, p: &Product) -> Result<()> {
        self.current()?;
        let op = |transposed: bool| match transposed {
            true => blas_sys::cublasOperation_t::CUBLAS_OP_T,
            false => blas_sys::cublasOperation_t::CUBLAS_OP_N,
        };
        let dtype = |view: &View| match view.element {
            Element::F32 => blas_sys::cudaDataType_t::CUDA_R_32F,
            Element::Bf16 => blas_sys::cudaDataType_t::CUDA_R_16BF,
        };
        let int = |size: usize| {
            c_int::try_from(size)
                .map_err(|_| Error::Compute(format!("a matrix side of {size} is too long")))
        };
        // cuBLAS knows columns where we have rows: it is asked for the transposed product of the transposed matrices.
        // SAFETY: promised by the caller; the factors live until the call returns.
        unsafe {
            blas::gemm_ex(
                self.blas,
                op(p.b_transposed),
                op(p.a_transposed),
                int(p.n)?,
                int(p.m)?,
                int(p.k)?,
                (&raw const p.alpha).cast(),
                p.b.address as *const c_void,
                dtype(&p.b),
                int(p.b.stride)?,
                p.a.address as *const c_void,
                dtype(&p.a),
                int(p.a.stride)?,
                (&raw const p.beta).cast(),
                p.c.address as *mut c_void,
                dtype(&p.c),
                int(p.c.stride)?,
                // Sums in f32, and no TF32: f32 means f32.
                blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(|error| {
            let Product { m, n, k, .. } = p;
            let what = format!("cuBLAS cannot multiply {m} x {k} by {k} x {n}");
            // Its code is loaded when it is first used, into whatever memory is left.
            match error.0 {
                blas_sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => {
                    Error::DeviceMemory(format!("the GPU's memory is full: {what}"))
                }
                _ => Error::Compute(format!("{what}: {error}")),
            }
        })
    }

    fn peers(&self) -> std::result::Result<&dyn Peers, String> {
        nccl::library().as_ref().map_err(Clone::clone)?;
        Ok(self)
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.current().is_err() {
            return;
        }
        // SAFETY: nothing refers to them any more. Errors are those of work before; there is nobody to tell.
        unsafe {
            let _ = stream::synchronize(self.stream);
            drop(self.group.take());
            let _ = blas::destroy_handle(self.blas);
            for module in self.modules {
                let _ = module::unload(module);
            }
            let _ = stream::destroy(self.stream);
        }
    }
}
