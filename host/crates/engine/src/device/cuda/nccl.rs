//! NCCL, which adds up the gradients of several GPUs: five functions of it, looked up when they are needed.
//!
//! cudarc binds NCCL too, but looks for libnccl.so alone, and what pip and the distributions install is libnccl.so.2.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use cudarc::driver::sys;
use libloading::Library;

use super::{Cuda, Peers, broken};
use crate::{Error, Result};

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; ID]);
const ID: usize = 128;

type Comm = *mut c_void;
/// `ncclFloat32` and `ncclSum`.
const FLOAT32: c_int = 7;
const SUM: c_int = 0;

/// The functions, as nccl.h declares them.
pub(super) struct Nccl {
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    comm_init_rank: unsafe extern "C" fn(*mut Comm, c_int, UniqueId, c_int) -> c_int,
    comm_abort: unsafe extern "C" fn(Comm) -> c_int,
    get_error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    all_reduce: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        c_int,
        c_int,
        Comm,
        *mut c_void,
    ) -> c_int,
    /// The functions are its own.
    _library: Library,
}

/// The library, loaded once, or what is missing.
pub(super) fn library() -> &'static std::result::Result<Nccl, String> {
    static LIBRARY: OnceLock<std::result::Result<Nccl, String>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        load("libnccl.so.2").or_else(|error| {
            load("libnccl.so").map_err(|_| {
                format!(
                    "NCCL cannot be loaded ({error}). Install libnccl2, or `pip install nvidia-nccl-cu13` and name the folder of \
                     libnccl.so.2 in LD_LIBRARY_PATH"
                )
            })
        })
    })
}

fn load(name: &str) -> std::result::Result<Nccl, String> {
    // SAFETY: NVIDIA's library; its initializers do no more than set it up. The types are nccl.h's.
    unsafe {
        let library = Library::new(name).map_err(|error| error.to_string())?;
        let missing = |error: libloading::Error| format!("{name}: {error}");
        Ok(Nccl {
            get_unique_id: *library.get(b"ncclGetUniqueId\0").map_err(missing)?,
            comm_init_rank: *library.get(b"ncclCommInitRank\0").map_err(missing)?,
            comm_abort: *library.get(b"ncclCommAbort\0").map_err(missing)?,
            get_error_string: *library.get(b"ncclGetErrorString\0").map_err(missing)?,
            all_reduce: *library.get(b"ncclAllReduce\0").map_err(missing)?,
            _library: library,
        })
    }
}

fn loaded() -> Result<&'static Nccl> {
    library()
        .as_ref()
        .map_err(|missing| Error::Compute(missing.clone()))
}

impl Nccl {
    fn done(&self, code: c_int, what: &str) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: NCCL has a text that lives for ever for each of its codes.
        let words = unsafe {
            let text = (self.get_error_string)(code);
            match text.is_null() {
                true => "unknown fault".into(),
                false => CStr::from_ptr(text).to_string_lossy(),
            }
        };
        Err(Error::Compute(format!(
            "NCCL cannot {what}: {words}. NCCL_DEBUG=INFO in the environment makes it say more"
        )))
    }
}

/// The GPUs of all processes, as this one sees them; null once given up.
pub(super) struct Communicator(AtomicPtr<c_void>);

impl Communicator {
    /// Ends sums that are under way, too. An orderly end would wait for processes that may be gone.
    fn give_up(&self) {
        let comm = self.0.swap(std::ptr::null_mut(), Ordering::AcqRel);
        if let (false, Ok(nccl)) = (comm.is_null(), library()) {
            // SAFETY: whoever took the handle is the only one that has it.
            let _ = unsafe { (nccl.comm_abort)(comm) };
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// How often what is under way is looked at.
const PAUSE: Duration = Duration::from_micros(50);
/// Looks at it for each look at the other processes.
const LOOKS: u32 = 200;

impl Peers for Cuda {
    fn invite(&self) -> Result<Vec<u8>> {
        let nccl = loaded()?;
        let mut id = UniqueId([0; ID]);
        // SAFETY: the pointer is to a live id.
        let code = unsafe { (nccl.get_unique_id)(&raw mut id) };
        nccl.done(code, "make an id")?;
        Ok(id.0.to_vec())
    }

    fn join(&self, invitation: &[u8], rank: usize, size: usize) -> Result<()> {
        let nccl = loaded()?;
        self.current()?;
        let id: [u8; ID] = invitation
            .try_into()
            .map_err(|_| Error::Peer("process rank 0 sent no id of NCCL".into()))?;
        let mut comm: Comm = std::ptr::null_mut();
        // SAFETY: the context is current, and the pointer is to a live handle.
        let code = unsafe {
            (nccl.comm_init_rank)(&raw mut comm, size as c_int, UniqueId(id), rank as c_int)
        };
        nccl.done(code, "bring the GPUs of all processes together")?;
        // A second group would be another run's, which has a machine of its own.
        let _ = self.group.set(Communicator(AtomicPtr::new(comm)));
        Ok(())
    }

    fn joined(&self) -> bool {
        self.group.get().is_some()
    }

    unsafe fn sum(&self, at: u64, len: usize) -> Result<()> {
        let nccl = loaded()?;
        self.current()?;
        let Some(group) = self.group.get() else {
            return Err(Error::Compute("this GPU has met no others".into()));
        };
        // SAFETY: promised by the caller; the stream orders this behind what fills the memory.
        let code = unsafe {
            (nccl.all_reduce)(
                at as *const c_void,
                at as *mut c_void,
                len,
                FLOAT32,
                SUM,
                group.0.load(Ordering::Acquire),
                self.stream.cast(),
            )
        };
        nccl.done(code, "add up the gradients")
    }

    fn wait(&self, look: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.current()?;
        loop {
            for _ in 0..LOOKS {
                // SAFETY: the stream is live.
                match unsafe { sys::cuStreamQuery(self.stream) } {
                    sys::CUresult::CUDA_ERROR_NOT_READY => std::thread::sleep(PAUSE),
                    status => return status.result().map_err(|error| broken("compute", error)),
                }
            }
            if let Err(gone) = look() {
                self.group.get().into_iter().for_each(Communicator::give_up);
                return Err(gone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::library;

    #[test]
    fn without_nccl_the_sentence_says_what_to_install() {
        if let Err(missing) = library() {
            assert!(
                missing.contains("pip install nvidia-nccl-cu13"),
                "{missing}"
            );
        }
    }
}
